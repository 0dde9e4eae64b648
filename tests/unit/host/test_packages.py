"""tasks/host/packages.py on what package managers print, and on installs that fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.host import originals, packages, programs, systemd
from tasks.host.packages import Manager, PackageError
from tasks.host.parts import Packages
from tasks.host.programs import Finished, ProgramError
from tasks.host.site import Site
from tests.unit.host import old_side

DEBIAN = old_side.site(
    package_query="dpkg-query -W -f=${Package}\\t${db:Status-Status}\\t${Version}\\n",
    packages="supervisor selinux-policy-dev setools",
)
RHEL = old_side.site(
    package_query="rpm -q --qf %{NAME}\\tinstalled\\t%{VERSION}\\n",
    packages="supervisor setools-console",
    supervisor_unit="supervisord",
)
APT = Manager(
    install=["apt-get", "install"],
    repair=["dpkg", "--configure", "-a"],
    refresh=["apt-get", "update"],
    offered=[],
    epel=[],
    own_proxy_off=["-o", "own="],
)
DNF = Manager(
    install=["dnf", "install"],
    repair=[],
    refresh=[],
    offered=["dnf", "info"],
    epel=["epel-release"],
    own_proxy_off=["--setopt=own="],
)
PROXY = "http://user:p%40ss@proxy:3128"
NAMES = ["supervisor", "setools"]


class Host:
    """Programs by what their command lines begin with; the last that fits decides."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.commands: list[str] = []
        self.answers: dict[str, Callable[[], tuple[int, str]]] = {}
        self.has_supervisord = True
        self.proxied: list[str] = []  # commands that were given a proxy
        self.complaint = "E: no"
        patch.setattr(programs, "run", self.run)
        patch.setattr(programs, "find", self.find)
        patch.setattr(systemd, "is_masked", lambda name: name == "masked.service")
        patch.setattr(systemd, "mask", lambda name: self.commands.append(f"mask {name}"))
        patch.setattr(systemd, "unmask", lambda name: self.commands.append(f"unmask {name}"))
        patch.setattr(originals, "keep_units", self.keep_units)

    def answer(self, command: str, *answers: tuple[int, str]) -> None:
        """What that command gives, call by call; the last for all further ones."""
        left = list(answers)
        self.answers[command] = lambda: left.pop(0) if len(left) > 1 else left[0]

    def keep_units(self, _: Site, names: list[str]) -> None:
        self.commands.append(f"keep {' '.join(names)}")

    def find(self, name: str) -> str:
        return "" if name == "supervisord" and not self.has_supervisord else f"/usr/bin/{name}"

    def run(
        self,
        *words: str,
        timeout: float = 60,
        limit: int = 1,
        environment: dict[str, str] | None = None,
    ) -> Finished:
        command = " ".join(words)
        self.commands.append(command)
        if words[0] in ("apt-get", "dnf", "dpkg"):
            assert environment is not None
            assert (
                environment.items()
                >= {
                    "DEBIAN_FRONTEND": "noninteractive",
                    "NEEDRESTART_SUSPEND": "1",
                }.items()
            )
            assert timeout > 600
        if environment and "http_proxy" in environment:
            assert environment["http_proxy"] == environment["https_proxy"] == PROXY
            assert environment["no_proxy"] == "localhost,127.0.0.1,::1"
            self.proxied.append(command)
        status, text = 0, ""
        for beginning, answer in self.answers.items():
            if command.startswith(beginning):
                status, text = answer()
                break
        return Finished(status, text.encode(), self.complaint.encode() if status else b"")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_a_look_is_one_question(host: Host) -> None:
    text = "selinux-policy-dev\tconfig-files\t2:2.2\nsupervisor\tinstalled\t4.2.5-1\n"
    host.answer("dpkg-query", (1, text))
    assert packages.look(DEBIAN) == Packages({"supervisor": "4.2.5-1"}, "4.2.5-1", False)
    assert host.commands == [
        "dpkg-query -W -f=${Package}\\t${db:Status-Status}\\t${Version}\\n "
        "supervisor selinux-policy-dev setools"
    ]


def by_pip(folder: Path) -> Site:
    """RHEL with a supervisord in a folder of root's."""
    program = folder / "supervisord"
    program.touch(0o755)
    return RHEL._replace(supervisor_program=str(program))


