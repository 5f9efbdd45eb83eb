"""A recipe: the settings and the datasets of a run. All problems of a recipe are reported together."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cluster.placement import ComputeSettings
from data.errors import InputError
from data.reading.settings import DataSettings
from models.settings import ModelSettings
from workflows.recipe.checks import errors_of, suggest, unknown, validate
from workflows.recipe.defaults import with_default_rate
from workflows.recipe.overrides import override
from workflows.recipe.search_settings import SearchSettings
from workflows.recipe.settings import GuardSettings, LoggingSettings, RetentionSettings, TrainingSettings
from workflows.recipe.target_inputs import channel_problems

ACTING = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069"  # control characters that change how text is displayed
MAX_DEPTH = 20  # nesting of tables and lists in a recipe
ORDERS = ("given", "suggested")  # training order: of the entries, or by workflows.prepare.order
BUILT_IN = Path(__file__).parent / "built_in"
SECTIONS: dict[str, type[BaseModel]] = {
    "data": DataSettings,
    "model": ModelSettings,
    "training": TrainingSettings,
    "retention": RetentionSettings,
    "guard": GuardSettings,
    "compute": ComputeSettings,
    "logging": LoggingSettings,
    "search": SearchSettings,
}


OnePath = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]
Paths = OnePath | Annotated[list[OnePath], Field(min_length=1)]


class EntryKeys(BaseModel):
    """The keys of a [[datasets]] entry that belong to it alone; all others override [data]."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: str = Field(
        min_length=1,
        description="name; {file}, {folder}, {COLUMN} make a dataset for each file, folder or column value (/ becomes _)",
    )
    path: Paths = Field(description="files, folders, globs or URIs; relative to the recipe's folder")
    test_path: Paths | None = Field(None, description="files that are used for the test split only")
    epochs: int | None = Field(None, ge=1, le=1_000_000, description="epochs on this dataset; default training.epochs")
    train: bool = Field(
        True,
        description="false: never trained, only measured, after each stage and at the end. The train part of its split fits "
        "the scaler, nothing else. It comes last, and counts in no mean",
    )

    @model_validator(mode="after")
    def _trained_or_not(self) -> EntryKeys:
        if not self.train and self.epochs is not None:
            raise ValueError(f"epochs = {self.epochs} with train = false: leave one of them out")
        return self


@dataclass(frozen=True)
class Entry:
    """One [[datasets]] entry: its own keys, and its settings merged with [data]."""

    keys: EntryKeys
    settings: DataSettings


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. `folder` is the base of relative paths; `document` is the TOML content with overrides applied."""

    name: str
    seed: int
    entries: tuple[Entry, ...]
    model: ModelSettings
    training: TrainingSettings
    retention: RetentionSettings
    guard: GuardSettings
    compute: ComputeSettings
    search: SearchSettings
    folder: Path
    document: Mapping[str, Any] = field(repr=False)
    order: str = "given"
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    label: str = field(default="recipe", compare=False)  # its file or name, for messages


def find_recipe(recipe: str) -> Path:
    """Return the file of a recipe, given its path or the name of a built-in one."""
    names = sorted(path.stem for path in BUILT_IN.glob("*.toml"))
    if recipe in names:
        return BUILT_IN / f"{recipe}.toml"
    path = Path(recipe)
    with contextlib.suppress(OSError, ValueError):  # too long for a path, or not a path
        if path.is_file():
            return path
    hint = suggest(recipe, names, f"write a path to a TOML file, or one of {', '.join(names)}")
    raise InputError(f"{recipe[:200]}: no such file or built-in recipe: {hint}")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file; `overrides` are KEY=VALUE with dotted keys, as --set takes them."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # tomllib raises these on broken, too long and too deep input
        raise InputError(f"{path}: not valid TOML: {error}") from None
    for each in overrides:
        override(document, each)
    return check_recipe(document, path.resolve().parent, str(path))


def check_recipe(document: Mapping[str, Any], folder: Path, label: str = "recipe") -> Recipe:
    """Return the recipe of a document; raises InputError with all its problems."""
    if _is_deep(document):
        raise InputError(f"{label}: tables or lists are nested more than {MAX_DEPTH} deep: a recipe has at most 5")
    problems: list[str] = []
    known = ["name", "seed", "order", "datasets", *SECTIONS]
    problems += [f"{label}: {unknown(key, known)}" for key in document if key not in known]
    name, seed, order = document.get("name", "relay"), document.get("seed", 0), document.get("order", "given")
    problems += [f"{label}: name = {problem}" for problem in name_problems(name)]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        problems.append(f"{label}: seed = {seed!r}: write a whole number from 0 to 2**63 - 1")
    if order not in ORDERS:
        problems.append(f"{label}: order = {order!r}: write {' or '.join(map(repr, ORDERS))}, which `inspect` shows")
    sections: dict[str, BaseModel | None] = {}
    for section in ("model", "training", "retention", "guard", "compute", "logging", "search"):
        sections[section] = validate(SECTIONS[section], document.get(section, {}), f"{label}: {section}", problems)
    entries = _check_entries(document, label, problems)
    if not problems:
        sections["training"] = with_default_rate(sections["retention"], sections["training"])
        problems += [f"{label}: {problem}" for problem in _whole_problems(entries, sections)]
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    whole = {"name": name, "seed": seed, "order": order, "document": document, "label": label}
    return Recipe(entries=tuple(entries), folder=folder, **whole, **sections)  # type: ignore[arg-type]


def _is_deep(document: Any) -> bool:
    level = [document]
    for _ in range(MAX_DEPTH):
        inner = [each.values() if isinstance(each, Mapping) else each for each in level]
        level = [one for each in inner for one in each if isinstance(one, (Mapping, list))]
    return bool(level)


def name_problems(name: object) -> list[str]:
    """Return the problems of a name that is used as a folder's name."""
    try:
        fits = isinstance(name, str) and len(name.encode()) <= 100
    except UnicodeEncodeError:  # lone surrogates, as a command line may contain
        fits = False
    if not fits or not re.fullmatch(rf"[^/\\{ACTING}]+", str(name)) or str(name).startswith("."):
        return [
            f"{name!r}: a name has 1 to 100 letters (bytes of UTF-8), no slash, no control or bidirectional character, and "
            "does not begin with a dot"
        ]
    return []


