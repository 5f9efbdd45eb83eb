from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from small import small_document, write_small

from data.errors import InputError
from workflows.recipe.recipe import BUILT_IN, SECTIONS, EntryKeys, check_recipe, find_recipe, load_recipe, name_problems
from workflows.recipe.reference import reference


def problems(document: dict[str, object], tmp_path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        check_recipe(document, tmp_path, "r.toml")
    return caught.value.messages


@pytest.mark.parametrize("name", sorted(path.stem for path in BUILT_IN.glob("*.toml")))
def test_every_built_in_recipe_is_valid(name: str) -> None:
    assert load_recipe(find_recipe(name)).entries


@pytest.mark.parametrize(
    ("section", "key", "nearest"),
    [
        ("data", "lookbak", "lookback"),
        ("model", "hiden_size", "hidden_size"),
        ("training", "decay", "decay_rate"),
        ("compute", "workers", "num_workers"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(section: str, key: str, nearest: str, tmp_path: Path) -> None:
    document = small_document()
    document.setdefault(section, {})[key] = 1
    (message,) = problems(document, tmp_path)
    assert section in message
    assert repr(key) in message
    assert f"did you mean {nearest!r}?" in message


def test_an_unknown_section_and_an_unknown_key_of_a_dataset_are_refused(tmp_path: Path) -> None:
    document = small_document(trainig={"epochs": 3})
    document["datasets"][1]["epoch"] = 4
    messages = problems(document, tmp_path)
    assert any("'trainig'" in message and "'training'" in message for message in messages)
    assert any("[[datasets]] 2 (bellows)" in message and "did you mean 'epochs'?" in message for message in messages)


def test_a_key_of_another_section_in_a_dataset_is_refused_with_the_section(tmp_path: Path) -> None:
    document = small_document()
    document["datasets"][0]["learning_rate"] = 1
    (message,) = problems(document, tmp_path)
    assert "[[datasets]] 1 (anvil)" in message
    assert "'learning_rate'" in message
    assert "is not a per-dataset key; move it to [training]" in message


def test_all_errors_of_a_recipe_are_reported_at_once(tmp_path: Path) -> None:
    document = small_document(
        data={"lookback": 0, "scaling": "gauss"}, model={"hidden_size": -1}, training={"decay_rate": 2.0}
    )
    document["name"] = "a/b"
    document["datasets"][0]["stride"] = 0
    text = "\n".join(problems(document, tmp_path))
    for value in ("lookback = 0", "'gauss'", "hidden_size = -1", "decay_rate = 2.0", "'a/b'"):
        assert value in text
    assert len(problems(document, tmp_path)) >= 5


def test_an_error_in_the_defaults_is_reported_once_and_not_for_each_dataset(tmp_path: Path) -> None:
    messages = problems(small_document(data={"horizon": -1}), tmp_path)
    assert len(messages) == 1
    assert "data.horizon = -1" in messages[0]


def test_a_key_that_every_dataset_gives_may_be_absent_from_the_defaults(tmp_path: Path) -> None:
    document = small_document()
    del document["data"]["lookback"]
    assert any("lookback" in message for message in problems(document, tmp_path))
    for entry in document["datasets"]:
        entry["lookback"] = 9
    assert check_recipe(document, tmp_path).entries[2].settings.lookback == 9


@pytest.mark.parametrize(
    "needs_time",
    [{"frequency": "10min"}, {"calendar": ["hour"]}, {"split": {"validation": "2024-01-02", "test": "2024-01-03"}}],
)
def test_a_contradiction_in_the_defaults_may_be_resolved_by_every_dataset(
    needs_time: dict[str, object], tmp_path: Path
) -> None:
    document = small_document()
    del document["data"]["time"], document["data"]["frequency"]
    document["data"].update(needs_time)
    (message,) = problems(document, tmp_path)  # once, not for each dataset
    assert message.startswith("r.toml: data: ")
    assert "needs a time column" in message
    for entry in document["datasets"]:
        entry["time"] = "ts"
    assert check_recipe(document, tmp_path).entries[1].settings.time == ["ts"]
    del document["datasets"][1]["time"]
    (message,) = problems(document, tmp_path)
    assert "needs a time column" in message


def test_a_contradiction_in_the_defaults_hides_nothing_else(tmp_path: Path) -> None:
    document = small_document(data={"scaling": "gauss"})
    document["datasets"][0]["stride"] = 0
    document["datasets"][1]["lookbak"] = 3
    text = "\n".join(problems(document, tmp_path))
    for words in ("'gauss'", "stride = 0", "did you mean 'lookback'?"):
        assert words in text
    del document["data"]["scaling"], document["data"]["time"]
    text = "\n".join(problems(document, tmp_path))
    for words in ("frequency needs a time column", "stride = 0", "did you mean 'lookback'?"):
        assert words in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lookback": "all"}, ['lookback = "all"', "horizon = 0"]),
        ({"min_lookback": 50}, ["min_lookback = 50", "lookback = 12"]),
        ({"frequency": "1 hour"}, ["'1 hour'", '"1h"']),
        ({"split": [0.5, 0.1, 0.1]}, ["[0.5, 0.1, 0.1]", "sum to 1"]),
        ({"split_by": "series"}, ["series"]),
        ({"features": ["load", "load"]}, ["'load'", "twice"]),
        ({"horizon": 0}, ["'load'", "the answer would be in the input"]),
        ({"calendar": ["hour"], "time": []}, ["time"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    change: dict[str, object], words: list[str], tmp_path: Path
) -> None:
    (message,) = problems(small_document(data=change), tmp_path)
    for word in words:
        assert word in message


def test_datasets_that_one_model_cannot_serve_are_refused(tmp_path: Path) -> None:
    document = small_document()
    document["datasets"][1]["features"] = ["load"]
    document["datasets"][2]["horizon"] = 5
    messages = problems(document, tmp_path)
    assert any("'bellows'" in m and "features = ['load']" in m and "'anvil'" in m for m in messages)
    assert any("'crane'" in m and "horizon = 5" in m for m in messages)


def test_best_epoch_needs_a_validation_part(tmp_path: Path) -> None:
    document = small_document(data={"split": [0.8, 0.0, 0.2]}, training={"handover": "best"})
    assert any(
        "no validation split" in message and 'handover = "best"' in message for message in problems(document, tmp_path)
    )


def test_overrides_reach_sections_datasets_and_the_top(tmp_path: Path) -> None:
    path = write_small(tmp_path)
    recipe = load_recipe(path, ["training.decay_rate=0.7", "name=other", "datasets.crane.epochs=9", "data.scaling=minmax"])
    assert recipe.training.decay_rate == 0.7
    assert recipe.name == "other"
    assert [entry.keys.epochs for entry in recipe.entries] == [None, None, 9]
    assert {entry.settings.scaling for entry in recipe.entries} == {"minmax"}


@pytest.mark.parametrize("override", ["training.decay_rate", "=3", "datasets.nobody.epochs=3", "name.first=3"])
def test_an_override_of_an_unknown_key_is_refused(override: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--set"):
        load_recipe(write_small(tmp_path), [override])


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a\\b", "new\nline", "x" * 101, 7])
def test_a_name_that_is_no_folder_name_is_refused(name: object) -> None:
    assert name_problems(name)


def test_an_invalid_or_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = = 3")
    with pytest.raises(InputError, match=r"bad.toml: not valid TOML.*line 1"):
        load_recipe(tmp_path / "bad.toml")
    with pytest.raises(InputError, match="did you mean 'beijing'"):
        find_recipe("bejing")


def test_the_reference_is_up_to_date() -> None:
    written = (BUILT_IN.parents[2] / "RECIPE.md").read_text()
    assert written == reference(), "make it anew: python -m workflows.recipe.reference > RECIPE.md"


def test_the_reference_has_all_sections_and_describes_each_key() -> None:
    parts = reference().split("\n## ")
    assert all(f"[{name}]" in " ".join(part.splitlines()[0] for part in parts) for name in [*SECTIONS, "[datasets]"])
    for name in ("name", "seed", "order"):
        assert f"`{name}`" in parts[0]
    keys = [line for part in parts for line in part.splitlines() if line.startswith("| `")]
    assert len(keys) == sum(len(model.model_fields) for model in [*SECTIONS.values(), EntryKeys])
    for line in keys:
        _, _, kind, _, words, _ = re.split(r"(?<!\\)\|", line)
        assert kind.strip(), line
        assert len(words.split()) > 1, line


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"guard": {"action": "retry", "retry": "retention"}}, ["guard.retry", "retention.method"]),
        (
            {"guard": {"action": "stop"}, "data": {"split": [0.8, 0.0, 0.2]}},
            ["no validation split", 'guard.action = "stop"'],
        ),
        ({"training": {"schedule": "plateau"}, "data": {"split": [0.8, 0.0, 0.2]}}, ["no validation split", "plateau"]),
        ({"guard": {"tolerance": -1.0}}, ["guard.tolerance = -1.0"]),
        ({"guard": {"max_attempts": 1}}, ["guard.max_attempts = 1"]),
        ({"retention": {"method": "replay+ewc"}}, ["retention.method = 'replay+ewc'", "replay+distill"]),
    ],
)
def test_wrong_settings_of_guard_and_retention_are_refused(
    sections: dict[str, object], words: list[str], tmp_path: Path
) -> None:
    messages = problems(small_document(**sections), tmp_path)
    for word in words:
        assert word in messages[0]


@pytest.mark.parametrize(
    "default",
    [{"frequency": "10min"}, {"calendar": ["hour"]}, {"split": {"validation": "2020-01-02"}}, {"split_by": "series"}],
)
def test_the_keys_that_a_default_needs_may_be_in_the_entries(default: dict[str, Any], tmp_path: Path) -> None:
    document = {
        "data": {"features": ["x"], "targets": ["y"], "lookback": 4, "horizon": 1, **default},
        "datasets": [{"name": name, "path": f"{name}.csv", "time": "ts", "series": "s"} for name in "ab"],
    }
    if "split" in default:
        document["datasets"] = [{key: entry[key] for key in ("name", "path", "time")} for entry in document["datasets"]]  # type: ignore[attr-defined,index]
    assert [entry.settings.time for entry in check_recipe(document, tmp_path).entries] == [["ts"]] * 2
    bare = {**document, "datasets": [{"name": "a", "path": "a.csv"}, {"name": "b", "path": "b.csv", "hidden": 1}]}
    with pytest.raises(InputError) as raised:
        check_recipe(bare, tmp_path)
    text = "\n".join(raised.value.messages)
    assert text.count(" needs ") == 1  # reported for [data], not again for each entry
    assert "hidden" in text  # the other error is reported as well
