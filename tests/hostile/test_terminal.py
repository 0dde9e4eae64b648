"""What reaches the operator's terminal and reports of what others have written (M2, M4, M7, L)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from lab import misp, run
from lab.hosts import LabHost
from lab.lab import Lab
from tests.hostile import attacks, operate
from tests.hostile.attacks import APP, CONFIG, DRY_PHAR, VAULT, VERSION, WEB

SPECS = (attacks.spec("terminal"),)

ESCAPES = r"\033]0;taken\007\033[2J\033[8m\b\r"
IN_PHP = r'"\x1b]0;taken\x07\x1b[2J\x1b[8m\x08\r"'
FLAG = "FLAG-of-root"


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    host = lab["terminal"]
    attacks.prepare(host)
    return host


# By name: what the web user writes where something of it may be shown, as shell.
ESCAPING = {
    "version": f"printf 'x{ESCAPES}' >{VERSION}",
    "configuration-throws": f"""echo '<?php throw new Exception({IN_PHP});' >{CONFIG}""",
    "redis-host": (
        f"""echo '$config["SimpleBackgroundJobs"]["redis_host"] = {IN_PHP};' >>{CONFIG}"""
    ),
    "composer-fails": f"""echo '<?php fwrite(STDERR, {IN_PHP}); exit(1);' >{APP}/composer.phar""",
    "composer-fails-at-work": (
        f"""echo '{DRY_PHAR} fwrite(STDERR, {IN_PHP}); exit(1);' >{APP}/composer.phar"""
    ),
}


@pytest.mark.parametrize("name", ESCAPING)
def test_no_escape_sequence_reaches_the_terminal(lab: Lab, host: LabHost, name: str) -> None:
    kept = f"cp -p {APP}/composer.phar /srv/composer.phar"
    with attacks.attacked(host, ESCAPING[name], kept):
        how = ("-y",) if name == "composer-fails-at-work" else ("-y", "--dry")
        printed = operate.at_a_terminal(lab, "deploy.py", *how)
        reports = "".join(
            json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False)
            for path in lab.directory.reports.glob("*/*.json")
        )
        host.exec(f"cp -p /srv/composer.phar {APP}/composer.phar")
    assert b"Preparing" in printed
    assert operate.control_characters(printed) == set(), repr(printed[-2000:])
    assert "\x1b" not in reports
    assert "\\u001b" not in reports


@pytest.fixture
def web_tier(host: LabHost) -> Iterator[None]:
    """What stands as the web tier's first file is the web user's; as before afterwards."""
    index = f"{APP}/webroot/index.php"
    host.exec(f"cp -p {index} /srv/index.php")
    yield
    host.exec(f"cp -p /srv/index.php {index}")
    misp.reload_php(host)


@pytest.mark.usefixtures("web_tier")
def test_nor_does_one_of_the_web_tiers(lab: Lab, host: LabHost) -> None:
    answer = f'<?php http_response_code(403); echo json_encode(array("message" => "x" . {IN_PHP}));'
    misp.replace(host, f"{APP}/webroot/index.php", answer)
    misp.reload_php(host)
    printed = operate.at_a_terminal(lab, "deploy.py", "-y", "--dry")
    assert operate.control_characters(printed) == set(), repr(printed[-2000:])


def test_nor_does_one_of_a_look_alike(lab: Lab, host: LabHost) -> None:
    before = f"cd {APP}; export QUEUE=$'a\\e]0;taken\\a'"
    with attacks.running(host, WEB, "php", "-r", "sleep(99);", "./bin/resque", before=before):
        printed = operate.at_a_terminal(lab, "status.py", "-y", "--dry")
        printed += operate.at_a_terminal(lab, "deploy.py", "-y", "--dry")
    assert operate.control_characters(printed) == set(), repr(printed[-2000:])


@pytest.mark.parametrize(
    "path",
    [VERSION, CONFIG, f"{APP}/composer.json", f"{APP}/Plugin/CakeResque/Config/config.php"],
    ids=["version", "config", "composer-json", "cakeresque"],
)
def test_a_link_shows_nobody_what_only_root_may_read(lab: Lab, host: LabHost, path: str) -> None:
    with attacks.attacked(host, f"ln -sf {VAULT}/flag {path}"):
        seen = [operate.dry(lab), operate.status(lab)]
    assert FLAG not in "".join(one.everything for one in seen), seen[0].tail()


def test_a_link_of_cron_into_the_web_tree_shows_nobody_a_file_of_roots(
    lab: Lab, host: LabHost
) -> None:
    cron = f"{APP}/Config/cron"
    root = f"ln -s {cron} /etc/cron.d/misp"
    line = f"@reboot {WEB} {APP}/Console/worker/start.sh"
    with attacks.attacked(host, f"echo '{line}' >{cron}", root):
        first = operate.dry(lab)
        host.exec(f"ln -sf {VAULT}/flag {cron}", user=WEB)
        second = operate.dry(lab)
        host.exec(f"rm /etc/cron.d/misp {cron}")
    assert FLAG not in first.everything + second.everything
    assert second.ended, second.tail()


@contextlib.contextmanager
def secure_path(host: LabHost, value: str) -> Iterator[None]:
    """Sudo with another PATH, on a host that says that SELinux enforces."""
    host.put("/etc/sudoers.d/zz-path", f'Defaults secure_path="{value}"\n', 0o440)
    host.exec("cp -p /usr/sbin/getenforce /srv/getenforce; rm /usr/sbin/getenforce")
    host.put("/usr/sbin/getenforce", "#!/bin/sh\necho Enforcing\n", 0o755)
    try:
        yield
    finally:
        host.exec("rm /etc/sudoers.d/zz-path; mv /srv/getenforce /usr/sbin/getenforce")


def test_a_path_of_sudos_without_sbin_hides_no_tool(lab: Lab, host: LabHost) -> None:
    plans = {}
    for path in ("/usr/sbin:/usr/bin:/sbin:/bin", "/usr/bin:/bin"):
        with secure_path(host, path):
            seen = run.plan(lab)
        plans[path] = (
            seen.exit_code,
            [line for line in seen.stderr.splitlines() if "[terminal]" in line],
            [(one.name, sorted(one.change)) for one in seen.plan],
        )
    first, second = plans.values()
    assert first == second
