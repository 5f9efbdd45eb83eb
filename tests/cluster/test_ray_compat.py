"""Ray's private API is used in one module only, and each use has a fallback for an untested version."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

import cluster.ray_compat
from cluster.connect import connect
from cluster.ray_compat import adapt_trainer, authorize_metrics, free_nodes, grows_to, scaling_of, update_data_limits_often

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(
    r"^\s*(?:from|import) ray\._|ray\._private\.(?!runtime_env\.packaging\")|ray\.[\w.]+\._internal", re.MULTILINE
)


def test_no_other_module_imports_private_names_of_ray() -> None:
    rooms = [path for room in ("cluster", "data", "models", "workflows") for path in (ROOT / room).rglob("*.py")]
    modules = [path.name for path in rooms if PRIVATE.search(path.read_text())]
    assert modules == ["ray_compat.py"]


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.ray_compat, "TESTED", ((9, 99), (9, 99)))


@pytest.mark.parametrize(("version", "known"), [("2.51.2", False), ("2.52.0", True), ("2.60.1", True), ("2.61.0rc1", False)])
def test_private_names_are_used_from_the_oldest_to_the_newest_tested_version(
    version: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.ray_compat, "version", lambda package: version)
    assert cluster.ray_compat._tested() is known


HEADERS = "OTEL_EXPORTER_OTLP_METRICS_HEADERS"


@pytest.mark.parametrize(
    ("version", "before", "after"),
    [
        ("2.52.1", {}, {HEADERS: "authorization=Bearer secret"}),
        ("2.52.1", {HEADERS: "mine=1"}, {HEADERS: "mine=1"}),
        ("2.52.1", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere"}),
        ("2.60.0", {}, {}),
    ],
)
def test_the_token_goes_with_metrics_where_ray_leaves_it_out_and_no_other_exporter_would_send_it(
    version: str, before: dict[str, str], after: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.ray_compat, "version", lambda package: version)
    with mock.patch.dict(os.environ, before, clear=True):
        authorize_metrics("secret")
        assert os.environ == after


def test_ray_data_looks_for_free_cores_often_only_where_its_version_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.data._internal.execution.resource_manager import ResourceManager

    monkeypatch.setattr(ResourceManager, "GLOBAL_LIMITS_UPDATE_INTERVAL_S", 1)
    with monkeypatch.context() as patch:
        patch.setattr(cluster.ray_compat, "TESTED", ((9, 99), (9, 99)))
        update_data_limits_often()
        assert ResourceManager.GLOBAL_LIMITS_UPDATE_INTERVAL_S == 1
    update_data_limits_often()
    assert ResourceManager.GLOBAL_LIMITS_UPDATE_INTERVAL_S == cluster.ray_compat.DATA_LIMITS_INTERVAL_S


def test_a_trainer_of_an_unknown_ray_is_left_as_it_is(unknown: None) -> None:
    trainer = SimpleNamespace(_register_sigint_handler=len, _create_default_callbacks=list)
    assert adapt_trainer(trainer, own_cluster=True) is trainer
    assert trainer._register_sigint_handler is len
    assert trainer._create_default_callbacks is list


def test_a_trainer_without_the_private_methods_is_left_as_it_is() -> None:
    trainer: Any = SimpleNamespace(fit=len)
    assert vars(adapt_trainer(trainer, own_cluster=False)) == {"fit": len}


def test_a_group_grows_only_if_ray_train_has_elastic_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @dataclass
    class Fixed:
        num_workers: int = 1

    @dataclass
    class Elastic(Fixed):
        elastic_resize_monitor_interval_s: float = 60.0

    monkeypatch.setattr("ray.train.ScalingConfig", Elastic)
    assert scaling_of(2, 2, 30.0) == {"num_workers": 2}
    assert scaling_of(2, 4, 30.0) == {"num_workers": (2, 4), "elastic_resize_monitor_interval_s": 30.0}
    monkeypatch.setattr("ray.train.ScalingConfig", Fixed)
    assert scaling_of(2, 4, 30.0) == {"num_workers": 2}


@pytest.mark.ray
def test_free_cores_are_known_node_by_node_or_else_in_sum(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(num_cpus=2)  # a command of an earlier test may have left the session's Ray
    by_node = free_nodes()
    assert sum(node.cores for node in by_node) <= 2
    assert all(node.name != "the cluster" for node in by_node)
    monkeypatch.setattr(cluster.ray_compat, "TESTED", ((9, 99), (9, 99)))
    (whole,) = free_nodes()
    assert whole.name == "the cluster"
    assert grows_to() == {}
