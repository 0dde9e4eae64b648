"""Which hosts a rollout takes, and in which order."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

from tasks import rollout
from tasks.errors import RefusedError
from tasks.report import record
from tasks.rollout import in_slices, limit, named

HOSTS = {f"m{number}": ["misp", "production"] for number in range(1, 8)}
WITH_CANARY = {**HOSTS, "test": ["canary", "production"]}


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(record.VARIABLE, str(tmp_path))
    return tmp_path


def test_the_canary_group_goes_first_and_the_rest_keeps_the_inventorys_order() -> None:
    assert in_slices(WITH_CANARY, [], [], 3) == [
        ["test"],
        ["m1", "m2", "m3"],
        ["m4", "m5", "m6"],
        ["m7"],
    ]


def test_without_such_a_group_the_first_host_is_the_canary() -> None:
    assert in_slices(HOSTS, [], [], 5) == [["m1"], ["m2", "m3", "m4", "m5", "m6"], ["m7"]]


def test_named_canaries_take_the_groups_place_in_the_inventorys_order() -> None:
    assert in_slices(WITH_CANARY, ["m5", "m2"], [], 9) == [
        ["m2", "m5"],
        ["m1", "m3", "m4", "m6", "m7", "test"],
    ]


def test_an_excluded_host_leaves_the_other_slices_as_they_were() -> None:
    assert in_slices(WITH_CANARY, [], ["m1", "m3", "m7"], 3) == [
        ["test"],
        ["m2"],
        ["m4", "m5", "m6"],
        [],
    ]


def test_an_excluded_host_is_no_canary() -> None:
    assert in_slices(WITH_CANARY, [], ["canary", "m1"], 9)[0] == ["m2"]


def test_a_group_with_the_first_hosts_name_makes_no_canaries() -> None:
    assert in_slices({"m": ["x"], "a": ["m"]}, [], [], 5) == [["m"], ["a"]]


@pytest.mark.parametrize("canary", [["misp"], ["m*", "test"]])
def test_all_hosts_may_be_canaries(canary: list[str]) -> None:
    assert in_slices(HOSTS | {"test": ["misp"]}, canary, [], 5) == [[*HOSTS, "test"]]


@pytest.mark.parametrize(
    ("canary", "excluded", "sentence"),
    [
        (["tset"], [], "is named 'tset', did you mean 'test'?"),
        (["cannary"], [], "is named 'cannary', did you mean 'canary'?"),
        (["zz"], [], "is named 'zz'"),
        ([], ["m77"], "is named 'm77', did you mean 'm7'?"),
        (["m1"], ["m1"], "to roll out is named 'm1'"),
        ([], ["production"], "no host is left"),
    ],
)
def test_a_name_that_means_no_host_is_refused(
    canary: list[str], excluded: list[str], sentence: str
) -> None:
    with pytest.raises(RefusedError, match=sentence.replace("?", r"\?")):
        in_slices(WITH_CANARY, canary, excluded, 5)


def test_an_inventory_without_a_host_is_refused() -> None:
    with pytest.raises(RefusedError, match="names no host"):
        in_slices({}, [], [], 5)


def test_a_group_comes_before_a_host_of_its_name_as_with_limit() -> None:
    groups = {"misp": ["web"], "a": ["misp"]}
    assert named(["misp"], groups) == ["a"]


@pytest.mark.parametrize("host", ["misp", "m1", "@fake/a", "a[1]", "[::1]", "a*", "?"])
def test_a_slice_is_limited_to_its_own_hosts(host: str) -> None:
    groups = {"misp": ["web"], "m1": ["misp"], "m11": ["misp"], "a1": ["misp"], host: ["misp"]}
    option, _, meant = limit(host, groups).partition("=")
    assert option == "--limit"
    assert not any(meant in row for row in groups.values())
    assert [one for one in groups if fnmatch.fnmatch(one, meant)] == [host]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["i", "--slice", "0"],
        ["i", "--slice", "x"],
        ["i", "--", "--limit", "m1"],
        ["i", "--", "--limit=m1"],
        ["i", "--", "-v", "--dry"],
        ["i", "--exclud", "m1"],
        ["i", "--afresh"],
    ],
)
def test_a_mistake_in_the_arguments_ends_with_1(
    arguments: list[str], base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        rollout.main(arguments)
    assert ended.value.code == 1
    assert "usage: python -m tasks.rollout INVENTORY" in capsys.readouterr().err
    assert list(base.iterdir()) == []


def test_an_inventory_that_pyinfra_cannot_list_shows_no_data_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = tmp_path / "i.py"
    inventory.write_text("print('noise')\nhosts = [('m1', {'ssh_password': 'hunter2'})]\n")
    assert rollout.main([str(inventory)]) == 1
    said = "".join(capsys.readouterr())
    assert "cannot list the hosts" in said
    assert "hunter2" not in said
