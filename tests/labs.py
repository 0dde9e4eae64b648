"""Fixtures of the tests that run in containers. Without an engine these fail; they never skip.

A conftest.py takes them by importing them. A module says which hosts it wants, and gets a lab that
all its tests share:

    SPECS = [HostSpec("misp-debian", "debian-12")]

    def test_something(lab: Lab) -> None:
        lab["misp-debian"].exec("true")

A test that spoils its host takes a lab of its own: ``make_lab([HostSpec(...)])``. The old workers
look for jobs each second here. A module that publishes a time asks for MISP's five seconds:
``old_worker_interval=OLD_WORKER_INTERVAL``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace

import pytest

from lab import bundle
from lab.engine import KEEP_VARIABLE, Engine, require
from lab.errors import LabError
from lab.lab import Lab
from lab.topology import HostSpec

SHOWN = ("e2e.cuts", "e2e.round_trip", "e2e.secrecy", "hostile.operate", "hostile.attacks")

# What these find must be shown as what tests find.
pytest.register_assert_rewrite(*(f"tests.{name}" for name in SHOWN))

BUNDLES_PER_LAB = 3
"""When one failure makes the rest of a module fail, more bundles would only cost time."""

QUICK = 1
"""Seconds between two looks of the old workers, where a specification does not say it."""

LabMaker = Callable[[Iterable[HostSpec]], Lab]

_running: dict[str, Lab] = {}
_bundles: dict[str, int] = {}


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The container engine that answers."""
    try:
        return require()
    except LabError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Lab]:
    """The lab of the module, with the hosts of its SPECS."""
    specs: Iterable[HostSpec] | None = getattr(request.module, "SPECS", None)
    if specs is None:
        pytest.fail(f"{request.module.__name__} uses the lab but has no SPECS.", pytrace=False)
    with started(request.config, specs) as running:
        yield running


@pytest.fixture
def make_lab(request: pytest.FixtureRequest, engine: Engine) -> Iterator[LabMaker]:
    """Starts labs for one test, which are destroyed when it ends."""
    with ExitStack() as stack:
        yield lambda specs: stack.enter_context(started(request.config, specs))


@contextmanager
def started(config: pytest.Config, specs: Iterable[HostSpec]) -> Iterator[Lab]:
    """Give the block a lab of SPECS; a test that fails meanwhile keeps what its hosts look like."""
    with _shown(config):
        try:
            running = Lab.start(map(quick, specs), keep=os.environ.get(KEEP_VARIABLE) == "1")
        except LabError as error:
            pytest.fail(str(error), pytrace=False)
    _running[running.id] = running
    try:
        yield running
    finally:
        del _running[running.id]
        with _shown(config):
            running.close()


def quick(spec: HostSpec) -> HostSpec:
    """Have the old workers look for jobs each second: few tests publish a time."""
    return replace(spec, old_worker_interval=spec.old_worker_interval or QUICK)


def _shown(config: pytest.Config) -> AbstractContextManager[None]:
    """Let the lab's progress through: starting one takes longer than people wait for a dot."""
    manager = config.pluginmanager.getplugin("capturemanager")
    if manager is None:
        return nullcontext()
    shown: AbstractContextManager[None] = manager.global_and_fixture_disabled()
    return shown


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what the hosts looked like when a test failed."""
    report = yield
    if report.failed:
        for running in list(_running.values()):
            _bundles[running.id] = _bundles.get(running.id, 0) + 1
            if _bundles[running.id] <= BUNDLES_PER_LAB:
                path = bundle.collect(running, f"{item.nodeid} ({report.when})\n{report.longrepr}")
                report.sections.append(("lab", f"what the hosts looked like: {path}"))
    return report
