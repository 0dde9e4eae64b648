"""Processes: whose count as MISP's, and who may name one that root then signals (H4, H6, M1).

One host from its old workers to the new ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from lab.hosts import LabHost
from lab.lab import Lab
from tests.e2e import observe
from tests.hostile import attacks, operate
from tests.hostile.attacks import APP, LOOT, WEB

SPECS = (attacks.spec("processes"),)

STRANGERS = ("nobody", "deploy")
OLD = ("php", "-r", "sleep(600);", "./bin/resque")
IN_THE_TREE = f"cd {APP}/Vendor/iglocska/php-resque-ex"
STRAY = "export SUPERVISOR_PROCESS_NAME=default_00 SUPERVISOR_GROUP_NAME=misp-workers"

TMP = "/var/www/MISP/app/tmp"
POOL = "/etc/php/8.2/fpm/pool.d/other.conf"
OTHER_POOL = """\
[other]
user = games
group = games
listen = /run/php/other.sock
listen.mode = 0600
pm = static
pm.max_children = 1
"""
SWAP_SCRIPTS = f"""
import glob, os
evil = "<?php file_put_contents('{LOOT}/pool-' . posix_geteuid(), 'mine');"
done = set()
while True:
    for path in glob.glob("{TMP}/.misp-workers-asked-*.php"):
        if path not in done:
            done.add(path)
            with open("{TMP}/evil", "w") as file:
                file.write(evil)
            os.rename("{TMP}/evil", path)
"""


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    host = lab["processes"]
    attacks.prepare(host)
    return host


@contextlib.contextmanager
def look_alikes(host: LabHost, before: str, *argv: str) -> Iterator[None]:
    """A process of each stranger; at the block's end all of them must run as they did."""
    with contextlib.ExitStack() as stack:
        pids = {
            user: stack.enter_context(attacks.running(host, user, *argv, before=before))
            for user in STRANGERS
        }
        yield
        assert {user: runs(host, pid) for user, pid in pids.items()} == dict.fromkeys(pids, True)


def runs(host: LabHost, pid_file: str) -> bool:
    """Whether a process lives, and is not stopped."""
    state = host.exec(f"sed 's/.*) //' /proc/$(cat {pid_file})/stat 2>/dev/null || true").stdout
    return state[:1] in ("S", "R", "D")


def test_another_users_pool_runs_nothing_of_the_web_users(lab: Lab, host: LabHost) -> None:
    host.put(POOL, OTHER_POOL)
    host.exec(f"chmod o+x {TMP}; systemctl restart php8.2-fpm")
    with attacks.running(host, WEB, "python3", "-c", SWAP_SCRIPTS):
        for _ in range(3):
            assert not operate.dry(lab).crashed
    assert "pool-" not in host.exec(["ls", LOOT]).stdout.replace(f"pool-{_uid(host, WEB)}", "")
    host.exec(f"rm {POOL}; systemctl restart php8.2-fpm")


def _uid(host: LabHost, user: str) -> str:
    return host.exec(["id", "-u", user]).stdout.strip()


@pytest.mark.parametrize("user", [WEB, "nobody"])
def test_one_byte_of_a_look_alike_does_not_hide_the_rest_of_an_answer(
    lab: Lab, host: LabHost, user: str
) -> None:
    before = rf"{IN_THE_TREE}; export QUEUE=$'\xff'"
    with attacks.running(host, user, *OLD, before=before):
        seen = operate.status(lab)
        assert not seen.crashed, seen.tail()
        assert "no answer" not in seen.words, seen.tail()


def test_a_run_that_says_done_has_migrated_the_host(lab: Lab, host: LabHost) -> None:
    before = rf"{IN_THE_TREE}; export QUEUE=$'\xff'"
    with attacks.running(host, "nobody", *OLD, before=before):
        seen = operate.deploy(lab)
    if seen.ok:
        assert not observe.old_workers_live(host), seen.tail()
        assert observe.supervisor_password(host), seen.tail()
    assert seen.ok, seen.tail()


def test_old_workers_of_other_accounts_are_none(lab: Lab, host: LabHost) -> None:
    if not observe.old_workers_live(host):
        back = operate.rollback(lab)
        assert back.ok, back.tail()
    with look_alikes(host, f"{IN_THE_TREE}; export QUEUE=default", *OLD):
        seen = operate.deploy(lab)
        assert seen.ok, seen.tail()


def test_workers_without_a_supervisord_of_other_accounts_are_none(lab: Lab, host: LabHost) -> None:
    with look_alikes(host, f"{IN_THE_TREE}; {STRAY}", "php", "-r", "sleep(600);", "start_worker"):
        seen = operate.deploy(lab)
        assert seen.ok, seen.tail()


@pytest.mark.parametrize(
    ("before", "argv"),
    [
        (f"{IN_THE_TREE}; export QUEUE=default", OLD),
        (f"{IN_THE_TREE}; {STRAY}", ("php", "-r", "sleep(600);", "start_worker")),
    ],
)
def test_workers_of_roots_are_refused_before_any_change(
    lab: Lab, host: LabHost, before: str, argv: tuple[str, ...]
) -> None:
    with attacks.running(host, "root", *argv, before=before) as pid_file:
        seen = operate.deploy(lab)
        assert "refused before any change" in seen.words, seen.tail()
        assert f"({host.read(pid_file).strip()})" in seen.words, seen.tail()
        assert runs(host, pid_file)


@pytest.fixture
def migrated(lab: Lab, host: LabHost) -> None:
    """The host, on its new workers: until MISP has them it writes its config.php anew."""
    if observe.old_workers_live(host):
        seen = operate.deploy(lab)
        assert seen.ok, seen.tail()
    attacks.heal(host)


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize("owner", ["root", "nobody"])
def test_the_web_user_cannot_name_a_process_for_root_to_signal(
    lab: Lab, host: LabHost, owner: str
) -> None:
    with attacks.running(host, owner, "sleep", "600") as victim:
        pid = host.read(victim).strip()
        # Whatever a step asks it about workers, it names the process. Looks are answered as ever.
        names = rf"""
            for ($asks = "", $pid = getmypid(); $pid > 1; $pid = (int)$stat[1]) {{
                $asks .= (string)@file_get_contents("/proc/$pid/cmdline");
                $text = (string)@file_get_contents("/proc/$pid/stat");
                $stat = explode(" ", (string)substr($text, strrpos($text, ")") + 2)) + array(0, 0);
            }}
            if (!preg_match("/(workers|drain|stopping)[.][a-z_]+/", $asks)) {{ return; }}
            file_put_contents("{LOOT}/named", $asks . "\n", FILE_APPEND);
            do {{
                fwrite(STDOUT, '{{"value": {pid}}}' . "\n");
            }} while (fgets(STDIN) !== false);
            exit(0);
        """
        attacks.poison(host, names)
        # One worker without a supervisord, so that there is something to stop.
        stray = ("php", "-r", "sleep(60);", "start_worker")
        try:
            with attacks.running(host, WEB, *stray, before=f"{IN_THE_TREE}; {STRAY}"):
                operate.deploy(lab)
            assert runs(host, victim), f"a process of {owner}'s was ended or stopped"
            assert attacks.loot(host, "named"), "no step asked, so nothing was attacked"
        finally:
            attacks.heal(host)


def test_afterwards_the_host_is_well(lab: Lab, host: LabHost) -> None:
    seen = operate.deploy(lab)
    assert seen.ok, seen.tail()
