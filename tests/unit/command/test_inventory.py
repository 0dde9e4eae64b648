"""Which hosts a run takes, and in which order."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

from tasks.command.inventory import Groups, chosen, hosts_of, in_slices, limit, named
from tasks.errors import RefusedError

HOSTS: Groups = {f"m{number}": ["misp", "production"] for number in range(1, 8)}
WITH_CANARY: Groups = {**HOSTS, "test": ["canary", "production"]}


def test_without_canary_and_size_all_hosts_are_one_slice() -> None:
    assert in_slices(WITH_CANARY, WITH_CANARY, [], 0) == [[*WITH_CANARY]]


def test_canaries_go_first_and_the_rest_keeps_the_inventorys_order() -> None:
    assert in_slices(WITH_CANARY, WITH_CANARY, ["canary"], 3) == [
        ["test"],
        ["m1", "m2", "m3"],
        ["m4", "m5", "m6"],
        ["m7"],
    ]
    assert in_slices(WITH_CANARY, WITH_CANARY, ["m5", "m2"], 9) == [
        ["m2", "m5"],
        ["m1", "m3", "m4", "m6", "m7", "test"],
    ]


def test_slices_without_a_canary() -> None:
    assert in_slices(HOSTS, HOSTS, [], 4) == [["m1", "m2", "m3", "m4"], ["m5", "m6", "m7"]]


def test_an_excluded_host_leaves_the_other_slices_as_they_were() -> None:
    taken = chosen(WITH_CANARY, [], ["m1", "m3", "m7"])
    assert in_slices(WITH_CANARY, taken, ["canary"], 3) == [["test"], ["m2"], ["m4", "m5", "m6"]]


def test_an_excluded_host_is_no_canary() -> None:
    with pytest.raises(RefusedError, match="named 'm1'"):
        in_slices(HOSTS, chosen(HOSTS, [], ["m1"]), ["m1"], 5)


@pytest.mark.parametrize("canary", [["misp"], ["m*", "test"]])
def test_all_hosts_may_be_canaries(canary: list[str]) -> None:
    groups: Groups = {**HOSTS, "test": ["misp"]}
    assert in_slices(groups, groups, canary, 5) == [[*HOSTS, "test"]]


def test_limit_and_exclude_choose_by_group_name_or_pattern() -> None:
    assert [*chosen(WITH_CANARY, ["canary", "m[12]"], [])] == ["m1", "m2", "test"]
    assert [*chosen(WITH_CANARY, ["production"], ["misp"])] == ["test"]


@pytest.mark.parametrize(
    ("limited", "excluded", "sentence"),
    [
        (["tset"], [], "is named 'tset', did you mean 'test'?"),
        (["cannary"], [], "is named 'cannary', did you mean 'canary'?"),
        (["zz"], [], "is named 'zz'"),
        ([""], [], "is named ''"),
        ([], ["m77"], "is named 'm77', did you mean 'm7'?"),
        ([], ["production"], "no host is left"),
    ],
)
def test_a_name_that_means_no_host_is_refused(
    limited: list[str], excluded: list[str], sentence: str
) -> None:
    with pytest.raises(RefusedError, match=sentence.replace("?", r"\?")):
        chosen(WITH_CANARY, limited, excluded)


def test_a_group_comes_before_a_host_of_its_name_as_with_limit() -> None:
    assert named(["misp"], {"misp": ["web"], "a": ["misp"]}) == ["a"]


@pytest.mark.parametrize("host", ["misp", "m1", "@fake/a", "a[1]", "[::1]", "a*", "?"])
def test_a_host_is_limited_to_itself(host: str) -> None:
    groups = {"misp": ["web"], "m1": ["misp"], "m11": ["misp"], "a1": ["misp"], host: ["misp"]}
    option, _, meant = limit(host, groups).partition("=")
    assert option == "--limit"
    assert not any(meant in row for row in groups.values())
    assert [one for one in groups if fnmatch.fnmatch(one, meant)] == [host]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('misp = "m1"', "misp in .* is a text, but a group is a list"),
        ('misp: str = "m1"', "is a text"),
        ('misp = {"m1": {}}', "is a dict"),
        ('misp = {"m1"}', "is a set"),
        ('misp = ("m1", {"ssh_user": "a"})', "is a tuple"),
        ("[misp]\nm1 ansible_user=a", r"is not Python \(line 2: .*\); inventories/example.py"),
        ("misp = [", "is not Python"),
        ("\0", "is not Python"),
    ],
)
def test_a_wrong_shape_is_named_before_pyinfra_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.setenv("PATH", "")
    (tmp_path / "i.py").write_text(text)
    with pytest.raises(RefusedError, match=sentence) as raised:
        hosts_of(str(tmp_path / "i.py"), [])
    assert "\n" not in str(raised.value)


def test_what_the_inventory_uses_itself_is_no_group(tmp_path: Path) -> None:
    path = tmp_path / "i.py"
    path.write_text('DOMAIN = "example.org"\n_x = {}\nmisp = [(f"m1.{DOMAIN}", {"a": 1}), "b"]\n')
    assert [*hosts_of(str(path), [])] == ["m1.example.org", "b"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('misp = ["m1", {"m2": {}}]', 'Ignoring host group "misp"'),
        ("misp = []", "names no host"),
        ('raise SystemExit("no lab runs")', "cannot list the hosts of .*: no lab runs"),
    ],
)
def test_what_pyinfra_passes_over_is_an_error(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "i.py").write_text(text)
    with pytest.raises(RefusedError, match=sentence):
        hosts_of(str(tmp_path / "i.py"), [])


def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "production.py").touch()
    with pytest.raises(RefusedError, match=r"no inventory .*prodution\.py, did you .*production"):
        hosts_of(str(tmp_path / "prodution.py"), [])


def test_a_folder_is_no_inventory(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="cannot be read"):
        hosts_of(str(tmp_path), [])
