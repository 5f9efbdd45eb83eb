"""Check the packages of every node with one task on each, before the first task of the run."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.capacity import name_of
from cluster.start import REMEDY, find_version, requirements_of, version_problems

ANSWER_S = 60.0  # limit for a node to start a process and answer

Installed = Mapping[str, str | None]  # the version of each package; "python" is Python's own


def installed_here(names: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of Python and of these packages in this process."""
    return {"python": platform.python_version(), **{name: find_version(name) for name in names}}


def needed() -> list[str]:
    """Return the requirements in the pyproject.toml beside this code."""
    file = Path(__file__).parents[1] / "pyproject.toml"
    return requirements_of(file.read_text()) if file.is_file() else []


def node_problems(nodes: Mapping[str, Installed | str], local: Installed, requirements: Sequence[str]) -> list[str]:
    """Return the problems of each node; instead of versions, a node that did not answer has a text."""
    problems = []
    for name, versions in nodes.items():
        if isinstance(versions, str):
            problems.append(f"node {name}: {versions}")
            continue
        local_python, node_python = str(local["python"]), str(versions["python"])
        if local_python.split(".")[:2] != node_python.split(".")[:2]:
            problems.append(f"node {name}: Python is {node_python}, the run's process has {local_python}")
        wanted = ",".join(f"{package}={local[package]}" for package in ("ray", "torch"))
        problems += [
            f"node {name}: {text}"
            for text in version_problems(wanted, requirements, versions.get, "there", "in the run's process")
        ]
    return problems


def check_nodes() -> list[str]:
    """Return the problems of the connected cluster's nodes and the remedy; empty if there are none."""
    from packaging.requirements import Requirement

    requirements = needed()
    names = [Requirement(text).name for text in requirements]
    local = installed_here(sorted({"ray", "torch", *names}))
    problems = node_problems(ask_nodes(installed_here, sorted(local.keys() - {"python"})), local, requirements)
    return [*problems, REMEDY] if problems else []


def ask_nodes(question: Any, *arguments: Any, limit_s: float = ANSWER_S) -> dict[str, Any]:
    """Call a function of this code on each living node; returns results by node name, or a text if there is none."""
    import ray
    from ray.exceptions import GetTimeoutError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    task = ray.remote(num_cpus=0, max_retries=0)(question)
    answers = {
        name_of(node): task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            *arguments
        )
        for node in alive
    }
    ray.wait(list(answers.values()), num_returns=len(answers), timeout=limit_s)
    results: dict[str, Any] = {}
    for name, answer in answers.items():
        try:
            results[name] = ray.get(answer, timeout=0.1)
        except GetTimeoutError:
            results[name] = f"no answer within {limit_s:.0f} s"
        except Exception as error:  # any error on the node is its answer
            results[name] = _why(error)
    return results


def _why(error: Exception) -> str:
    last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    if "No module named 'cluster'" in last:
        return "the project's code is missing there: submit the run as a job (python -m cluster submit)"
    return last[:300]
