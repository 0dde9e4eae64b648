"""Collects what one wants to see of a lab in which something failed, with secrets masked."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from docker.errors import DockerException

from lab.console import say
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab
from lab.paths import state_dir

MASK = "********"
KEPT_BUNDLES = 20

# Values after a name that speaks of a secret, in ini files, PHP arrays and JSON alike.
_NAMED = re.compile(
    r"""(?ix)
    ( ['"]? [\w.-]* (?:passw(?:or)?d|passphrase|requirepass|masterauth|secret|salt|api_?key|authkey)
      ['"]? [ \t]* (?: => | =(?!>) | : | [ \t](?![ \t=:]) ) [ \t]* )
    ( '[^'\n]+' | "[^"\n]+" | [^\s'",;()]+ )
    """
)
_URL_LOGIN = re.compile(r"(://[^\s:/@]+:)[^\s/@]+(@)")
_HASH = re.compile(r"\{SHA\}[0-9a-fA-F]{8,}")

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "journal.txt": "journalctl --no-pager -o short-iso-precise",
        "units.txt": (
            "systemctl list-units --all --type=service --no-pager; systemctl --failed --no-pager;"
            " systemctl status --no-pager --full 'misp*' 'supervisor*' 'httpd*' 'apache2*' 'php*'"
        ),
        "processes.txt": "ps -eo pid,ppid,user,lstart,stat,args --forest",
        "supervisorctl.txt": "supervisorctl version; supervisorctl status; supervisorctl avail",
        "supervisor-config.txt": (
            "tail -n +1 /etc/supervisor/*.conf /etc/supervisor/conf.d/* /etc/supervisord.conf"
            " /etc/supervisord.d/*"
        ),
        "supervisor-log.txt": "tail -n 500 /var/log/supervisor/*",
        "misp-config.txt": (
            "tail -n +1 {root}/app/Config/config.php {root}/app/Plugin/CakeResque/Config/config.php"
            " /etc/misp-stub.json"
        ),
        "misp-logs.txt": "tail -n 300 {root}/app/tmp/logs/*",
        "web-logs.txt": "tail -n 200 /var/log/apache2/* /var/log/httpd/* /var/log/php*fpm*",
        "ledger.jsonl": "cat /var/lib/misp-stub/ledger.jsonl",
        "sockets.txt": "ss -lntp",
    }
)


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """Return TEXT with known secrets, and whatever stands after a secret's name, masked."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _HASH.sub("{SHA}" + MASK, text)
    text = _URL_LOGIN.sub(rf"\1{MASK}\2", text)
    return _NAMED.sub(lambda found: found.group(1) + _masked(found.group(2)), text)


def _masked(value: str) -> str:
    quote = value[0] if value[0] in "'\"" else ""
    return f"{quote}{MASK}{quote}"


def collect(lab: Lab, reason: str = "") -> Path:
    """Write a bundle of every host of LAB and return its directory."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    target = state_dir() / "bundles" / f"{stamp}-{lab.id}"
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    (target / "reason.txt").write_text(mask(reason, lab.secrets) + "\n")
    for host in lab:
        _collect_host(host, target / host.name, lab.secrets)
    _forget_old(target.parent)
    say(f"What the hosts looked like (secrets masked): {target}")
    return target


def _collect_host(host: LabHost, target: Path, secrets: Iterable[str]) -> None:
    target.mkdir(exist_ok=True)
    for name, command in COMMANDS.items():
        script = command.replace("{root}", host.spec.misp_root)
        try:
            result = host.exec(script, check=False, timeout=30)
        except (LabError, DockerException, OSError) as error:
            text = f"not to be had: {error}\n"
        else:
            text = result.stdout + result.stderr
        (target / name).write_text(mask(text, secrets))


def _forget_old(folder: Path) -> None:
    for old in sorted(folder.iterdir())[:-KEPT_BUNDLES]:
        shutil.rmtree(old, ignore_errors=True)