def test_rpm_says_in_words_what_is_missing(host: Host, folder: Path) -> None:
    site = by_pip(folder)
    host.answer(
        "rpm", (1, "package supervisor is not installed\nsetools-console\tinstalled\t4.4\n")
    )
    host.answer(site.supervisor_program, (0, "4.2.2\n"))
    assert packages.look(site) == Packages({"setools-console": "4.4"}, "4.2.2", False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("owner", "mode"), [(33, 0o755), (0, 0o757), (0, 0o4775)])
def test_root_runs_no_supervisord_that_others_can_change(
    host: Host, folder: Path, owner: int, mode: int
) -> None:
    site = by_pip(folder)
    os.chown(site.supervisor_program, owner, 33)
    Path(site.supervisor_program).chmod(mode)
    host.answer(site.supervisor_program, (0, "4.2.2\n"))
    found = packages.look(site)
    assert found.supervisor_version == packages.UNKNOWN
    assert f"{site.supervisor_program} can be changed by others" in found.version_error
    assert not [one for one in host.commands if one.startswith(site.supervisor_program)]


def test_a_supervisord_that_is_gone_or_says_nothing_has_no_version(
    host: Host, folder: Path
) -> None:
    site = by_pip(folder)
    assert packages.look(site).supervisor_version == packages.UNKNOWN
    Path(site.supervisor_program).unlink()
    assert packages.look(site).supervisor_version == packages.UNKNOWN


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_runs_no_supervisord_whose_modules_others_can_change(host: Host, folder: Path) -> None:
    site = by_pip(folder)
    python = folder / "bin/python3"
    python.parent.mkdir()
    python.touch(0o755)
    Path(site.supervisor_program).write_text(f"#!{python}\n")
    module = folder / "lib/python3.11/site-packages/supervisor/options.py"
    module.parent.mkdir(parents=True)
    module.touch()
    host.answer(site.supervisor_program, (0, "4.2.2\n"))
    assert packages.look(site).supervisor_version == "4.2.2"
    os.chown(module, 33, 33)
    found = packages.look(site)
    assert found.supervisor_version == packages.UNKNOWN
    assert found.version_error.startswith(f"{module} can be changed by others than root, and Pyt")


def test_a_host_without_any_of_it_is_told_as_such(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: str) -> Finished:
        raise ProgramError("dpkg-query is missing on this host")

    host.has_supervisord = False
    monkeypatch.setattr(programs, "run", run)
    site = DEBIAN._replace(supervisor_unit="masked")
    assert packages.look(site) == Packages({}, "", True)


def test_the_unit_is_masked_while_it_is_installed(host: Host) -> None:
    packages.install(DEBIAN, APT, NAMES, True)
    assert host.commands == [
        "keep supervisor.service",
        "mask supervisor.service",
        "apt-get install supervisor setools",
        "unmask supervisor.service",
    ]


def test_an_install_that_was_cut_off_is_repaired_and_tried_again(host: Host) -> None:
    host.answer("apt-get install", (100, ""), (0, ""))
    host.answer("apt-get update", (100, ""))  # the old lists may do
    packages.install(DEBIAN, APT, NAMES, True)
    assert host.commands[2:] == [
        "apt-get install supervisor setools",
        "dpkg --configure -a",
        "apt-get update",
        "apt-get install supervisor setools",
        "unmask supervisor.service",
    ]


def test_one_that_fails_twice_is_told_and_leaves_nothing_masked(host: Host) -> None:
    host.answer("apt-get install", (100, ""))
    with pytest.raises(PackageError, match=r"could not install supervisor, setools: E: no.*run ag"):
        packages.install(DEBIAN, APT, NAMES, True)
    assert host.commands[-1] == "unmask supervisor.service"


def test_epel_is_enabled_only_where_nothing_offers_supervisor(host: Host) -> None:
    host.answer("rpm", (1, ""))
    host.answer("dnf info", (0, ""))
    packages.install(RHEL, DNF, NAMES, True)
    assert "dnf install epel-release" not in host.commands
    host.answer("dnf info", (1, ""))
    packages.install(RHEL, DNF, NAMES, True)
    assert host.commands.index("dnf install epel-release") < len(host.commands) - 2


