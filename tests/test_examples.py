"""The scripts in examples/ run and print the words that their text promises."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SAYS = {
    "from_keras": ["validation MSE    slow  middle    fast", "average forgetting: ", "with replay"],
    "new_airport": [
        "which dataset of run 'airports'",
        "the most similar is ",
        "5 epochs were trained, those of the new airport",
    ],
    "quantiles_polars": ["y_q0.1", "between the levels 0.1 and 0.9"],
}


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_an_example_runs_as_a_script(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (EXAMPLES / f"{name}.py").read_text()
    assert text.startswith("# %% [markdown]\n# # ")
    runpy.run_path(str(EXAMPLES / f"{name}.py"))
    printed = capsys.readouterr().out
    for words in SAYS[name]:
        assert words in printed
