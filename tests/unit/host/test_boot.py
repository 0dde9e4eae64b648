"""The receiving end of a call: typed values, imports from texts, one line as the answer."""

import hashlib
import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

import pytest

from tasks.host import boot


class Inner(NamedTuple):
    number: int


class Outer(NamedTuple):
    name: str
    inner: Inner
    more: dict[str, Any]


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Outer("n", Inner(5), {}), {"name": "n", "inner": {"number": 5}, "more": {}}),
        ([Inner(1), (2, None)], [{"number": 1}, [2, None]]),
        ({1: {"a": Inner(2)}}, {"1": {"a": {"number": 2}}}),
        ("text", "text"),
        (None, None),
        (True, True),
        ((), []),
    ],
)
def test_a_value_becomes_jsons_own(value: Any, plain: Any) -> None:
    assert boot.plain(value) == plain
    json.dumps(boot.plain(value))


def test_a_named_tuple_comes_back_where_one_is_due() -> None:
    outer = Outer("n", Inner(5), {"number": 1})
    assert boot.typed(Outer, boot.plain(outer)) == outer
    assert boot.typed(dict[str, int], {"number": 5}) == {"number": 5}
    assert boot.typed(list[int], [1]) == [1]
    assert boot.typed(str, None) is None
    with pytest.raises((TypeError, KeyError)):
        boot.typed(Inner, {"odd": 5})


# --- imports -------------------------------------------------------------------------------------


def test_a_module_is_compiled_when_it_is_needed_first() -> None:
    sources = boot.Sources({"tasks.host.a": "x = 5", "tasks.host.b": "no python"})
    spec = sources.find_spec("tasks.host.a")
    assert spec.name == "tasks.host.a"
    assert sources.find_spec("tasks.host").submodule_search_locations is not None
    assert sources.find_spec("tasks.host.a").submodule_search_locations is None
    assert sources.find_spec("os") is None
    assert sources.find_spec("tasks.host.c") is None


# --- main ----------------------------------------------------------------------------------------

LOCK = """
def none(run, owner, takes_over, has_held): pass
wait = none
def hold(run, owner, takes_over, has_held):
    if run != "held": raise KeyError((run, owner, takes_over, has_held))
"""
WORK = """
import os, signal, subprocess
from typing import Any, Dict, List, NamedTuple
from tasks.host.errors import HostError

class Pair(NamedTuple):
    a: int
    b: str

class OwnError(HostError): details = ("a line",)
def pair(one: Pair) -> List[Any]: return [type(one).__name__, one._replace(a=one.a + 1), one.b]
def prints() -> str:
    print("misp-workers is no answer")
    os.write(1, b"nor is this")
    subprocess.call(["echo", "nor a child's"])
    return os.read(0, 100).decode() + os.getcwd() + oct(os.umask(0))
def hangs_up() -> str:
    os.kill(os.getpid(), signal.SIGHUP)
    return "goes on"
def own() -> str: raise OwnError("a sentence")
def odd() -> str: return {}["key"]
def much() -> str: return "x" * 3000000
def number() -> Any: return float("nan")
def stuck() -> Any: return b"bytes"
def endless() -> Any:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (1, 9))
    try:
        while True: pass
    except Exception: return "swallowed"
def limits() -> Any:
    import resource
    return resource.getrlimit(resource.RLIMIT_CPU)[0]
def hostile() -> None: raise ValueError("run `id`\\x1b[2J" + "x" * 9999)
"""
RUN = """
import json, sys
call = json.loads(sys.stdin.readline())
exec(call["boot"], globals())
main(call)
"""


