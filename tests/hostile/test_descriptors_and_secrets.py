"""What a web user's code or another account gets hold of: passwords, descriptors, folders, locks.

H1, H2, H3, M3 and M5. One host, migrated in the second third of the module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import misp
from lab.hosts import LabHost
from lab.lab import Lab
from tests.e2e import observe
from tests.hostile import attacks, operate
from tests.hostile.attacks import APP, CONFIG, LOOT, VAULT, WEB

SPECS = (attacks.spec("secrets", redis="shared"),)

OWN = "operators0password0of0at0least0thirty0two0letters"
GIVEN = ("--data", 'supervisor_password={"env": "OWN"}')
STATE = observe.MIGRATION_STATE
LOCKED_LIMIT = 60.0

# All that a PHP process can see of itself and of those that started it.
LOOKS_AROUND = rf"""
    $seen = print_r($GLOBALS, true) . print_r(getenv(), true) . print_r($_SERVER, true);
    for ($pid = getmypid(); $pid > 1; $pid = (int)$stat[1]) {{
        $seen .= @file_get_contents("/proc/$pid/cmdline");
        $seen .= @file_get_contents("/proc/$pid/environ");
        $text = (string)@file_get_contents("/proc/$pid/stat");
        $stat = explode(" ", (string)substr($text, strrpos($text, ")") + 2)) + array(0, 0);
    }}
    file_put_contents("{LOOT}/around", $seen, FILE_APPEND);
"""
# Descriptors above 2 that lead to files outside MISP's own tree. (Of a pipe nobody can tell whose
# it is: PHP has some to programs that it starts itself.)
HOLDS = rf"""
    foreach (scandir("/proc/self/fd") as $name) {{
        $leads = (string)@readlink("/proc/self/fd/$name");
        if ((int)$name > 2 && preg_match("~^/(?!var/www/MISP|proc/|dev/null)~", $leads)) {{
            file_put_contents("{LOOT}/held", "$name $leads\n", FILE_APPEND);
        }}
    }}
"""


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    host = lab["secrets"]
    attacks.prepare(host)
    attacks.make_movable(host, f"{APP}/Console")
    for name in ("listen.py", "hold.py", "spy.py"):
        host.put(f"/srv/{name}", (Path(__file__).parent / name).read_text(encoding="utf-8"))
    return host


@pytest.fixture(autouse=True)
def given_back(host: LabHost) -> Iterator[None]:
    yield
    attacks.give_back(host)


def test_a_password_of_the_operators_is_sent_to_no_stranger(lab: Lab, host: LabHost) -> None:
    with attacks.running(host, "nobody", "python3", "/srv/listen.py", "9001", f"{LOOT}/heard"):
        operate.dry(lab, *GIVEN, OWN=OWN)
        operate.status(lab, *GIVEN, OWN=OWN)
    assert OWN not in attacks.loot(host, "heard")


@pytest.fixture
def administrators_password(host: LabHost) -> Iterator[str]:
    """Supervisord's RPC stands already, with a password that only root can read."""
    file, password = "/etc/supervisor/conf.d/admin.conf", "administrators0" * 3
    section = (
        f"[inet_http_server]\nport = 127.0.0.1:9001\nusername = admin\npassword = {password}\n"
    )
    host.put(file, section, 0o600)
    host.exec("systemctl restart supervisor")
    yield password
    host.exec(f"rm {file}; systemctl restart supervisor")


def test_a_password_that_root_alone_can_read_is_not_given_to_the_web_users_code(
    lab: Lab, host: LabHost, administrators_password: str
) -> None:
    attacks.poison(host, LOOKS_AROUND)
    operate.dry(lab)
    assert attacks.loot(host, "around"), "config.php was not run at all"
    assert administrators_password not in attacks.loot(host, "around")


def test_nor_is_one_of_the_operators_by_a_dry_run(lab: Lab, host: LabHost) -> None:
    attacks.poison(host, LOOKS_AROUND)
    operate.dry(lab, *GIVEN, OWN=OWN)
    assert OWN not in attacks.loot(host, "around")


