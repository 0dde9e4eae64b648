"""The project's habits, as nox sessions: ``./noxw -l`` lists them.

Options after ``--`` are the session's own: ``--install-engine``, ``--keep`` and ``--hosts`` where
a lab is started; anything else goes to pytest.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "unit", "fake"]

ROOT = Path(__file__).resolve().parent
SHELL_SOURCES = (
    "noxw",
    ".ci/run",
    "lab/bench",
    "lab/recipes",
    "lab/stub",
    "templates",
)


# --- environments ------------------------------------------------------------------------------


def _install(session: nox.Session, *, peers: bool = False) -> None:
    """Install what pyproject.toml asks for, in the versions of constraints.txt.

    Every session gets the same set: what is linted and type-checked is what is tested. Only the
    bench takes what it compares with as well.
    """
    project = nox.project.load_toml(ROOT / "pyproject.toml")
    groups = [name for name in project["dependency-groups"] if peers or name != "bench"]
    wanted = nox.project.dependency_groups(project, *groups)
    session.install("--constraint", "constraints.txt", *project["project"]["dependencies"], *wanted)


def _options(session: nox.Session) -> tuple[argparse.Namespace, list[str]]:
    """Split the options after ``--`` into the lab's own and the rest."""
    parser = argparse.ArgumentParser(prog=f"./noxw -s {session.name} --", allow_abbrev=False)
    parser.add_argument(
        "--install-engine",
        action="store_true",
        help="install and start the distribution's Docker when no container engine answers",
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab running afterwards")
    parser.add_argument("--hosts", help="rehearse: which lab hosts, comma-separated")
    return parser.parse_known_args(session.posargs)


def _with_engine(session: nox.Session, options: argparse.Namespace, *command: str) -> None:
    """Run a command with a container engine, which is stopped afterwards if it was started."""
    flags = ["--install-engine"] * options.install_engine + ["--keep"] * options.keep
    session.run(
        *("python", "-m", "lab.engine", "run", *flags, "--", "python", *command),
        # Time to remove the lab, and to stop the engine, after Ctrl-C.
        interrupt_timeout=60.0,
        terminate_timeout=60.0,
    )


# --- the steps of the sessions -----------------------------------------------------------------


def _lint(session: nox.Session) -> None:
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")
    # The oldest Python that a host may have: RHEL 8's own.
    session.run("vermin", "--quiet", "--target=3.6-", "--no-tips", "--violations", "tasks/host")
    scripts = _shell_scripts()
    session.run("shellcheck", *scripts)


def _shell_scripts() -> list[str]:
    """Find shell scripts by suffix or first line: some lack the one, some the other."""
    paths = [
        path
        for name in SHELL_SOURCES
        for path in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))
        if path.is_file() and path.suffix in ("", ".sh")
    ]
    shebangs = (b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash")
    return [
        str(path.relative_to(ROOT))
        for path in sorted(paths)
        if path.suffix == ".sh" or path.read_bytes().startswith(shebangs)
    ]


def _types(session: nox.Session) -> None:
    session.run("mypy")
    # These belong to no package.
    session.run(
        "mypy", "noxfile.py", "config.py", "deploy.py", "healthcheck.py", "rollback.py", "status.py"
    )


def _pytest(session: nox.Session, folder: str, *options: str) -> None:
    session.run("python", "-m", "pytest", f"tests/{folder}", *options)


def _need_programs(session: nox.Session, options: argparse.Namespace, *words: str) -> None:
    """Have a Redis and PHP with its extensions, which unit tests and the simulation run."""
    install = ["--install-engine"] * options.install_engine
    session.run("python", "-m", "lab.programs", *words, *install)


def _in_containers(session: nox.Session, options: argparse.Namespace, *words: str) -> None:
    # Whole modules: a module's tests build on one another. Hosts boot and wait more than they
    # compute, so there are twice as many labs as CI has processors.
    parallel = ("-n", "4", "--dist", "loadfile", "--durations=10")
    _with_engine(session, options, "-m", "pytest", *parallel, *words)


# --- sessions ----------------------------------------------------------------------------------


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff (rules and format), layers, the hosts' oldest Python, and shellcheck."""
    _install(session)
    _lint(session)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    _install(session)
    _types(session)


@nox.session
def unit(session: nox.Session) -> None:
    """Tests of functions. Options: --install-engine (for a Redis and PHP), and pytest's."""
    _install(session)
    options, rest = _options(session)
    _need_programs(session, options)
    _pytest(session, "unit", "-n", "2", *rest)


@nox.session
def fake(session: nox.Session) -> None:
    """Whole deploys on pyinfra's @fake hosts."""
    _install(session)
    _pytest(session, "fake", *_options(session)[1])


@nox.session
def simulation(session: nox.Session) -> None:
    """The cut-over in thousands of interleavings. Options: --install-engine, --seed N."""
    _install(session)
    options, rest = _options(session)
    _need_programs(session, options)
    _pytest(session, "simulation", "-n", "2", *rest)


@nox.session
def e2e(session: nox.Session) -> None:
    """Migrations in containers. Options: --install-engine, --keep, and pytest's."""
    _install(session)
    options, rest = _options(session)
    _in_containers(session, options, "tests/e2e", "-m", "not resilience", *rest)


@nox.session
def resilience(session: nox.Session) -> None:
    """Long suites: kills in every operation, load, faults afterwards, a run's page in a browser."""
    _install(session)
    options, rest = _options(session)
    _need_programs(session, options, "--browser")
    _in_containers(session, options, "tests/e2e", "-m", "resilience", *rest)


@nox.session
def hostile(session: nox.Session) -> None:
    """Attacks in containers. Options: --install-engine, --keep, and pytest's."""
    _install(session)
    options, rest = _options(session)
    _in_containers(session, options, "tests/hostile", *rest)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that CI runs: all of the above but resilience. Option: --install-engine."""
    _install(session)
    options, rest = _options(session)
    _need_programs(session, options)
    _lint(session)
    _types(session)
    _pytest(session, "unit", "-n", "2")
    _pytest(session, "fake", "-n", "2")
    _pytest(session, "simulation", "-n", "2")
    _in_containers(session, options, "tests/e2e", "tests/hostile", "-m", "not resilience", *rest)


@nox.session
def rehearse(session: nox.Session) -> None:
    """Show the migration on your own machine. Options: --install-engine, --keep, --hosts A,B."""
    _install(session)
    options, rest = _options(session)
    hosts = ["--hosts", options.hosts] if options.hosts is not None else []
    keep = ["--keep"] * options.keep
    _with_engine(session, options, "-m", "lab.rehearsal", *hosts, *keep, *rest)


@nox.session
def lab(session: nox.Session) -> None:
    """Hosts of your own to try the deploy on: up, list, ssh, run, destroy; --help has more."""
    _install(session)
    python = str(Path(session.bin) / "python")
    # In the place of nox, which has the terminal otherwise, and no exit status but 0 and 1.
    os.execv(python, [python, "-m", "lab", *session.posargs])  # noqa: S606


@nox.session
def bench(session: nox.Session) -> None:
    """Times beside the guide's and Ansible's. Options: --install-engine, --rows, --against."""
    _install(session, peers=True)
    options, rest = _options(session)
    _with_engine(session, options, "-m", "lab.bench", *rest)
