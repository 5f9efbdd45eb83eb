"""The results of all benchmarks as one Markdown table, put between the markers of BENCHMARKS.md.

    python tests/benchmarks/common/table.py [BENCHMARKS.md]

Reads results/*.json. Without a file, or if it has no markers `<!-- bench -->` and `<!-- /bench -->`, prints the table.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return Markdown with a line for each row of each result that has rows, in the order of the files' names."""
    lines = ["| | ours | beside it, in the same run | result | wanted |", "|---|---|---|---|---|"]
    for name, result in results.items():
        for row in result.get("rows", []):
            missed = " (missed)" if row["reached"] is False else ""
            cells = (f"{row['what']} (`{name}.py`)", row["ours"], row["beside"], row["result"], row["wanted"] + missed)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_table(text: str, rendered: str) -> str | None:
    """Return the text with the table between its markers, or None if it has no markers."""
    pattern = re.compile(r"(<!-- bench -->\n).*?(<!-- /bench -->)", re.DOTALL)
    if not pattern.search(text):
        return None
    return pattern.sub(lambda match: f"{match[1]}{rendered}\n{match[2]}", text)


def main() -> None:
    rendered = table({path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))})
    readme = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    text = with_table(readme.read_text(), rendered) if readme else None
    if readme is None or text is None:
        print(rendered)
    else:
        readme.write_text(text)


if __name__ == "__main__":
    main()