def _check_entries(document: Mapping[str, Any], label: str, problems: list[str]) -> list[Entry]:
    defaults, listed = document.get("data", {}), document.get("datasets", [])
    if not isinstance(defaults, dict) or not isinstance(listed, list) or not all(isinstance(e, dict) for e in listed):
        problems.append(f"{label}: write [data] as one table and each dataset as [[datasets]]")
        return []
    if not listed:
        problems.append(f"{label}: no datasets: add a [[datasets]] entry with name and path")
    # Invalid keys of [data] are reported once, not for each dataset. A required key that [data] lacks may be in every
    # entry, and so may the key that resolves a contradiction.
    errors = errors_of(DataSettings, defaults, f"{label}: data")
    bad = {key for key, _ in errors if key in defaults}
    contradictions = [message for key, message in errors if key == ""]
    problems += [message for key, message in errors if key in bad] + ([] if listed else contradictions)
    defaults = {key: value for key, value in defaults.items() if key not in bad}
    entries = []
    for number, listed_entry in enumerate(listed, 1):
        where = f"{label}: [[datasets]] {number} ({listed_entry.get('name', 'without a name')})"
        entry_keys = {key: value for key, value in listed_entry.items() if key in EntryKeys.model_fields}
        rest = {key: value for key, value in listed_entry.items() if key not in entry_keys}
        keys = validate(EntryKeys, entry_keys, where, problems)
        merged = {**defaults, **rest}
        wrong = errors_of(DataSettings, merged, where, list(EntryKeys.model_fields))
        for key, message in wrong:
            if not bad or key in rest:  # otherwise the entry only inherits an error of [data]
                renamed = f"{label}: data{message.removeprefix(where)}"
                owner = None if key in DataSettings.model_fields else _section_of(key)
                if owner:
                    problems.append(f"{where}: {key!r} is not a per-dataset key; move it to [{owner}]")
                else:
                    problems.append(renamed if renamed in contradictions else message)
        settings = None if wrong or bad else DataSettings.model_validate(merged)
        if keys is not None and settings is not None:
            entries.append(Entry(keys, settings))
    return entries


def _section_of(key: str) -> str | None:
    """Return the section of a key that does not belong into a dataset's entry."""
    return next((section for section, model in SECTIONS.items() if key in model.model_fields), None)


def _whole_problems(entries: Sequence[Entry], sections: Mapping[str, Any]) -> list[str]:
    problems = []
    first = entries[0]
    for entry in entries[1:]:
        for key in ("features", "static", "known_future", "targets", "categorical", "calendar", "missing_flags", "horizon"):
            value, first_value = getattr(entry.settings, key), getattr(first.settings, key)
            if value != first_value:
                problems.append(
                    f"dataset {entry.keys.name!r} has {key} = {value!r}, but {first.keys.name!r} has {first_value!r}: all "
                    "datasets of a model need the same value"
                )
    model, training = sections["model"], sections["training"]
    if model.classifies and (len(first.settings.targets) != 1 or first.settings.horizon != 0):
        problems.append(f'model.loss = "{model.loss}" requires one target (the class) and horizon = 0')
    if not model.classifies and model.class_weights is not None:
        problems.append(f'model.class_weights weighs classes and requires loss = "cross_entropy", got {model.loss!r}')
    guard, retention = sections["guard"], sections["retention"]
    if guard.action == "retry" and guard.retry == "retention" and retention.method == "none":
        problems.append('guard.retry = "retention" requires a retention.method')
    if not any(entry.keys.train for entry in entries):
        problems.append("every [[datasets]] entry has train = false: remove it from the entries to train on")
    needs = 'handover = "best"' if training.handover == "best" else "patience" if training.patience else None
    needs = 'schedule = "plateau"' if training.schedule == "plateau" else needs
    needs = f'guard.action = "{guard.action}"' if guard.action != "warn" else needs
    watched = [entry for entry in entries if entry.keys.train] if needs else []
    blind = [entry.keys.name for entry in watched if "validation" not in entry.settings.expected_parts()]
    problems += channel_problems(first.settings, sections["model"])
    return problems + [
        f"dataset {name!r} has no validation split, which {needs} requires: add one in split" for name in blind
    ]
