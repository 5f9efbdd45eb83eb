"""Forgetting and transfer against matrices worked out by hand."""

from __future__ import annotations

import pytest

from workflows.relay.metrics import backward_transfer, forgetting, forward_transfer, mean_of

# Rows: untrained, after A, after B, after C. Columns: the error on A, B, C.
MATRIX = [
    [10.0, 9.0, 8.0],
    [2.0, 7.0, 6.0],
    [5.0, 1.0, 4.0],
    [4.0, 3.0, 0.5],
]


def test_forgetting_is_the_rise_from_the_best_error_to_the_last_over_all_datasets_but_the_last() -> None:
    assert forgetting(MATRIX) == pytest.approx(((4 - 2) + (3 - 1)) / 2)


def test_the_best_error_may_be_before_or_after_a_datasets_stage_but_not_untrained_or_at_the_end() -> None:
    before_its_stage = [[0.1, 0.1, 1.0], [3.0, 1.0, 1.0], [2.0, 4.0, 1.0], [6.0, 5.0, 1.0]]
    assert forgetting(before_its_stage) == pytest.approx(((6 - 2) + (5 - 1)) / 2)
    improving = [[9.0, 9.0], [3.0, 9.0], [1.0, 1.0]]
    assert forgetting(improving) == pytest.approx(-2.0)


def test_backward_transfer_is_the_decrease_of_the_error_by_later_datasets() -> None:
    assert backward_transfer(MATRIX) == pytest.approx(((2 - 4) + (1 - 3)) / 2)


def test_forward_transfer_is_the_decrease_of_the_untrained_error_by_earlier_datasets() -> None:
    assert forward_transfer(MATRIX) == pytest.approx(((9 - 7) + (8 - 4)) / 2)


def test_missing_errors_are_left_out() -> None:
    matrix = [[10.0, None, 8.0], [2.0, None, 6.0], [5.0, None, 4.0], [4.0, None, 0.5]]
    assert forgetting(matrix) == pytest.approx(2.0)
    assert backward_transfer(matrix) == pytest.approx(-2.0)
    assert forward_transfer(matrix) == pytest.approx(4.0)
    nothing = [[None, None]] * 3
    assert [forgetting(nothing), backward_transfer(nothing), forward_transfer(nothing)] == [None, None, None]


def test_a_single_dataset_has_nothing_to_forget_or_to_pass_on() -> None:
    single = [[5.0], [1.0]]
    assert [forgetting(single), backward_transfer(single), forward_transfer(single)] == [None, None, None]


def test_the_mean_skips_missing_values() -> None:
    assert mean_of([1.0, None, 4.0]) == pytest.approx(2.5)
    assert mean_of([None]) is None
