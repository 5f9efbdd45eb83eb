"""The start of a job on the cluster: whether its Python has what the run needs, then the run itself, in the same process.

    python -m cluster.start VERSIONS train recipe.toml ...

VERSIONS is ray=2.60.0,torch=2.13.0: what the machine has that submitted the job.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster.reach import minor

REMEDY = (
    "install what constraints.txt pins on all machines (cluster/*.yaml do so), or submit with --install, which does it at "
    "the start of the job"
)


def find_version(name: str) -> str | None:
    """Return the installed version of a package, None where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def version_problems(
    wanted: str,
    requirements: Sequence[str],
    installed: Callable[[str], str | None],
    where: str = "on the cluster",
    elsewhere: str = "on the machine that submitted the job",
) -> list[str]:
    """Return what is wrong with the packages of a machine.

    `wanted` are exact versions, another minor version is a problem; `requirements` are what pyproject.toml asks for.
    """
    from packaging.requirements import Requirement

    problems, told = [], set()
    for pair in wanted.split(","):
        name, _, there = pair.partition("=")
        here = installed(name)
        if here is None or minor(here) != minor(there):
            problems.append(f"{name} is {here or 'not installed'} {where}, {there} {elsewhere}")
            told.add(name)
    for text in requirements:
        requirement = Requirement(text)
        if requirement.name in told or (requirement.marker is not None and not requirement.marker.evaluate()):
            continue
        here = installed(requirement.name)
        if here is None or not requirement.specifier.contains(here, prereleases=True):
            problems.append(f"{requirement.name}{requirement.specifier} is needed, {here or 'none'} is installed {where}")
    return problems


def requirements_of(pyproject: str) -> list[str]:
    """Return the project's dependencies from the text of pyproject.toml."""
    return list(tomllib.loads(pyproject)["project"]["dependencies"])


def main(arguments: Sequence[str]) -> None:
    """Check, then become the run; exit with 2 where it cannot be."""
    wanted, command = arguments[0], list(arguments[1:])
    found = version_problems(wanted, requirements_of(Path("pyproject.toml").read_text()), find_version)
    if found:
        for problem in found:
            print(f"error: {problem}", file=sys.stderr)  # noqa: T201
        print(f"error: {REMEDY}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "workflows", *command])


if __name__ == "__main__":
    main(sys.argv[1:])