def test_with_epel_there_nobody_is_asked(host: Host) -> None:
    packages.install(RHEL, DNF, NAMES, True)
    assert not [command for command in host.commands if command.startswith("dnf info")]


@pytest.mark.parametrize(
    ("manager", "may_use_epel", "reason"),
    [
        (DNF, False, "no repository offers supervisor and epel is false: enable EPEL"),
        (DNF._replace(epel=[]), True, "no repository offers supervisor: enable one"),
        (DNF, True, r"EPEL could not be enabled by installing epel-release \(E: no\)"),
    ],
)
def test_where_nobody_offers_supervisor_the_remedy_is_told(
    host: Host, manager: Manager, may_use_epel: bool, reason: str
) -> None:
    for command in ("rpm", "dnf"):
        host.answer(command, (1, ""))
    with pytest.raises(PackageError, match=reason):
        packages.install(RHEL, manager, NAMES, may_use_epel)
    assert host.commands[-1] == "unmask supervisord.service"


def test_a_package_without_supervisord_is_told(host: Host) -> None:
    host.has_supervisord = False
    with pytest.raises(PackageError, match="no supervisord on the PATH"):
        packages.install(DEBIAN, APT, NAMES, True)


def test_a_supervisord_elsewhere_is_one(host: Host) -> None:
    host.has_supervisord = False
    packages.install(
        DEBIAN._replace(supervisor_program="/opt/supervisor/bin/supervisord"), APT, NAMES, True
    )


def test_without_supervisors_package_no_repository_is_enabled_for_it(host: Host) -> None:
    host.answer("rpm", (1, ""))
    host.answer("dnf info", (1, ""))
    host.answer("dnf install", (1, ""), (0, ""))
    packages.install(RHEL, DNF, ["setools"], True)
    assert host.commands == [
        "keep supervisord.service",
        "mask supervisord.service",
        "dnf install setools",
        "dnf install setools",
        "unmask supervisord.service",
    ]


def test_where_nothing_is_to_be_installed_only_the_mask_goes(host: Host) -> None:
    packages.install(RHEL, DNF, [], True)
    assert host.commands[1:] == ["mask supervisord.service", "unmask supervisord.service"]


# --- a proxy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("site", "manager"), [(DEBIAN, APT), (RHEL, DNF)], ids=["debian", "rhel"])
def test_a_proxy_is_given_to_what_fetches_and_to_nothing_else(
    host: Host, site: Site, manager: Manager
) -> None:
    host.answer("rpm", (1, ""))
    host.answer("dnf info", (1, ""))
    host.answer(" ".join([*manager.install, "supervisor"]), (1, ""), (0, ""))
    packages.install(site, manager, NAMES, True, PROXY)
    fetching = [one for one in host.commands if one.startswith(("apt-get", "dnf"))]
    assert host.proxied == fetching
    assert len(fetching) > 2
    # The host's own proxy is put out of use for these, and no argument has a password.
    assert all(one.endswith(" ".join(manager.own_proxy_off)) for one in fetching)
    assert not [one for one in host.commands if "proxy:3128" in one]


def test_without_a_proxy_the_hosts_own_one_counts(host: Host) -> None:
    host.answer("apt-get install", (100, ""), (0, ""))
    packages.install(DEBIAN, APT, NAMES, True)
    assert host.proxied == []
    assert not [command for command in host.commands if "own=" in command]


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "If this host reaches the network by a proxy only, give it as http_proxy"),
        (PROXY, "It was tried by http_proxy: check that proxy, its user and its password"),
    ],
)
def test_a_failure_says_what_to_do_about_a_proxy_and_shows_no_password(
    host: Host, url: str, advice: str
) -> None:
    host.answer("apt-get", (100, ""))
    host.complaint = "407 of user:p%40ss@proxy, p@ss"
    with pytest.raises(PackageError) as raised:
        packages.install(DEBIAN, APT, NAMES, True, url)
    assert str(raised.value).endswith(f"then run again. {advice}")
    assert ("p@ss" in str(raised.value)) is not bool(url)
    assert ("p%40ss" in str(raised.value)) is not bool(url)
