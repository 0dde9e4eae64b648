"""Hosts whose only way out is a proxy that asks for a user and a password.

They are migrated in three runs: without `http_proxy`, with a wrong password, and with the right
one. Nothing else changes between these runs. Then one of them loses its libraries, so that Composer
has to fetch them again, in three runs as well. No password may have been shown by any of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import proxy, proxy_server, run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from tests.e2e import observe, secrecy

DEBIAN = HostSpec("behind-debian", "debian-12", waiting_jobs=0, way_out="proxy")
EL = HostSpec("behind-el", "el-like", profile="2.4.199", waiting_jobs=0, way_out="proxy")
SPECS = (DEBIAN, EL)
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])

APP = "/var/www/MISP/app"
GIVE_IT = "If this host reaches the network by a proxy only, give it as http_proxy"
PACKAGIST = "CONNECT packagist.lab:443"  # Composer gives its name inside of that alone
CHECK_IT = "It was tried by http_proxy: check that proxy, its user and its password"


@dataclass(frozen=True)
class Tried:
    """A run, and the proxy's log of it."""

    run: run.Run
    log: list[str]

    def by(self, words: str, status: int) -> list[str]:
        """The requests that ended like this, by a program's name or what they were for."""
        return [line for line in self.log if line.startswith(f"{status} ") and words in line]


@dataclass(frozen=True)
class Three:
    """Runs that differ in `http_proxy` alone."""

    without: Tried
    wrong: Tried
    right: Tried


@dataclass(frozen=True)
class Story:
    lab: Lab
    first: Three
    again: Three  # on EL, without its libraries
    vendor: list[str]  # what lay there before these, and after each


def given(path: Path) -> tuple[str, str]:
    """The option that names the file with the proxy's URL."""
    return "--data", f"http_proxy={json.dumps({'file': str(path)})}"


def tried(lab: Lab, *options: str) -> Tried:
    before = len(lab.proxy().log())
    done = run.apply(lab, *options)
    return Tried(done, lab.proxy().log()[before:])


def vendor(host: LabHost) -> str:
    return host.exec(f"cd {APP} && find Vendor composer.* -type f | sort | xargs sha1sum").stdout


@pytest.fixture(scope="module")
def story(lab: Lab) -> Story:
    wrong_password = lab.directory.make_secret("wrong_proxy_password")[0]
    wrong = given(lab.directory.write("wrong_proxy_url", proxy.url(wrong_password)))
    right = given(lab.proxy().url_file)
    host = lab[EL.name]
    only = ("--limit", EL.name)
    with secrecy.kept(lab):
        first = [tried(lab, *options) for options in ((), wrong, right)]
        host.exec(f"rm -r {APP}/Vendor/supervisorphp")
        host.exec("rm -rf ~apache/.composer/cache/*")  # Composer would take what it has there
        seen = [vendor(host)]
        again = []
        for options in ((), wrong, right):
            again.append(tried(lab, *only, *options))
            seen.append(vendor(host))
    return Story(lab, Three(*first), Three(*again), seen)


@HOSTS
def test_there_is_no_other_way_out(story: Story, name: str) -> None:
    host = story.lab[name]
    assert "default" not in host.exec("ip route").stdout
    reach = ["curl", "-s", "-m", "5", "-o", "/dev/null", "http://deb.debian.org/"]
    assert host.exec(reach, check=False).exit_code != 0


@HOSTS
def test_without_the_key_the_host_is_refused_and_it_is_named(story: Story, name: str) -> None:
    done = story.first.without.run
    assert done.exit_code == 1
    assert any(f"[{name}]" in line and GIVE_IT in line for line in done.stderr.splitlines())
    assert "refused before any change" in done.stderr
    assert story.first.without.log == []


@HOSTS
def test_with_a_wrong_password_the_run_fails_and_says_what_to_check(
    story: Story, name: str
) -> None:
    done = story.first.wrong.run
    assert done.exit_code == 1
    assert any(f"[{name}]" in line and CHECK_IT in line for line in done.stderr.splitlines())


@pytest.mark.parametrize("client", ["APT-HTTP", "libdnf"])
def test_packages_come_by_the_proxy_and_only_with_its_password(story: Story, client: str) -> None:
    assert story.first.wrong.by(client, 407)
    assert not story.first.wrong.by(client, 200)
    fetched = story.first.right.by(client, 200)
    assert [line for line in fetched if "/supervisor" in line], fetched


def test_libraries_come_by_the_proxy(story: Story) -> None:
    assert len(story.first.right.by(PACKAGIST, 200)) >= len(SPECS)


@HOSTS
def test_with_the_key_the_host_is_migrated(story: Story, name: str) -> None:
    assert story.first.right.run.ok, story.first.right.run.stderr
    assert observe.faults(story.lab[name]) == []


@pytest.mark.parametrize(
    ("name", "advice"), [("without", GIVE_IT), ("wrong", CHECK_IT)], ids=["without", "wrong"]
)
def test_composer_without_a_way_out_names_the_key_and_leaves_all_as_it_was(
    story: Story, name: str, advice: str
) -> None:
    one: Tried = getattr(story.again, name)
    assert one.run.exit_code == 1
    assert "Composer cannot resolve the PHP libraries: " in one.run.stderr
    assert "refused before any change" in one.run.stderr
    assert "If this host has no way to Packagist, let Composer use a mirror" in one.run.stderr
    assert advice in one.run.stderr
    assert not one.by("", 200)
    assert story.vendor[0] == story.vendor[1] == story.vendor[2]


def test_composer_fetches_what_is_missing_by_the_proxy(story: Story) -> None:
    assert story.again.right.run.ok, story.again.right.run.stderr
    assert story.again.right.by(PACKAGIST, 200)
    assert "Vendor/supervisorphp/" in story.vendor[3]


@HOSTS
def test_the_host_keeps_no_proxy(story: Story, name: str) -> None:
    """The password is nowhere: `secrecy.kept` has looked. Neither is the rest of the URL."""
    assert observe.files_with(story.lab[name], f"@{proxy.ALIAS}:{proxy_server.PORT}") == []
