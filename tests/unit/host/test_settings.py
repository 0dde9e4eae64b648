"""MISP's settings through MISP's own command line, and back: a real PHP on a fake tree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.host import bridge, files, gate, originals, settings, tree
from tasks.host.errors import HostError, WebUserError
from tasks.host.misp import Misp
from tasks.host.settings import SettingsError
from tasks.host.site import Desired, Site
from tests.unit.host.fake_misp import FOREIGN_GROUP, FakeMisp

CODE = (Path(bridge.__file__).with_suffix(".php")).read_text()
SECRET = "Sw0rdfish$HOME"
REDIS = "R\xe9dis \"quoted\" 'too'"
DESIRED = Desired(supervisor_password=SECRET, redis_password=REDIS)
JOBS = "SimpleBackgroundJobs"
PAIRS: list[list[Any]] = [
    [f"{JOBS}.redis_host", "127.0.0.1"],
    [f"{JOBS}.redis_port", 6379],
    [f"{JOBS}.redis_password", {"secret": "redis_password"}],
    [f"{JOBS}.supervisor_password", {"secret": "supervisor_password"}],
    [f"{JOBS}.enabled", True],
]
BEFORE = {"redis_host": "before", "enabled": False}


@pytest.fixture
def site(misp: FakeMisp, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(bridge, "CODE", CODE)
    (misp.folder / "conf.d").mkdir()
    (misp.folder / "supervisord.conf").write_text("[supervisord]\n")
    misp.configure(BEFORE, org="o")
    misp.config_php.chmod(0o640)
    return misp.site()


@pytest.fixture
def one(site: Site) -> Iterator[Misp]:
    with Misp(site, DESIRED) as found:
        yield found


def stored(site: Site) -> dict[str, Any]:
    with Misp(site, DESIRED) as one:
        return one.stored().block


def edit(misp: FakeMisp) -> None:
    """As an operator does, who keeps the owner."""
    misp.config_php.write_text(misp.config_php.read_text() + "// mine\n")


# --- apply ---------------------------------------------------------------------------------------


def test_settings_are_set_in_order_with_their_types_and_secrets(misp: FakeMisp, site: Site) -> None:
    assert settings.apply(site, DESIRED, PAIRS) == []
    assert misp.argv() == [
        ["Admin", "setSetting", f"{JOBS}.redis_host", "127.0.0.1"],
        ["Admin", "setSetting", f"{JOBS}.redis_port", "6379"],
        ["Admin", "setSetting", f"{JOBS}.redis_password", REDIS],
        ["Admin", "setSetting", f"{JOBS}.supervisor_password", SECRET],
        ["Admin", "setSetting", f"{JOBS}.enabled", "true"],
    ]
    assert stored(site) == {
        "redis_host": "127.0.0.1",
        "redis_port": 6379,
        "redis_password": REDIS,
        "supervisor_password": SECRET,
        "enabled": True,
    }


def test_the_file_is_kept_before_its_first_change_and_only_then(misp: FakeMisp, site: Site) -> None:
    before = misp.config_php.read_bytes()
    settings.apply(site, DESIRED, PAIRS)
    settings.apply(site, DESIRED, PAIRS)
    copy = Path(originals.saved(site, site.config_php))
    assert copy.read_bytes() == before
    assert files.mode_of(str(copy)) == "0:0 600"
    known = originals.kept(site, site.config_php)
    assert known is not None
    assert (known.mode, known.uid) == (0o640, misp.user.uid)


def test_the_web_tier_counts_as_stale_from_before_the_first_setting(
    misp: FakeMisp, site: Site
) -> None:
    misp.refuse(f"{JOBS}.redis_host")
    with pytest.raises(SettingsError):
        settings.apply(site, DESIRED, PAIRS)
    changed = misp.folder / "state/settings-changed"
    assert changed.read_text().endswith(" unfinished\n")
    misp.refuse()
    settings.apply(site, DESIRED, PAIRS)
    assert changed.read_text().split()[1].isdigit()


def test_a_password_is_pending_until_misp_has_it(misp: FakeMisp, site: Site) -> None:
    (misp.folder / "state").mkdir(0o700)
    pending = misp.folder / "state/pending-password"
    pending.write_text("x" * 48 + "\n")
    misp.refuse(f"{JOBS}.enabled")
    with pytest.raises(SettingsError):
        settings.apply(site, Desired(), PAIRS)
    assert pending.exists()
    misp.refuse()
    settings.apply(site, Desired(), PAIRS)
    assert not pending.exists()
    assert stored(site)["supervisor_password"] == "x" * 48


@pytest.mark.parametrize(
    ("name", "value", "holds"),
    [("enabled", True, False), ("redis_port", 6379, False), ("max_job_history_ttl", 60, True)],
)
def test_a_proof_ends_with_what_it_holds_for(
    misp: FakeMisp, site: Site, name: str, value: object, holds: bool
) -> None:
    (misp.folder / "state").mkdir(0o700)
    Path(site.proven_file).touch()
    settings.apply(site, DESIRED, [[f"{JOBS}.{name}", value]])
    assert Path(site.proven_file).exists() is holds


def test_without_a_password_nothing_is_changed(misp: FakeMisp, site: Site) -> None:
    before = misp.config_php.read_bytes()
    with pytest.raises(SettingsError, match="the RPC step has to come first"):
        settings.apply(site, Desired(), PAIRS)
    assert misp.config_php.read_bytes() == before
    assert misp.argv() == []
    assert not originals.is_kept(site, site.config_php)


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_a_setting_that_is_refused_ends_it_and_no_secret_is_shown(
    misp: FakeMisp, site: Site, number: int
) -> None:
    name = PAIRS[number][0]
    misp.refuse(name)
    with pytest.raises(SettingsError, match=f"does not take the setting {name}") as caught:
        settings.apply(site, DESIRED, PAIRS)
    assert len(misp.argv()) == number + 1
    before = ", ".join(one for one, _ in PAIRS[:number])
    left = f"Set before it, and left so: {before}" if before else "None was set before"
    assert str(caught.value).endswith(left)
    for secret in (SECRET, REDIS):
        assert secret not in str(caught.value)
    assert stored(site).get("enabled") is False


def test_a_cake_that_ends_php_says_no_secret(misp: FakeMisp, site: Site) -> None:
    (misp.app / "Console/cake.php").write_text(
        '<?php fwrite(STDERR, "$argv[6]\n"); posix_kill(getmypid(), 9);'
    )
    for pair in PAIRS[2:4]:
        with pytest.raises(HostError) as caught:
            settings.apply(site, DESIRED, [pair])
        for secret in (SECRET, REDIS):
            assert secret not in str(caught.value)


# --- the way back --------------------------------------------------------------------------------


def test_the_file_as_we_left_it_becomes_what_it_was(misp: FakeMisp, site: Site) -> None:
    before = misp.config_php.read_bytes()
    settings.apply(site, DESIRED, PAIRS)
    with Misp(site, DESIRED) as one:
        assert one.stored().is_on
        assert settings.disable(one) == []
        assert not one.stored().is_on
    found = misp.config_php.stat()
    assert misp.config_php.read_bytes() == before
    assert (found.st_mode & 0o777, found.st_uid) == (0o640, misp.user.uid)


@pytest.mark.parametrize("is_own_group", [True, False])
def test_in_a_tree_of_2775_and_664_it_keeps_mode_and_group_there_and_back(
    misp: FakeMisp, site: Site, is_own_group: bool
) -> None:
    misp.config_php.chmod(0o664)
    misp.share(misp.user.gid if is_own_group else FOREIGN_GROUP)

    def seen() -> list[tuple[str, int, int]]:
        paths = [misp.config_php.parent, misp.config_php]
        return [(f"{one.st_mode:o}", one.st_uid, one.st_gid) for one in map(Path.stat, paths)]

    before = seen()
    settings.apply(site, DESIRED, PAIRS)
    assert seen() == before
    with Misp(site, DESIRED) as one:
        assert settings.disable(one) == []
    assert seen() == before
    assert [path.name for path in misp.config_php.parent.iterdir()] == ["config.php"]


def set_apart(site: Site, message: str) -> Path:
    """The copy of config.php that the message speaks of, which only root may read."""
    folder = Path(message.rpartition(" ")[2])
    [copy] = folder.iterdir()
    assert folder == Path(site.state_dir + ".kept")
    assert (folder.stat().st_mode & 0o777, copy.stat().st_mode & 0o777) == (0o700, 0o600)
    return copy


def test_what_an_operator_changed_since_stays(misp: FakeMisp, site: Site, one: Misp) -> None:
    before = misp.config_php.read_bytes()
    settings.apply(site, DESIRED, PAIRS)
    edit(misp)
    [message] = settings.disable(one)
    assert "changed by others since the migration" in message
    assert stored(site)["enabled"] is False
    assert stored(site)["redis_host"] == "127.0.0.1"
    assert set_apart(site, message).read_bytes() == before
    assert settings.disable(one) == []  # as a run does that comes after one that was cut off


def test_what_an_operator_changed_after_a_failed_step_stays(
    misp: FakeMisp, site: Site, one: Misp
) -> None:
    before = misp.config_php.read_bytes()
    misp.refuse(f"{JOBS}.enabled")
    with pytest.raises(SettingsError):
        settings.apply(site, DESIRED, PAIRS)
    edit(misp)
    assert not settings.is_unfinished(one)
    [message] = settings.disable(one)
    assert misp.config_php.read_text().endswith("// mine\n")
    assert set_apart(site, message).read_bytes() == before


def test_what_an_operator_changed_between_two_runs_stays(
    misp: FakeMisp, site: Site, one: Misp
) -> None:
    settings.apply(site, DESIRED, PAIRS[:2])
    edit(misp)
    settings.apply(site, DESIRED, PAIRS)
    assert not settings.is_unfinished(one)
    [message] = settings.disable(one)
    assert "changed by others" in message
    assert stored(site)["redis_host"] == "127.0.0.1"


def test_settings_that_were_cut_off_or_refused_are_put_back(
    misp: FakeMisp, site: Site, one: Misp, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = misp.config_php.read_bytes()
    misp.refuse(f"{JOBS}.enabled")
    with pytest.raises(SettingsError):
        settings.apply(site, DESIRED, PAIRS)
    assert settings.is_unfinished(one)
    assert settings.disable(one) == []
    assert misp.config_php.read_bytes() == before

    class KilledError(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        misp.config_php.write_text("<?php $config = array('half' => 1);")
        raise KilledError

    monkeypatch.setattr(settings, "set_one", kill)
    monkeypatch.setattr(originals, "note_left", lambda *_: None)  # its process is gone
    with pytest.raises(KilledError):
        settings.apply(site, DESIRED, PAIRS)
    assert settings.is_unfinished(one)
    assert settings.disable(one) == []
    assert misp.config_php.read_bytes() == before


def test_a_backend_that_is_off_and_not_ours_is_left_alone(
    misp: FakeMisp, site: Site, one: Misp
) -> None:
    assert settings.disable(one) == []
    assert not (misp.folder / "state").exists()


def test_a_backend_that_others_turned_on_is_turned_off(misp: FakeMisp, site: Site) -> None:
    misp.configure({"enabled": True, "redis_host": "theirs"})
    originals.begin(site)
    with Misp(site, DESIRED) as one:
        assert settings.disable(one) == []
    assert stored(site) == {"enabled": False, "redis_host": "theirs"}


def test_in_the_database_just_enabled_becomes_false(misp: FakeMisp, site: Site) -> None:
    misp.configure(BEFORE, system_setting_db=True)
    before = misp.config_php.read_bytes()
    on = [{"setting": f"{JOBS}.enabled", "value": True}]
    misp.answer([{**on[0], "value": False}])
    (misp.app / "Console/cake.php").write_text(
        '<?php file_put_contents(__DIR__ . "/../tmp/argv", json_encode($argv) . "\n", FILE_APPEND);'
        ' file_put_contents(__DIR__ . "/../tmp/answer", json_encode(array('
        ' array("setting" => $argv[5], "value" => $argv[6] === "true"))));'
    )
    misp.own()
    settings.apply(site, DESIRED, [PAIRS[-1]])
    with Misp(site, DESIRED) as one:
        assert one.stored().is_on
        assert settings.disable(one) == []
        assert not one.stored().is_on
    assert misp.config_php.read_bytes() == before
    assert misp.argv()[-1] == ["Admin", "setSetting", f"{JOBS}.enabled", "false"]


def test_a_copy_that_is_gone_is_an_error(misp: FakeMisp, site: Site, one: Misp) -> None:
    settings.apply(site, DESIRED, PAIRS)
    Path(originals.saved(site, site.config_php)).unlink()
    with pytest.raises(SettingsError, match="its copy is missing"):
        settings.disable(one)


@pytest.mark.parametrize(
    "lie",
    [None, [], [1, 2], [[1, 2, 3], 5], [["a", 1, 2], "d"], [[1, 2], "d"], [True, "d"], {"a": 1}],
)
def test_a_lie_about_the_file_is_an_error(
    site: Site, one: Misp, monkeypatch: pytest.MonkeyPatch, lie: Any
) -> None:
    monkeypatch.setattr(gate, "ask", lambda *_, **__: lie)
    with pytest.raises(WebUserError, match="cannot be looked at"):
        settings.keep_config(one)
    assert not originals.is_kept(site, site.config_php)


# --- look ----------------------------------------------------------------------------------------


def test_a_look_shows_the_settings_but_for_the_passwords(
    misp: FakeMisp, site: Site, one: Misp
) -> None:
    found = settings.look(one)
    assert found.block == BEFORE
    assert (found.is_supervisor_password_right, found.is_redis_password_right) == (False, False)
    settings.apply(site, DESIRED, PAIRS)
    one.forget()
    found = settings.look(one)
    assert found.block == {"redis_host": "127.0.0.1", "redis_port": 6379, "enabled": True}
    assert (found.is_supervisor_password_right, found.is_redis_password_right) == (True, True)
    assert (found.error, found.is_in_database, found.has_background_jobs) == ("", False, True)
    assert SECRET not in repr(found)
    assert REDIS not in repr(found)
    assert found.read_timeout > 0


def test_a_password_that_is_yet_to_be_made_is_not_misps(misp: FakeMisp, site: Site) -> None:
    misp.configure({"enabled": True})
    with Misp(site, Desired()) as one:
        assert not settings.look(one).is_supervisor_password_right


@pytest.mark.parametrize(
    ("block", "timeout"),
    [
        ({}, 60.0),
        ({"redis_read_timeout": 5}, 5.0),
        ({"redis_read_timeout": -1}, -1.0),
        ({"redis_read_timeout": "5"}, 60.0),
        ({"redis_read_timeout": [5]}, 60.0),
    ],
)
def test_how_long_a_worker_waits_for_redis(
    misp: FakeMisp, site: Site, one: Misp, block: dict[str, Any], timeout: float
) -> None:
    misp.configure(block)
    assert settings.look(one).read_timeout == timeout


def test_a_configuration_that_cannot_be_read_is_a_part_with_an_error(
    misp: FakeMisp, site: Site, one: Misp
) -> None:
    misp.config("$config = array(;")
    found = settings.look(one)
    assert "has a syntax error" in found.error
    assert found.block == {}


def test_what_is_stored_of_a_redis_password_that_cake_would_take_for_an_option(
    misp: FakeMisp, site: Site
) -> None:
    with Misp(site, DESIRED._replace(redis_password="-x")) as one:
        assert settings.look(one).is_redis_password_settable is False


def test_root_does_not_write_where_the_web_user_may(misp: FakeMisp, site: Site, one: Misp) -> None:
    settings.apply(site, DESIRED, PAIRS)
    kept = misp.folder / "kept"
    kept.mkdir(0o755)
    (misp.app / "Config").rename(misp.app / "Real")
    (misp.app / "Config").symlink_to(kept)
    text = "<?php // put back"
    with pytest.raises(WebUserError, match="Permission denied"):
        gate.ask(one.user, tree.write, site.config_php, text, 0o640, 0)
    assert os.listdir(kept) == []  # noqa: PTH208