def test_sudo_that_keeps_what_it_is_given_gets_no_password(lab: Lab, host: LabHost) -> None:
    host.put(
        "/etc/sudoers.d/zz-log",
        "Defaults log_input, log_output, !compress_io, iolog_dir=/var/log/sudo-io\n",
        0o440,
    )
    try:
        seen = [operate.dry(lab), operate.status(lab)]
    finally:
        host.exec("rm /etc/sudoers.d/zz-log")
    secret = Path(host.data["misp_redis_password"]["file"]).read_text(encoding="utf-8").strip()
    found = host.exec(
        "exec 3<&0; find /var/log/sudo-io -type f -print0 | xargs -0 -r grep -lF -f /dev/fd/3",
        input=secret + "\n",
        check=False,
    ).stdout
    assert found == "", found
    assert "log_input" in seen[0].words, seen[0].tail()


@dataclass(frozen=True)
class Migration:
    """A deploy amid which a stranger listened, and the web user looked at its descriptors."""

    seen: operate.Seen
    heard: str
    held: str


@pytest.fixture(scope="module")
def migration(lab: Lab, host: LabHost) -> Migration:
    attacks.poison(host, HOLDS)
    listener = ("python3", "/srv/listen.py", "9001", f"{LOOT}/heard", STATE)
    with attacks.running(host, "nobody", *listener):
        seen = operate.deploy(lab)
    found = Migration(seen, attacks.loot(host, "heard"), attacks.loot(host, "held"))
    attacks.heal(host)
    return found


def test_a_password_that_a_stranger_was_offered_is_not_the_one_in_use(
    host: LabHost, migration: Migration
) -> None:
    assert migration.seen.ended, migration.seen.tail()
    if migration.seen.ok:
        password = observe.supervisor_password(host)
        assert len(password) > 20
        assert password not in migration.heard


def test_no_descriptor_of_roots_is_left_to_the_web_users_code(migration: Migration) -> None:
    assert migration.held == "", migration.seen.tail()


def test_the_host_is_migrated_now(lab: Lab, host: LabHost, migration: Migration) -> None:
    seen = operate.deploy(lab)
    assert seen.ok, seen.tail()
    attacks.heal(host)


def test_nobody_else_can_hold_the_lock(lab: Lab, host: LabHost) -> None:
    with attacks.running(host, "nobody", "python3", "/srv/hold.py", f"{LOOT}/locked"):
        seen = operate.status(lab, limit=LOCKED_LIMIT)
        again = operate.deploy(lab, limit=LOCKED_LIMIT)
    locked = attacks.loot(host, "locked")
    assert seen.ended, f"nobody held {locked}: {seen.tail()}"
    assert again.ok, f"nobody held {locked}: {again.tail()}"


def test_a_folder_of_roots_is_nobodys_working_directory(lab: Lab, host: LabHost) -> None:
    # While settings are set, whatever the call for it is named, and not at a look at everything.
    spy = rf"""
        for ($pid = getmypid(), $is_it = false; $pid > 1; $pid = (int)$stat[1]) {{
            $said = (string)@file_get_contents("/proc/$pid/cmdline");
            $is_it = $is_it || preg_match("/settings/", $said) && !preg_match("/[+]/", $said);
            $text = (string)@file_get_contents("/proc/$pid/stat");
            $stat = explode(" ", (string)substr($text, strrpos($text, ")") + 2)) + array(0, 0);
        }}
        if ($is_it) {{
            touch("{LOOT}/tried");
            exec("setsid python3 /srv/spy.py {APP}/Console {VAULT} {LOOT}/flag >/dev/null 2>&1 &");
        }}
    """
    attacks.poison(host, spy)
    operate.deploy(lab, "--data", "misp_max_job_history_ttl=4321")
    assert host.exec(f"ls {LOOT}").stdout.split().count("tried"), "nothing was attacked"
    assert attacks.loot(host, "flag") == ""


def test_afterwards_the_host_is_well(lab: Lab, host: LabHost) -> None:
    host.exec(f"rm -rf {APP}/Console.kept")
    misp.reload_php(host)
    seen = operate.deploy(lab)
    assert seen.ok, seen.tail()
    assert observe.faults(host) == []
    assert host.exec(f"stat -c %U {CONFIG}").stdout.strip() == WEB
