"""Nothing that a host does may keep the operator waiting for long, or fill a memory (H7, M6).

Each look is a run of its own with one thing in its way; hosts are looked at side by side, since who
hangs uses no processor. A look has to come to an end by itself within the limit.
"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from lab import misp, run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.waiting import wait_for
from tests.hostile import attacks, operate
from tests.hostile.attacks import APP, CAKE, CONFIG, VERSION, WEB

SPECS = tuple(attacks.spec(f"slow-{number}") for number in range(3))

LOOK_LIMIT = 120.0  # a look waits 60 s for MISP's own view, and this machine is busy
MEMORY_MB = 400
RESQUE = f"{APP}/Plugin/CakeResque/Config/config.php"
READ = {
    "version": VERSION,
    "config": CONFIG,
    "composer-json": f"{APP}/composer.json",
    "composer-lock": f"{APP}/composer.lock",
    "database": f"{APP}/Config/database.php",
    "cakeresque": RESQUE,
}
INDEX = f"{APP}/webroot/index.php"
DRIPS = '<?php while (true) { echo " "; flush(); sleep(1); }'
BOMB = '<?php $m = str_repeat("x", 1 << 20); for ($i = 0; $i < 3000; $i++) { echo $m; flush(); }'
GZIP_BOMB = (
    '<?php header("Content-Encoding: gzip"); header("Content-Type: application/json"); '
    '$z = deflate_init(ZLIB_ENCODING_GZIP, array("level" => 9)); $m = str_repeat(" ", 1 << 20); '
    "for ($i = 0; $i < 3000; $i++) { echo deflate_add($z, $m, ZLIB_NO_FLUSH); } "
    'echo deflate_add($z, "[]", ZLIB_FINISH);'
)

# By name: shell of the web user.
IN_THE_WAY = {
    **{f"fifo-{name}": f"rm -f {path}; mkfifo {path}" for name, path in READ.items()},
    "endless-version": f"ln -sf /dev/zero {VERSION}",
    "endless-config": f"ln -sf /dev/zero {CONFIG}",
    "endless-cakeresque": f"ln -sf /dev/zero {RESQUE}",
    "terminal-version": f"ln -sf /dev/tty {VERSION}",
    "sparse-version": f"truncate -s 1G {VERSION}",
    "sparse-composer-json": f"truncate -s 1G {APP}/composer.json",
    "sparse-composer-lock": f"truncate -s 1G {APP}/composer.lock",
    "digits-version": (
        f"""python3 -c 'print("{{\\"major\\":%s,\\"minor\\":1,\\"hotfix\\":1}}" % ("9" * 40000))'"""
        f" >{VERSION}"
    ),
    "sleeping-config": f"echo '<?php sleep(900);' >{CONFIG}",
    "sleeping-for-good-config": (
        f"echo '<?php pcntl_async_signals(true); foreach (array(1, 2, 3, 15) as $s) "
        f"{{ pcntl_signal($s, SIG_IGN); }} while (true) {{ sleep(900); }}' >{CONFIG}"
    ),
    "leaving-a-child-config": (
        f"printf '\\n%s\\n' 'exec(\"sleep 900 &\"); pcntl_fork() || sleep(900);' >>{CONFIG}"
    ),
    "sleeping-cake": f"printf '#!/bin/sh\\ntrap \"\" TERM INT HUP\\nsleep 900\\n' >{CAKE}",
    "150-mb-of-cake": (
        f"printf '#!/bin/sh\\nhead -c 150000000 /dev/zero | tr \"\\\\0\" 9\\n' >{CAKE}"
    ),
    "200-mb-of-config": (
        f"echo '<?php for ($i = 0; $i < 200; $i++) {{ "
        f'fwrite(STDOUT, str_repeat("x", 1 << 20)); }}\' >{CONFIG}'
    ),
    "200-mb-of-lines": (
        f"echo '<?php for ($i = 0; $i < 200; $i++) {{ "
        f'fwrite(STDOUT, str_repeat("php\\tx\\n", 1 << 17)); }}\' >{CONFIG}'
    ),
    "200-mb-of-errors": (
        f"echo '<?php for ($i = 0; $i < 200; $i++) {{ "
        f'fwrite(STDERR, str_repeat("x", 1 << 20)); }}\' >{CONFIG}'
    ),
}
WEB_TIER = {"dripping-web-tier": DRIPS, "bomb-of-web-tier": BOMB, "gzip-bomb": GZIP_BOMB}
# As `crontab -` leaves it; root looks there for what starts old workers.
CRONTABS_FOLDER = "/var/spool/cron/crontabs"
CRONTAB = f"{CRONTABS_FOLDER}/{WEB}"
FILES = f"{APP}/files"
BOMB_SCRIPT = f"{FILES}/bomb.sh"
OLD_WORKERS = f"{CAKE} CakeResque.CakeResque start"
CRONTABS = {
    "slashes-in-crontab": f"print(3 * ('* * * * * {OLD_WORKERS} ' + '/' * 100_000 + chr(10)))",
    "1-mb-of-crontab": f"print(('* * * * * {OLD_WORKERS}' + chr(10)) * 12_000)",
    "doubling-script": f"print('* * * * * sh {BOMB_SCRIPT}')",
    "10000-scripts": f"[print('* * * * * sh {FILES}/%d' % n) for n in range(10_000)]",
}
DOUBLING = f"echo X=aaaaaaaa; yes 'X=$X$X' | head -n 200; echo 'cd $X && {OLD_WORKERS}'"
NAMES = (*IN_THE_WAY, *WEB_TIER, *CRONTABS)


def look(lab: Lab, host: LabHost, name: str) -> operate.Seen:
    """A dry run with something in its way, which is gone afterwards."""
    try:
        if name in WEB_TIER:
            host.exec(f"cp -p {INDEX} /srv/index.php")
            misp.replace(host, INDEX, WEB_TIER[name])
            misp.reload_php(host)
        elif name in CRONTABS:
            scripts = f"mkdir -p {FILES}; cd {FILES}; seq 500 | xargs touch"
            host.exec(f"{scripts}; ({DOUBLING}) >{BOMB_SCRIPT}", user=WEB)
            host.exec(
                f"mkdir -p {CRONTABS_FOLDER}; install -m 0600 -o {WEB} /dev/null {CRONTAB};"
                f' python3 -c "{CRONTABS[name]}" >{CRONTAB}'
            )
        else:
            host.exec(IN_THE_WAY[name], user=WEB)
        return operate.dry(lab, "--limit", host.name, limit=LOOK_LIMIT)
    finally:
        operate.end_logins(host)
        if name in WEB_TIER:
            host.exec(f"cp -p /srv/index.php {INDEX}")
        host.exec(f"rm -f {CRONTAB}")
        attacks.give_back(host)


@pytest.fixture(scope="module")
def looks(lab: Lab, request: pytest.FixtureRequest) -> dict[str, Future[operate.Seen]]:
    """All looks that were asked for, each host's one after the other."""
    for host in lab:
        attacks.prepare(host, supervisor=False)
    wanted = {
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module is request.module
        and hasattr(item, "callspec")
    }
    free = list(lab)

    def one(name: str) -> operate.Seen:
        host = free.pop()
        try:
            return look(lab, host, name)
        finally:
            free.append(host)

    with ThreadPoolExecutor(len(free)) as pool:
        return {name: pool.submit(one, name) for name in NAMES if name in wanted}


@pytest.mark.parametrize("name", NAMES)
def test_a_look_ends_whatever_is_in_its_way(
    looks: dict[str, Future[operate.Seen]], name: str
) -> None:
    seen = looks[name].result()
    assert seen.ended, seen.tail()
    assert not seen.crashed, seen.tail()
    assert seen.memory_mb < MEMORY_MB, f"{seen.memory_mb} MB of the operator's memory"
    assert len(seen.words) < 50_000


def test_a_machine_that_is_gone_does_not_keep_the_host(lab: Lab) -> None:
    # Frozen amid a step, its connection open: to the host as if packets were dropped.
    host = lab["slow-0"]
    attacks.give_back(host)
    options = ("-y", "--limit", host.name)
    with run.started(lab, "deploy.py", *options) as gone:
        wait_for(
            lambda: len(gone.operations) >= 2 or gone.process.poll() is not None, 120, "a step"
        )
        os.kill(gone.process.pid, signal.SIGSTOP)
        time.sleep(60)
        seen = operate.deploy(lab, "--limit", host.name, limit=120)
        os.kill(gone.process.pid, signal.SIGKILL)
    assert seen.ended, seen.tail()
    assert seen.ok or "take" in seen.words.replace("taken", ""), seen.tail()
