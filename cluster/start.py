"""The start of a job on the cluster: check the packages, then become the run in the same process.

    python -m cluster.start VERSIONS train recipe.toml ...

VERSIONS is ray=2.60.0,torch=2.13.0: the versions on the machine that submitted the job.
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
    """Return the installed version of a package, or None."""
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
    """Return the problems with the packages of a machine.

    `wanted` are name=version pairs that must agree in the minor version; `requirements` are those of pyproject.toml.
    """
    from packaging.requirements import Requirement

    problems, reported = [], set()
    for pair in wanted.split(","):
        name, _, expected = pair.partition("=")
        local = installed(name)
        if local is None or minor(local) != minor(expected):
            problems.append(f"{name} is {local or 'not installed'} {where}, {expected} {elsewhere}")
            reported.add(name)
    for text in requirements:
        requirement = Requirement(text)
        if requirement.name in reported or (requirement.marker is not None and not requirement.marker.evaluate()):
            continue
        local = installed(requirement.name)
        if local is None or not requirement.specifier.contains(local, prereleases=True):
            problems.append(f"{requirement.name}{requirement.specifier} is needed, {local or 'none'} is installed {where}")
    return problems


def requirements_of(pyproject: str) -> list[str]:
    """Return the project's dependencies from the text of pyproject.toml."""
    return list(tomllib.loads(pyproject)["project"]["dependencies"])


def main(arguments: Sequence[str]) -> None:
    """Check the packages, then become the run; exits with 2 if a package is missing or of another version."""
    wanted, command = arguments[0], list(arguments[1:])
    problems = version_problems(wanted, requirements_of(Path("pyproject.toml").read_text()), find_version)
    if problems:
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)  # noqa: T201
        print(f"error: {REMEDY}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "workflows", *command])


if __name__ == "__main__":
    main(sys.argv[1:])
