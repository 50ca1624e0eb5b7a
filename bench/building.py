"""How the tools are compiled, and how what is compared is installed, each in its own place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.places import BUILD, ROOT, SOURCES, Unavailable

COMPILE_LIMIT_S = 120
INSTALL_LIMIT_S = 900

COMPILER_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True, slots=True)
class Tools:
    """The two programs in C."""

    stub: Path
    lg: Path


def compile_tools(into: Path = BUILD) -> Tools:
    """Compile both. Raises Unavailable without gcc, or if it refuses them."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise Unavailable("gcc is not installed.")
    into.mkdir(parents=True, exist_ok=True)
    made = Tools(into / "stub", into / "lg")
    for program in (made.stub, made.lg):
        source = SOURCES / f"{program.name}.c"
        run([compiler, *COMPILER_FLAGS, "-o", str(program), str(source)], limit_s=COMPILE_LIMIT_S)
    return made


def environment(name: str, *requirements: str) -> Path:
    """The Python of a virtual environment that has just *requirements*. Raises Unavailable.

    It is kept from one run to the next, as long as the same things are asked for.
    """
    place = BUILD / name
    python, stamp = place / "bin/python", place / "installed.txt"
    wanted = "\n".join((sys.version, *requirements))
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(place, ignore_errors=True)
    say(f"installing {', '.join(requirements)} into {place.relative_to(ROOT)}")
    run([sys.executable, "-m", "venv", str(place)], limit_s=INSTALL_LIMIT_S)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    run([*pip, "install", *requirements], limit_s=INSTALL_LIMIT_S)
    stamp.write_text(wanted)
    return python


def version_in(python: Path, package: str) -> str:
    """The version of *package* in an environment. Raises Unavailable."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return run([str(python), "-c", code], limit_s=60).strip()


def extra(name: str) -> list[str]:
    """What the project's extra *name* asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements: list[str] = project["optional-dependencies"][name]
    return requirements


def debian_packages(name: str, *packages: str) -> Path:
    """A directory with the files of Debian's *packages*, not installed. Raises Unavailable."""
    place = BUILD / name
    stamp = place / "installed.txt"
    if not stamp.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        say(f"unpacking {', '.join(packages)} into {place.relative_to(ROOT)}")
        run(["apt-get", "download", *packages], limit_s=INSTALL_LIMIT_S, directory=place)
        for package in place.glob("*.deb"):
            run(["dpkg", "-x", str(package), str(place)], limit_s=COMPILE_LIMIT_S)
        stamp.write_text("\n".join(packages))
    return place


def run(command: Sequence[str], *, limit_s: float, directory: Path | None = None) -> str:
    """What a command that must succeed prints. Raises Unavailable, with its last words."""
    try:
        done = subprocess.run(  # noqa: S603 - our own commands, without a shell
            command,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            cwd=directory,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed.") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took more than {limit_s:g} s.") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise Unavailable(f"{Path(command[0]).name} failed: {last[:300]}")
    return done.stdout


def say(text: str) -> None:
    """One line for whoever waits."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
