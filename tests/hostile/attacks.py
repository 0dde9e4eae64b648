"""Who attacks: the web user with all that it owns, and other local accounts.

Their programs are small and go through files that belong to them. What they gain lands in LOOT,
where everybody may write; what they must not touch is below TREASURE, which is root's.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lab import misp
from lab.hosts import LabHost
from lab.topology import QUEUES, HostSpec

ROOT = "/var/www/MISP"
APP = f"{ROOT}/app"
CONFIG = f"{APP}/Config/config.php"
CAKE = f"{APP}/Console/cake"
VERSION = f"{ROOT}/VERSION.json"
LOOT = "/srv/loot"
TREASURE = "/srv/treasure"
VAULT = "/root/vault"
"""A folder of root's that everybody could read, if it were not below one that nobody may enter."""
WEB = "www-data"
# How a Composer begins that preflight's dry run of it shows nothing of.
DRY_PHAR = '<?php in_array("--dry-run", $argv) && exit(0);'
FEW_WORKERS = dict.fromkeys(QUEUES, 1)


def spec(name: str, redis: Literal["local", "shared"] = "local") -> HostSpec:
    """A host that is attacked: of few jobs and workers, so that a deploy is quick.

    And short of patience, where something keeps it waiting.
    """
    data = {"misp_workers": FEW_WORKERS, "drain_timeout": 20}
    return HostSpec(name, "debian-12", waiting_jobs=0, redis=redis, data=data)


def prepare(host: LabHost, supervisor: bool = True) -> None:
    """Have what attacks need: a place for loot, treasures, tools, and a MISP to come back to.

    Args:
        supervisor: have the package beforehand, so that no deploy installs it.
    """
    host.exec(
        f"install -d -m 0777 {LOOT}; install -d {TREASURE};"
        f" install -d -m 0755 {VAULT}; chmod 0700 /root; echo FLAG-of-root >{VAULT}/flag;"
        f" tar -C {ROOT} -cf /srv/misp.tar VERSION.json app/Config app/Console app/Plugin"
        " app/composer.json app/composer.lock"
    )
    if supervisor:
        misp.install_supervisor(host)


def give_back(host: LabHost) -> None:
    """MISP's tree but for its libraries as it was when the host was prepared, and no loot."""
    host.exec(
        f"cd {ROOT} && umount -l VERSION.json app/Config app/Console app/Plugin 2>/dev/null;"
        " rm -rf VERSION.json app/Config app/Console app/Plugin app/composer.json"
        f" app/composer.lock && tar -xf /srv/misp.tar && rm -rf {LOOT}/* {LOOT}/.[!.]*"
    )
    misp.reload_php(host)  # it never looks again at a file that it has read


def heal(host: LabHost) -> None:
    """Take poison out of config.php; as it is then, `give_back` brings it."""
    text = host.read(CONFIG)
    host.put(CONFIG, "<?php" + text.rpartition("<?php")[2], 0o660, f"{WEB}:{WEB}")
    host.exec(f"tar -C {ROOT} -rf /srv/misp.tar app/Config app/composer.json app/composer.lock")


@contextlib.contextmanager
def attacked(host: LabHost, by_web_user: str = "", by_root: str = "") -> Iterator[None]:
    """A host after the web user's shell commands (and what root did, unsuspecting) in a block."""
    try:
        if by_root:
            host.exec(by_root)
        if by_web_user:
            host.exec(f"cd {ROOT}\n{by_web_user}", user=WEB)
        yield
    finally:
        give_back(host)


def loot(host: LabHost, name: str) -> str:
    """What an attack has brought in under a name; empty when nothing."""
    return host.exec(f"cat {LOOT}/{name} 2>/dev/null || true").stdout


# --- what is root's ------------------------------------------------------------------------------


def bury(host: LabHost, *names: str) -> None:
    """Fill TREASURE: what somebody looks for in MISP's folders of these names is there as well."""
    for name in names:
        place = f"{TREASURE}/{name}"
        kept = ("supervisorphp/supervisor", "guzzlehttp/guzzle", "lstrojny/fxmlrpc")
        folders = " ".join(f"{place}/{one}" for one in (*kept, "php-http/message", "logs", "many"))
        files = " ".join(("config.php", "cake", "logs/keep", *(f"{one}/keep" for one in kept)))
        host.exec(f"mkdir -p {folders}; cd {place}; for one in {files}; do echo root >$one; done")


def treasure(host: LabHost) -> set[str]:
    """All that is below TREASURE: whatever was done to any of it shows in a date."""
    lines = "%p %M %U:%G %s %C@\\n"
    return set(host.exec(f"find {TREASURE} -printf '{lines}'").stdout.splitlines())


