"""Two processes that prepare the same dataset, and one that notices damage: a complete dataset is never removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data.prepared import manifest
from data.prepared.manifest import MANIFEST, put_in_place, take_away


def finished(folder: Path, words: str) -> Path:
    folder.mkdir()
    (folder / MANIFEST).write_text(words)
    return folder


@pytest.mark.parametrize("before", ["nothing", "an interrupted clean", "a file", "a link"])
def test_a_dataset_replaces_nothing_and_a_folder_without_a_manifest(before: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    if before == "an interrupted clean":
        home.mkdir()
        (home / "values-00000.arrow").write_text("old")
    elif before == "a file":
        home.write_text("old")
    elif before == "a link":
        home.symlink_to("nowhere")
    put_in_place(finished(tmp_path / "mine", "mine"), home)
    assert [path.name for path in home.iterdir()] == [MANIFEST]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_dataset_that_another_process_writes_at_any_moment_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write another dataset between two checks of the slower process, and while it removes an incomplete one."""
    home, rename, moves = tmp_path / "home", Path.rename, list[str]()

    def another_first(when: int) -> Callable[[Path, Path], Path]:
        def moved(path: Path, target: Path) -> Path:
            moves.append(path.name)
            if len(moves) == when:
                monkeypatch.setattr(Path, "rename", rename)
                put_in_place(finished(tmp_path / "other", "other"), home)
            return rename(path, target)

        return moved

    for when in (1, 2, 3):
        home.mkdir()
        (home / "values-00000.arrow").write_text("old")
        moves.clear()
        monkeypatch.setattr(Path, "rename", another_first(when))
        own = finished(tmp_path / f"mine {when}", "mine")
        put_in_place(own, home)
        assert len(moves) == when
        assert (home / MANIFEST).read_text() == "other"
        rename(home, tmp_path / f"done {when}")
        assert not list(tmp_path.glob(".removed-*"))


def test_a_damaged_dataset_is_removed_only_if_it_is_still_the_same(tmp_path: Path) -> None:
    home = finished(tmp_path / "home", "damaged")
    seen = home.stat().st_ino
    manifest.shutil.rmtree(home)
    take_away(home, lambda moved: moved.stat().st_ino == seen)  # another process was faster
    other = finished(tmp_path / "other", "other")
    other.rename(home)
    take_away(home, lambda moved: moved.name != "home" and moved.stat().st_ino == -1)
    assert (home / MANIFEST).read_text() == "other"
    again = home.stat().st_ino
    take_away(home, lambda moved: moved.stat().st_ino == again)
    assert not home.exists()
