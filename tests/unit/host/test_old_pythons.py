"""The host package in older Pythons: 3.6 is RHEL 8's own. Those that this machine has are run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks import remote
from tasks.checks.seen import SeenForStatus, SeenToMigrate, SeenToReturn, kinds
from tasks.host import look
from tests import hosts

MINORS = range(6, 10)
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
KINDS = {
    kind.__name__ for seen in (SeenForStatus, SeenToMigrate, SeenToReturn) for kind in kinds(seen)
}


def interpreter(minor: int) -> str:
    """Its path, or the reason why it is not run."""
    kept = sorted(str(path) for path in PYENV.glob(f"3.{minor}.*/bin/python3.{minor}"))
    found = kept[-1] if kept else shutil.which(f"python3.{minor}")
    return found or pytest.skip(f"this machine has no Python 3.{minor}")


@pytest.mark.parametrize("minor", MINORS)
def test_all_parts_are_looked_at(minor: int, tmp_path: Path) -> None:
    """On a machine without MISP: what is not there is told, and no part breaks."""
    target = hosts.target(misp_root=str(tmp_path / "MISP"))
    call = remote.look(
        look.take,
        site=target.site(),
        desired=target.desired(),
        kinds=sorted(KINDS),
        rpc_text=target.rpc_text(),
    )
    done = subprocess.run(  # noqa: S602 - by a shell, as on a host
        call.words(interpreter(minor)),
        shell=True,
        input=call.stdin()[:],  # the text itself, not its name
        capture_output=True,
        text=True,
        check=False,
    )
    found = call.read(done.stdout.splitlines())
    assert set(found) == KINDS, done.stderr
    assert "MISP" in found["Tree"]["error"]