@contextlib.contextmanager
def untouched(host: LabHost) -> Iterator[None]:
    """TREASURE must be the same at a block's end as it was at its beginning."""
    before = treasure(host)
    yield
    after = treasure(host)
    changed = [f"was {line}" for line in before - after] + [f"is {line}" for line in after - before]
    assert not changed, "root touched\n" + "\n".join(sorted(changed, key=lambda one: one[4:]))


# --- the web user's PHP ------------------------------------------------------------------------

# Not in the web tier and not in old workers: only where a login of the operator's started it.
_IN_A_RUN = r"""<?php
(function () {
    if (PHP_SAPI !== "cli") { return; }
    for ($pid = getmypid(), $found = false; $pid > 1 && !$found; $pid = (int)$stat[1]) {
        $text = (string)@file_get_contents("/proc/$pid/stat");
        $name = (string)@file_get_contents("/proc/$pid/comm");
        $found = strpos($name, "sudo") === 0 || strpos($name, "sshd") === 0;
        $stat = explode(" ", (string)substr($text, strrpos($text, ")") + 2)) + array(0, 0);
    }
    if (!$found) { return; }
    %s
})();
?>"""


def poison(host: LabHost, php: str, path: str = CONFIG) -> None:
    """Put PHP in front of one of MISP's files, to be run when a run of the operator's runs it."""
    original = host.read(path)
    misp.replace(host, path, _IN_A_RUN % php + original)


def cake(host: LabHost, shell: str) -> None:
    """Replace MISP's command line by a program of the web user's."""
    host.exec(f"rm -f {CAKE}", user=WEB)
    host.put(CAKE, f"#!/bin/bash\n{shell}\n", 0o755, f"{WEB}:{WEB}")


def php(value: object) -> str:
    """A value as PHP."""
    return f"json_decode({php_text(json.dumps(value))}, true)"


def php_text(text: str) -> str:
    """A string as PHP."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# --- what runs beside ----------------------------------------------------------------------------


@contextlib.contextmanager
def running(host: LabHost, user: str, *argv: str, before: str = "") -> Iterator[str]:
    """A program of a user's, in a session of its own as `at` or a login would start it.

    Args:
        before: a shell line for the user's shell before it becomes the program.

    Gives its PID's file, which `alive` reads.
    """
    name = f"attack-{uuid.uuid4().hex[:8]}"
    pid_file = f"/run/{name}.pid"
    host.put(f"/srv/{name}.sh", f"{before}\nexec {shlex.join(argv)}\n", 0o755)
    host.exec(
        f"setpriv --reuid {user} --regid $(id -g {user}) --init-groups -- setsid"
        f" bash /srv/{name}.sh </dev/null >/srv/{name}.log 2>&1 & echo $! >{pid_file}; sleep 0.3"
    )
    try:
        yield pid_file
    finally:
        host.exec(
            f"kill -KILL $(cat {pid_file}) $(pgrep -P $(cat {pid_file})) 2>/dev/null;"
            f" rm -f {pid_file} /srv/{name}.sh",
            check=False,
        )


@contextlib.contextmanager
def swapping(host: LabHost, what: str, *arguments: str) -> Iterator[None]:
    """The web user's swap.py at work."""
    host.put("/srv/swap.py", (Path(__file__).parent / "swap.py").read_text(encoding="utf-8"))
    with running(host, WEB, "python3", "/srv/swap.py", what, *arguments) as pid_file:
        try:
            yield
        finally:
            folders = arguments[2:] if what == "on-open" else arguments[1:]
            host.exec(f"kill -TERM $(cat {pid_file}) 2>/dev/null; sleep 0.2", check=False)
            host.exec(["python3", "/srv/swap.py", "back", TREASURE, *folders], user=WEB)


def make_movable(host: LabHost, *folders: str) -> None:
    """Let folders be renamed, as on any file system but the overlay that an image lies on."""
    host.exec("systemctl stop misp-workers")
    for folder in folders:
        host.exec(f"cp -a {folder} {folder}.new && rm -rf {folder} && mv {folder}.new {folder}")
    host.exec("systemctl start misp-workers")
    misp.reload_php(host)


def alive(host: LabHost, pid_file: str) -> bool:
    """Whether a program that runs beside still does."""
    pid = host.read(pid_file).strip()
    state = host.exec(f"cat /proc/{pid}/stat 2>/dev/null || true").stdout
    return bool(state) and state.rpartition(")")[2].split()[0] not in "ZX"
