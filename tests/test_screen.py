"""What a person reads of a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cluster.placement import Placement
from cluster.trials import TrialPlacement
from workflows.screen import Screen
from workflows.search.screen import SearchScreen


def said(screen: type[Screen], event: dict[str, object]) -> str:
    console = Console(file=io.StringIO(), width=160)
    screen(console)(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("number", "words"), [(0, "this process"), (1, "1 worker"), (2, "2 workers")])
def test_workers_are_counted_in_words(number: int, words: str) -> None:
    placement = Placement(number, number, False, 1.0, "why")
    assert said(Screen, {"event": "placed", "placement": placement}) == f"training in {words} (why)\n"


@pytest.mark.parametrize(("number", "words"), [(0, "a process"), (1, "1 worker"), (2, "2 workers")])
def test_a_search_tells_where_its_trials_run_and_in_which_orders_they_train(number: int, words: str) -> None:
    placement = TrialPlacement(3, number, False, "why")
    event = {"event": "search planned", "trials": 1, "placement": placement, "orders": ["suggested order: b, a"]}
    assert said(SearchScreen, event) == f"1 trial, 3 at a time, each in {words} (why)\nsuggested order: b, a\n"
