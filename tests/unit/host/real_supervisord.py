"""A real supervisord on files of the test's own, in the place of systemd's service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tasks.host import peer
from tasks.host.daemon import Daemon
from tasks.host.site import Site

SUPERVISORD = str(Path(sys.executable).with_name("supervisord"))
SUPERVISORCTL = str(Path(sys.executable).with_name("supervisorctl"))
MAIN = """\
[unix_http_server]
file={folder}/s.sock
{access}
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/s.sock
[include]
files = conf.d/*.conf
"""
GROUP = """\
[group:misp-workers]
programs={names}
"""
PROGRAM = """\
[program:{name}]
command=/bin/sleep 6{seconds}
user=nobody
process_name=%(program_name)s_%(process_num)02d
numprocs=2
startsecs=0
"""


# What a worker looks like in /proc; `code` is what it does.
WORKER = """\
[program:{name}]
command=/usr/bin/python3 -c "{code}" {root}/app/Console/cake.php start_worker {name}
user=nobody
startsecs=0
"""
IDLE = "import time; time.sleep(600)"
BUSY = "import subprocess; subprocess.call(['/bin/sleep', '{seconds}']); " + IDLE


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def group_text(*names: str, seconds: int = 0) -> str:
    """MISP's group with two sleeping workers for each name."""
    programs = [PROGRAM.format(name=name, seconds=seconds) for name in names]
    return GROUP.format(names=",".join(names)) + "".join(programs)


def workers_text(root: str, **code: str) -> str:
    """MISP's group with one worker for each name, which does what its code says."""
    programs = [WORKER.format(name=name, code=text, root=root) for name, text in code.items()]
    return GROUP.format(names=",".join(code)) + "".join(programs)


class RealSupervisord(Daemon):
    """What `Daemon` is to systemd, for a supervisord that the test starts itself."""

    def __init__(self, folder: Path, access: str = "", *, forks: bool = False) -> None:
        super().__init__("supervisor.service")
        self.folder = folder
        self.forks = forks
        self.conf = folder / "supervisord.conf"
        self.has_socket, self.port = True, 0
        self.starts = self.reloads = 0
        self.enabled = False
        (folder / "conf.d").mkdir()
        self.conf.write_text(MAIN.format(folder=folder, access=access))

    def include(self, name: str, text: str) -> Path:
        path = self.folder / "conf.d" / f"{name}.conf"
        path.write_text(text)
        return path

    def main_pid(self) -> int:
        try:
            pid = int((self.folder / "supervisord.pid").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return 0
        return 0 if state == "Z" else pid

    @property
    def drop_in(self) -> str:
        return f"{self.folder}/supervisor.service.d/misp-workers.conf"

    def reload_units(self) -> None:
        self.reloads += 1

    def is_enabled(self) -> bool:
        return self.enabled

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def start(self) -> None:
        self.starts += 1
        self._run_before()
        words = [SUPERVISORD, "-c", str(self.conf), *([] if self.forks else ["-n"])]
        self.process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder
        )
        end = time.monotonic() + 10
        while time.monotonic() < end and not self.answers():
            if self.process.poll() not in (None, 0):
                return
            time.sleep(0.05)

    def _run_before(self) -> None:
        """What systemd runs before, by the drop-in; a dash: whether it fails is no matter."""
        path = Path(self.drop_in)
        for line in path.read_text().splitlines() if path.exists() else ():
            if line.startswith("ExecStartPre=-"):
                subprocess.run(line.partition("=-")[2].split(), check=False)

    def answers(self) -> bool:
        if not self.has_socket:
            return self.main_pid() > 0 and bool(peer.listening(self.port))
        with socket.socket(socket.AF_UNIX) as one:
            return self.main_pid() > 0 and one.connect_ex(f"{self.folder}/s.sock") == 0

    def drop_socket(self, port: int) -> None:
        """Have it listen on a port alone."""
        self.has_socket, self.port = False, port
        self.conf.write_text("[supervisord]" + self.conf.read_text().partition("[supervisord]")[2])

    def ctl(self, *words: str) -> str:
        """What supervisorctl prints."""
        command = [SUPERVISORCTL, "-c", str(self.conf), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode in (0, 3) else ""

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        pid = self.main_pid()
        if pid:
            os.kill(pid, signal.SIGTERM)
            while self.main_pid() == pid:
                time.sleep(0.02)
                if self.process.poll() is not None and not self.forks:
                    break
        (self.folder / "supervisord.pid").unlink(missing_ok=True)

    def journal(self) -> str:
        return "the end of its journal"


def site(folder: Path, port: int = 9001, **changes: object) -> Site:
    """A site whose supervisor is the one in this folder."""
    one = Site(
        misp_root="/var/www/MISP",
        web_user="",
        legacy_service="",
        drain_timeout=5,
        leftovers="stop",
        transport="tcp",
        rpc_port=port,
        rpc_user="supervisor",
        rpc_socket="",
        supervisor_package="supervisor",
        supervisor_unit="supervisor",
        supervisor_conf=str(folder / "supervisord.conf"),
        include_dir=str(folder / "conf.d"),
        include_suffix=".conf",
        package_query="",
        packages="",
        state_dir=str(folder / "state"),
        log_dir=str(folder / "log"),
        is_on=False,
    )
    return one._replace(**changes)  # type: ignore[arg-type]