def run(
    function: str, lock: str = "none", run: str = "r", **arguments: Any
) -> subprocess.CompletedProcess[str]:
    call = {
        "boot": open(boot.__file__).read(),  # noqa: PTH123, SIM115
        "modules": [
            ["tasks.host.work", WORK],
            ["tasks.host.lock", LOCK],
            ["tasks.host.errors", "class HostError(Exception): pass"],
        ],
        "function": f"work.{function}",
        "arguments": arguments,
        "lock": lock,
        "run": run,
        "owner": "o",
        "takes_over": False,
        "has_held": True,
    }
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUN],
        input=json.dumps(call) + "\nmore input",
        capture_output=True,
        text=True,
        check=False,
    )


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    mark, digest, text = done.stdout.rstrip("\n").split(" ", 2)
    assert mark == boot.MARK
    assert hashlib.sha256(text.encode()).hexdigest() == digest
    return json.loads(text)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="a call runs as root")


@as_root
def test_arguments_arrive_typed_and_the_result_leaves_plain() -> None:
    assert answer(run("pair", one={"a": 1, "b": "x"})) == {
        "value": ["Pair", {"a": 2, "b": "x"}, "x"]
    }


@as_root
def test_nothing_that_is_printed_passes_for_an_answer() -> None:
    done = run("prints")
    assert answer(done) == {"value": "/0o22"}
    assert done.stdout.count("\n") == 1


@as_root
def test_a_lost_connection_ends_nothing() -> None:
    assert answer(run("hangs_up")) == {"value": "goes on"}


@as_root
def test_an_error_of_ours_has_its_kind_and_another_its_place() -> None:
    own = {"kind": "OwnError", "text": "a sentence", "details": ["a line"]}
    assert answer(run("own")) == {"error": own}
    found = answer(run("odd"))["error"]
    assert found["kind"] == "Exception"
    assert found["text"] == "KeyError: 'key' (tasks/host/work.py:21)"
    for name, words in (("absent", "AttributeError"), ("pair", "TypeError")):
        assert words in answer(run(name))["error"]["text"]


@as_root
def test_a_look_that_takes_for_ever_is_ended_and_says_so() -> None:
    found = answer(run("endless"))["error"]
    assert found["kind"] == "EndlessError"
    assert "took 300 s of processor time and was ended (tasks/host/work.py:" in found["text"]
    assert "then run again" in found["text"]


@as_root
@pytest.mark.parametrize(("lock", "limited"), [("none", True), ("wait", True), ("hold", False)])
def test_only_a_look_has_a_limit_of_processor_time(lock: str, *, limited: bool) -> None:
    assert (answer(run("limits", lock=lock, run="held"))["value"] == boot.CPU_SECONDS) is limited


@as_root
def test_an_error_that_nobody_expected_has_no_command_in_it() -> None:
    text = answer(run("hostile"))["error"]["text"]
    assert text.startswith("ValueError: run 'id' [2Jxxx")
    assert "(tasks/host/work.py:" in text
    assert len(text) < 500


@as_root
def test_the_lock_comes_before_the_function() -> None:
    assert answer(run("pair", lock="hold"))["error"]["text"].startswith(
        "KeyError: ('r', 'o', False, True)"
    )


@as_root
def test_a_big_answer_is_whole_and_one_that_is_no_json_is_none() -> None:
    assert answer(run("much")) == {"value": "x" * 3_000_000}
    assert run("stuck").stdout == ""


@as_root
def test_nobody_who_listens_is_no_fault() -> None:
    words = [sys.executable, "-I", "-S", "-c", RUN]
    child = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdin and child.stdout and child.stderr
    child.stdout.close()
    text = json.dumps(
        {
            "boot": open(boot.__file__).read(),  # noqa: PTH123, SIM115
            "modules": [["tasks.host.work", WORK], ["tasks.host.lock", LOCK],
                        ["tasks.host.errors", "class HostError(Exception): pass"]],
            "function": "work.much", "arguments": {}, "lock": "none", "run": "", "owner": "",
            "takes_over": False,
        "has_held": True,
        }
    )  # fmt: skip
    child.stdin.write(text.encode() + b"\n")
    child.stdin.close()
    assert child.stderr.read() == b""
    assert child.wait(30) == 0


def test_only_root_runs_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 33)
    with pytest.raises(PermissionError, match="not root"):
        boot._run({})
