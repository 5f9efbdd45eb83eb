"""Find files by name, glob or folder on any filesystem that PyArrow reads."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from pyarrow import fs

from data.errors import IN_RECIPE, InputError
from data.reading.file_format import SUFFIXES, suffix_of
from data.reading.files import is_uri, open_filesystem

NO_TABLES = (
    ".toml",
    ".json",
    ".yaml",
    ".yml",
    ".md",
    ".rst",
    ".py",
    ".ipynb",
    ".html",
    ".xml",
    ".ini",
    ".cfg",
    ".sh",
    ".pdf",
)


def _glob_pattern(path: str) -> re.Pattern[str]:
    from fsspec.utils import glob_translate

    try:
        pattern = glob_translate(path)
        if "(?!)" in pattern:  # an empty range such as [z-a] is translated to this
            raise ValueError("a range of letters is empty")
        return re.compile(pattern)
    except (ValueError, re.error) as error:
        raise InputError(f"{path}: invalid glob ({error}): use *, ?, [a-z] or **") from None


def find_files(path: str, any_suffix: bool = False) -> list[str]:
    """Return all files that an absolute path, URI, glob (*, ?, [..], **) or folder names, sorted; raises InputError if none.

    A glob matches hidden files only if it writes the dot. In a URI, ? begins the query. A folder means all files below it
    with a known suffix, as does a folder that a glob matches (Spark writes folders). `any_suffix`: the recipe names the
    format, so suffixes do not matter.
    """
    filesystem, inner = open_filesystem(path)
    try:
        files = _find(filesystem, inner, path, any_suffix)
    except OSError as error:
        raise InputError(f"{path}: cannot list the files ({error})") from None
    if is_uri(path):
        address, mark, query = path.partition("?")
        start = next(index for index in range(len(address)) if unquote(address[index:]) == inner)
        files = [address[:start] + quote(name) + mark + query for name in files]
    return files


def _find(filesystem: fs.FileSystem, inner: str, path: str, any_suffix: bool) -> list[str]:
    info = filesystem.get_file_info(inner)
    if info.type == fs.FileType.File:  # before globbing: a file name may contain brackets
        if suffix_of(inner) in NO_TABLES and not any_suffix:
            raise InputError(
                f"{path}: files of this kind hold no table: name CSV, Parquet or Arrow files, or write format = "
                f'"csv", "parquet" or "arrow" {IN_RECIPE} if it is one'
            )
        return [inner]
    if info.type == fs.FileType.Directory:
        files = _files_below(filesystem, inner, any_suffix)
        if not files:
            raise InputError(
                f"{path}: there is no CSV, Parquet or Arrow file in this folder{_files_nearby(filesystem, inner + '/')}"
            )
        return files
    if not re.search(r"[*?\[]", inner):
        raise InputError(f"{path}: there is no such file{_files_nearby(filesystem, inner)}")
    base = re.split(r"[*?\[]", inner, maxsplit=1)[0].rpartition("/")[0]
    infos = filesystem.get_file_info(fs.FileSelector(base or ".", recursive=True, allow_not_found=True))
    pattern, hidden = _glob_pattern(inner), "/." in inner[len(base) :]
    matching = [info for info in infos if pattern.fullmatch(info.path) and (hidden or "/." not in info.path[len(base) :])]
    files = sorted(info.path for info in matching if info.type == fs.FileType.File)
    if not files:
        folders = sorted(info.path for info in matching if info.type == fs.FileType.Directory)
        files = list(dict.fromkeys(name for folder in folders for name in _files_below(filesystem, folder, any_suffix)))
    if not files:
        raise InputError(f"{path}: no file matches{_files_nearby(filesystem, inner)}")
    odd = [name for name in files if suffix_of(name) not in SUFFIXES]
    if odd and not any_suffix:
        raise InputError(
            f"{odd[0]}: its suffix does not say what it is: write a pattern for the data files alone, such as *.csv, or "
            f'format = "csv", "parquet" or "arrow" {IN_RECIPE}'
        )
    return files


def _files_below(filesystem: fs.FileSystem, folder: str, any_suffix: bool) -> list[str]:
    """Return the data files below a folder; names with a leading dot or underscore are skipped."""
    infos = filesystem.get_file_info(fs.FileSelector(folder, recursive=True))
    names = [info.path for info in infos if info.type == fs.FileType.File]
    return sorted(
        name
        for name in names
        if not re.search(r"/[._]", name[len(folder) :]) and (any_suffix or suffix_of(name) in SUFFIXES)
    )


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key for natural order: part2 before part10."""
    return [(0, int(piece), piece) if piece.isdecimal() else (1, 0, piece) for piece in re.split(r"(\d+)", name) if piece]


def hive_values(path: str) -> dict[str, str | None]:
    """Return the columns in the folder names of a path, as Spark and Hive write them: site=north/part-0.parquet."""
    pairs = re.findall(r"(?:^|/)([^/=]+)=([^/]*)(?=/)", path.partition("?")[0] if is_uri(path) else path)
    return {unquote(key): None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value) for key, value in pairs}


def _files_nearby(filesystem: fs.FileSystem, inner: str) -> str:
    folder = re.split(r"[*?\[]", inner, maxsplit=1)[0].rpartition("/")[0] or "."
    infos = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    names = sorted(info.base_name for info in infos if info.type == fs.FileType.File)
    if not names:
        return f" (the folder {folder} holds no file)" if infos else f" (nor is there a folder {folder} with anything in it)"
    return f" (the folder {folder} holds {', '.join(names[:5])}{' ...' if len(names) > 5 else ''})"
