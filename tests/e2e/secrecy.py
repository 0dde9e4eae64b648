"""Whether a secret was shown: by pyinfra, in a command line, in a journal or in a file."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from docker.errors import DockerException

from lab import misp
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab
from tasks.report import record
from tests.e2e import observe

_SEEN = "/var/tmp/.lab-seen"  # noqa: S108 # not on a tmpfs: it outlives a loss of power
_STOP = "/run/lab-seen.stop"

# Every command line and every supervisor password that the host ever has, one JSON list a line. A
# process is read while it is young: later its arguments do not change any more.
_SAMPLER = r"""
import json, os, re, sys, time
config, pending, seen, stop = sys.argv[1:]
known, born, due = set(), {}, 0
password = "'supervisor_password' => '([^']+)'"
out = open(os.open(seen, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", errors="replace")
def show(*what):
    if what not in known:
        known.add(what)
        print(json.dumps(what), file=out, flush=True)
def text(path):
    try: return open(path, errors="replace").read()
    except OSError: return ""
while not os.path.exists(stop):
    now = time.monotonic()
    born = {pid: born.get(pid, now) for pid in os.listdir("/proc") if pid.isdigit()}
    for pid in born:
        if now - born[pid] < 2: show("arguments", text("/proc/%s/cmdline" % pid).replace("\0", " "))
    if now > due:
        due = now + 0.2
        words = re.findall(password, text(config)) + text(pending).split()
        for word in words: show("password", word)
    time.sleep(0.02)
"""


class Watch:
    """What one host showed of itself while it was watched."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        self.arguments: set[str] = set()
        self.passwords: set[str] = set()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch of {host.name}")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self.host.exec(["touch", _STOP])
        self._thread.join(60)
        for line in self.host.read(_SEEN).splitlines():
            kind, text = json.loads(line)
            (self.passwords if kind == "password" else self.arguments).add(text)
        self.host.exec(["rm", _STOP, _SEEN])

    def _run(self) -> None:
        config = f"{self.host.spec.misp_root}/app/Config/config.php"
        pending = f"{observe.MIGRATION_STATE}/pending-password"
        sampler = ["python3", "-c", _SAMPLER, config, pending, _SEEN, _STOP]
        while not self._is_over.is_set():
            # It ends early when the host loses its power, and is started again when that is back.
            with contextlib.suppress(LabError, DockerException):
                self.host.exec(sampler, check=False, timeout=3600)
            self._is_over.wait(0.05)


@contextlib.contextmanager
def kept(lab: Lab) -> Iterator[dict[str, Watch]]:
    """Watch every host during a block. At its end no secret may have been shown anywhere."""
    began = time.time()
    watches = {host.name: Watch(host) for host in lab}
    try:
        for watch in watches.values():
            watch.start()
        yield watches
    finally:
        for watch in watches.values():
            watch.stop()
    secrets = {*lab.secrets}.union(*(watch.passwords for watch in watches.values()))
    assert secrets > {*lab.secrets}, "no host had a password that could have been shown"
    with ThreadPoolExecutor(4) as pool:
        shown = list(pool.map(partial(_shown, secrets, began), watches.values()))
    assert _lines_with(secrets, _printed(lab)) + [line for lines in shown for line in lines] == []


def _printed(lab: Lab) -> list[str]:
    """All lines that pyinfra printed, and those of what its runs have left."""
    reports = Path(lab.environment[record.VARIABLE])
    left = [path for path in reports.rglob("*") if path.is_file()]
    texts = [*lab.printed, *(path.read_text() for path in left)]
    return "\n".join(texts).splitlines()


def _shown(secrets: set[str], began: float, watch: Watch) -> list[str]:
    """What a host showed of secrets since a time."""
    host = watch.host
    # CakeResque itself shows Redis's password in the arguments of its wrapper (as on MISP).
    arguments = [line for line in watch.arguments if "resque" not in line]
    journal = host.exec("journalctl --no-pager").stdout.splitlines()
    files = observe.files_with(host, *secrets, since=began)
    found = [
        *(f"arguments: {line}" for line in _lines_with(secrets, arguments)),
        *(f"journal: {line}" for line in _lines_with(secrets, journal)),
        *(f"file: {line}" for line in files if not _may_hold(host, line)),
    ]
    return [f"{host.name}: {line}" for line in found]


def _lines_with(secrets: Iterable[str], lines: Iterable[str]) -> list[str]:
    return [line for line in lines if any(secret in line for secret in secrets)]


def _may_hold(host: LabHost, found: str) -> bool:
    """MISP's own configuration, and its copy in the directory that only root can enter.

    Also the stub's, in which a test turns a switch.
    """
    path, mode, owner = found.rsplit(" ", 2)
    if path == misp.STUB_CONFIG:
        return (mode, owner) == ("640", "root")
    if path == f"{host.spec.misp_root}/app/Config/config.php":
        return (mode, owner) == ("660", host.spec.web_user)
    directory = host.exec(["stat", "-c", "%a %U", observe.MIGRATION_STATE], check=False).stdout
    return path.startswith(f"{observe.MIGRATION_STATE}/") and directory.split() == ["700", "root"]
