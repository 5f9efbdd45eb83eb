"""The code and the recipe of a job, copied into one folder. Data go through the storage.

Only regular files are copied. A link may lead out of the project, so links are left out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ("data", "models", "workflows", "cluster")
BESIDE = ("pyproject.toml", "constraints.txt")  # checked at the start of the job, and used by --install
RECIPE = "recipe.toml"


@dataclass(frozen=True)
class Package:
    """A folder that is ready to be shipped, with its counts."""

    folder: Path
    num_code_files: int
    code_bytes: int
    links_left_out: tuple[str, ...]


def code_files(root: Path) -> Iterator[Path]:
    """Yield the regular files of the project's code relative to its root, without hidden and generated files."""
    for room in CODE:
        for folder, names, files in os.walk(root / room, followlinks=False):
            path = Path(folder)
            names[:] = sorted(
                n for n in names if n != "__pycache__" and not n.startswith(".") and not (path / n).is_symlink()
            )
            for name in sorted(files):
                if not name.startswith(".") and not name.endswith((".pyc", ".log")) and (path / name).is_file():
                    yield (path / name).relative_to(root)
    yield from (Path(name) for name in BESIDE if (root / name).is_file())


def make_package(folder: Path, recipe: bytes, root: Path = ROOT) -> Package:
    """Copy the code and the recipe into an empty folder."""
    code_bytes, copied, links = 0, 0, []
    for relative in code_files(root):
        if (root / relative).is_symlink():
            links.append(str(relative))
            continue
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / relative, target)
        code_bytes += target.stat().st_size
        copied += 1
    (folder / RECIPE).write_bytes(recipe)
    return Package(folder, copied, code_bytes, tuple(links))


def megabytes(count: int) -> str:
    """Return a number of bytes in MB for a message."""
    return f"{count / 1e6:.1f} MB"
