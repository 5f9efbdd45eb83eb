"""Whether every node has what the run needs: one task on each of them, before the first task of the run."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.capacity import name_of
from cluster.start import REMEDY, find_version, requirements_of, version_problems

ANSWER_S = 60.0  # for a node to start a process and answer

Installed = Mapping[str, str | None]  # the version of each package; "python" is Python's own


def installed_here(names: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of Python and of these packages in this process."""
    return {"python": platform.python_version(), **{name: find_version(name) for name in names}}


def needed() -> list[str]:
    """Return what pyproject.toml asks for, beside this code."""
    file = Path(__file__).parents[1] / "pyproject.toml"
    return requirements_of(file.read_text()) if file.is_file() else []


def node_problems(nodes: Mapping[str, Installed | str], here: Installed, requirements: Sequence[str]) -> list[str]:
    """Return what is wrong with each node, by name; a text stands for the versions of a node that did not answer."""
    problems = []
    for name, found in nodes.items():
        if isinstance(found, str):
            problems.append(f"node {name}: {found}")
            continue
        ours, theirs = str(here["python"]), str(found["python"])
        if ours.split(".")[:2] != theirs.split(".")[:2]:
            problems.append(f"node {name}: Python is {theirs}, the run's own process has {ours}")
        wanted = ",".join(f"{package}={here[package]}" for package in ("ray", "torch"))
        problems += [
            f"node {name}: {text}"
            for text in version_problems(wanted, requirements, found.get, "there", "in the run's process")
        ]
    return problems


def check_nodes() -> list[str]:
    """What is wrong with the nodes of the cluster that this process is connected to; empty where all have what is needed."""
    from packaging.requirements import Requirement

    requirements = needed()
    names = [Requirement(text).name for text in requirements]
    here = installed_here(sorted({"ray", "torch", *names}))
    problems = node_problems(ask_nodes(installed_here, sorted(here.keys() - {"python"})), here, requirements)
    return [*problems, REMEDY] if problems else []


def ask_nodes(question: Any, *arguments: Any, limit_s: float = ANSWER_S) -> dict[str, Any]:
    """What a function of this code returns on each living node, by the node's name; a text where it does not answer."""
    import ray
    from ray.exceptions import GetTimeoutError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    task = ray.remote(num_cpus=0, max_retries=0)(question)
    asked = {
        name_of(node): task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            *arguments
        )
        for node in alive
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=limit_s)
    found: dict[str, Any] = {}
    for name, answer in asked.items():
        try:
            found[name] = ray.get(answer, timeout=0.1)
        except GetTimeoutError:
            found[name] = f"no answer within {limit_s:.0f} s"
        except Exception as error:  # whatever goes wrong there is what is to be told
            found[name] = _why(error)
    return found


def _why(error: Exception) -> str:
    last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    if "No module named 'cluster'" in last:
        return "the project's code is not there: submit the run as a job (python -m cluster submit)"
    return last[:300]
