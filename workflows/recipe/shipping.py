"""Pack a recipe for a cluster: its document for another machine, and the local files that go with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.reading.files import absolute, is_uri
from data.reading.find import find_files
from workflows.recipe.datasets import BUILT_IN_DATA
from workflows.recipe.recipe import Recipe

FILES = "files"  # folder beside the shipped recipe


def pack_recipe(recipe: Recipe, ship_data: bool, shared_folders: bool) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the document to ship, and the files to ship by their names relative to it.

    Addresses (s3://...) and built-in data stay as they are. A local path is shipped with `ship_data`, and stays with
    `shared_folders`; otherwise InputError names both options, for all datasets at once.
    """
    files: dict[str, Path] = {}
    problems: list[str] = []
    entries = []
    for number, entry in enumerate(recipe.document["datasets"]):
        packed = dict(entry)
        any_suffix = ("format" in entry) or ("format" in recipe.document.get("data", {}))
        for key in ("path", "test_path"):
            if key not in entry:
                continue
            paths = [entry[key]] if isinstance(entry[key], str) else entry[key]
            try:
                kept: list[str] = []
                for path_number, path in enumerate(paths):
                    target = f"{FILES}/{number}-{key}-{path_number}"
                    kept += _pack(path, recipe.folder, target, ship_data, shared_folders, files, any_suffix)
                packed[key] = kept
            except InputError as error:
                problems += [f"dataset {entry.get('name')!r}: {message}" for message in error.messages]
        entries.append(packed)
    if problems:
        raise InputError(problems)
    return {**recipe.document, "datasets": entries}, files


def _pack(
    path: str,
    folder: Path,
    target: str,
    ship_data: bool,
    shared_folders: bool,
    files: dict[str, Path],
    any_suffix: bool = False,
) -> list[str]:
    """Return the paths that replace one path of a recipe on the cluster; files to ship are added to `files`."""
    if is_uri(path) or path.startswith(BUILT_IN_DATA):
        return [path]
    whole = absolute(path, folder)
    if ship_data:
        matches = find_files(whole, any_suffix)
        literal = whole if whole in matches else re.split(r"[*?\[]", whole, maxsplit=1)[0]
        base = Path(literal.rpartition("/")[0] or "/")
        inside = (folder.resolve(), base.resolve())
        names = []
        for file in matches:
            if not any(Path(file).resolve().is_relative_to(root) for root in inside):
                raise InputError(
                    f"{file} is a link to {Path(file).resolve()}, and links are not shipped: name the file itself"
                )
            names.append(f"{target}/{Path(file).relative_to(base).as_posix()}")
            files[names[-1]] = Path(file)
        return names
    if shared_folders and Path(path).expanduser().is_absolute():
        return [whole]
    raise InputError(
        f"{path} is a path of this machine, which the cluster cannot read: write an address (s3://bucket/...), or submit "
        "with --ship-data, which uploads the files"
        + (
            ""
            if not Path(path).expanduser().is_absolute()
            else ", or with --shared-folders if all machines of the cluster mount it at the same path"
        )
    )


def check_shared_storage(storage: str, shared_folders: bool) -> str:
    """Return the storage of a run on a cluster; raises InputError if only one machine reaches it."""
    if is_uri(storage) and not storage.startswith("file://"):
        return storage
    bare = storage.removeprefix("file://")
    if not shared_folders:
        raise InputError(
            f"--storage {storage}: all machines of the cluster must reach the storage, and a folder is local to one: write "
            "an address (s3://bucket/runs), or add --shared-folders if all of them mount it"
        )
    if not Path(bare).expanduser().is_absolute():
        raise InputError(f"--storage {storage}: write the absolute path that all machines of the cluster mount")
    return str(Path(bare).expanduser())
