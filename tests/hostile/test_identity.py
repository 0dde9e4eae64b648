"""Who MISP's web user is must not be decided by what the web user can arrange (C1)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lab.hosts import LabHost
from lab.lab import Lab
from tests.hostile import attacks, operate
from tests.hostile.attacks import APP, CONFIG, LOOT, ROOT, WEB

SPECS = (attacks.spec("identity"),)

LOOKS = pytest.mark.parametrize("look", [operate.dry, operate.status], ids=["dry", "status"])
Look = Callable[[Lab], operate.Seen]


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    attacks.prepare(lab["identity"], supervisor=False)
    return lab["identity"]


def who_ran(lab: Lab, look: Look, by_web_user: str = "", by_root: str = "") -> set[str]:
    """The accounts as which a look has run the web user's program."""
    (host,) = lab
    attacks.cake(
        host, f"id -un >>{LOOT}/ran-as; sudo -n id -un >>{LOOT}/ran-as 2>/dev/null; exit 1"
    )
    with attacks.attacked(host, by_web_user, by_root):
        look(lab)
        return set(attacks.loot(host, "ran-as").split())


@LOOKS
def test_a_link_in_the_place_of_config_php_makes_nobody_else_run_it(
    lab: Lab, host: LabHost, look: Look
) -> None:
    assert who_ran(lab, look, f"ln -sf /home/deploy/.bashrc {CONFIG}") <= {WEB}


def test_a_link_to_a_file_of_another_account_runs_as_nobody_else(lab: Lab, host: LabHost) -> None:
    prepare = f"install -o nobody -m 0755 -d /srv/other && install -o nobody {CONFIG} /srv/other"
    spoil = f"mv {APP}/Config {APP}/kept && ln -s /srv/other {APP}/Config"
    assert who_ran(lab, operate.dry, f"{spoil}; rm -rf {APP}/kept", prepare) <= {WEB}


def test_a_hard_link_makes_nobody_else_run_it(lab: Lab, host: LabHost) -> None:
    spoil = f"rm -f {CONFIG}; ln /home/deploy/.bashrc {CONFIG} || echo '<?php' >{CONFIG}"
    assert who_ran(lab, operate.dry, spoil) <= {WEB}


def test_a_config_php_that_was_given_to_a_sudoer_does_not_run_as_him(
    lab: Lab, host: LabHost
) -> None:
    assert who_ran(lab, operate.dry, by_root=f"chown deploy {CONFIG}") <= {WEB}


@pytest.mark.parametrize("group", ["sudo", "adm", "shadow", "disk"])
def test_an_account_with_a_group_of_administrators_is_no_web_user(
    lab: Lab, host: LabHost, group: str
) -> None:
    host.exec(["usermod", "-aG", group, WEB])
    try:
        seen = operate.dry(lab)
    finally:
        host.exec(["gpasswd", "-d", WEB, group])
    assert not seen.ok, seen.tail()
    assert group in seen.words, seen.tail()


def test_a_folder_above_misp_that_anybody_may_write_is_refused(lab: Lab, host: LabHost) -> None:
    above = ROOT.rpartition("/")[0]
    host.exec(f"chmod 0777 {above}")
    try:
        seen = operate.dry(lab)
    finally:
        host.exec(f"chmod 0755 {above}")
    assert not seen.ok, seen.tail()


# An ACL for nobody, as `setfacl -m u:nobody:rwx` makes it, without the package.
ACL = (
    "import os, struct; rows = [(1, 7, -1), (2, 7, 65534), (4, 5, -1), (16, 7, -1), (32, 5, -1)]; "
    f"os.setxattr('{APP}/Config', 'system.posix_acl_access', struct.pack('<I', 2) + "
    "b''.join(struct.pack('<HHi', *row) for row in rows))"
)


def test_who_may_write_by_an_acl_does_not_become_the_web_user(lab: Lab, host: LabHost) -> None:
    swap = f"mv {CONFIG} {CONFIG}.kept; echo '<?php $config = array();' >{CONFIG}"
    spoil = f'python3 -c "{ACL}"; setpriv --reuid nobody --clear-groups sh -c "{swap}"'
    assert who_ran(lab, operate.dry, by_root=spoil.replace("$config", "\\$config")) <= {WEB}


VENV = "/opt/supervisor"
UNIT = "/etc/systemd/system/supervisor.service"
MODULES = f"{VENV}/lib/python3.11/site-packages"
SUPERVISOR_OF_PIPS = f"""
mkdir -p {VENV}/bin {MODULES}
ln -s /usr/bin/python3 {VENV}/bin/python3
echo 'home = /usr/bin' >{VENV}/pyvenv.cfg
printf '#!{VENV}/bin/python3\\nprint("4.2.5")\\n' >{VENV}/bin/supervisord
chmod 755 {VENV}/bin/supervisord
printf '[Service]\\nExecStart={VENV}/bin/supervisord -n\\n' >{UNIT}
printf 'import os\\nos.system("id -un >{VENV}/ran-as")\\n' >{MODULES}/sitecustomize.py
chown -R {WEB} {MODULES}
systemctl daemon-reload
"""


@LOOKS
def test_root_runs_no_supervisord_whose_modules_are_the_web_users(
    lab: Lab, host: LabHost, look: Look
) -> None:
    host.exec(SUPERVISOR_OF_PIPS)
    try:
        seen = look(lab)
        ran = host.exec(["ls", f"{VENV}/ran-as"], check=False)
    finally:
        host.exec(f"rm -r {VENV} {UNIT}; systemctl daemon-reload")
    assert not seen.crashed, seen.tail()
    assert ran.exit_code != 0, "the web user's module ran as root"
    if look is operate.dry:
        assert f"{MODULES} can be changed by others than root" in seen.words, seen.tail()


def test_a_command_that_opens_a_folder_opens_no_other(lab: Lab, host: LabHost) -> None:
    """The operator pastes it when the web user has put a link in the folder's place."""
    above, vault = ROOT.rpartition("/")[0], "/srv/vault"
    host.exec(f"mkdir -m 700 {vault}; chown {WEB} {above}; chown root {ROOT}; chmod 700 {ROOT}")
    try:
        seen = operate.dry(lab)
        found = re.findall("`([^`]*chmod [^`]*)`", seen.words)
        assert found, seen.tail()
        # As the owner of the folder above can; overlayfs has root copy what it does not rename.
        host.exec(f"mv {ROOT} {ROOT}.kept; ln -s {vault} {ROOT}")
        for command in found:
            host.exec(command, check=False)
        mode = host.exec(["stat", "-c", "%a", vault]).stdout.strip()
        host.exec(f"rm {ROOT}; mv {ROOT}.kept {ROOT}")
        for command in found:
            host.exec(command)
        assert host.exec(["stat", "-c", "%a", ROOT]).stdout.strip() == "2701"
    finally:
        host.exec(f"chown root {above}; chown {WEB} {ROOT}; chmod 2775 {ROOT}; rm -r {vault}")
    assert mode == "700"


def test_afterwards_the_host_is_well(lab: Lab, host: LabHost) -> None:
    seen = operate.dry(lab)
    assert seen.ok, seen.tail()
