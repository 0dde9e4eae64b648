"""bridge.py and bridge.php together: real PHP as the web user, on files that mean no good."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.host import bridge as bridge_
from tasks.host.bridge import Bridge, BridgeRedis
from tasks.host.errors import WebUserError
from tasks.host.redis import RedisError, RedisGoneError
from tests.redis_server import server
from tests.unit.host.fake_misp import FakeMisp

CODE = (Path(bridge_.__file__).with_suffix(".php")).read_text()
SECRET = "Sw0rdfish"


@pytest.fixture
def php(misp: FakeMisp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bridge]:
    monkeypatch.setattr(bridge_, "CODE", CODE)
    with Bridge(misp.user, str(misp.root)) as one:
        yield one


# --- the configuration ---------------------------------------------------------------------------


def test_the_configuration_comes_as_data_with_its_types(misp: FakeMisp, php: Bridge) -> None:
    block = {"enabled": True, "redis_port": 6379, "redis_host": "h", "ttl": 1.0, "odd": [1, None]}
    misp.configure(block, redis_password=SECRET, org="not asked for", system_setting_db=False)
    found = php.config()
    assert found.block == block
    assert type(found.block["ttl"]) is float
    assert found.misp == {"redis_password": SECRET, "system_setting_db": False}
    assert found.encrypted is False


def test_an_empty_block_is_an_object_and_a_block_that_is_none_is_empty(
    misp: FakeMisp, php: Bridge
) -> None:
    misp.config('$config = array("SimpleBackgroundJobs" => "text", "Security" => 5);')
    assert php.config() == bridge_.Config({}, {}, False)
    misp.config('$config = array("Security" => array("encryption_key" => "k"));')
    php.forget()
    assert php.config().encrypted is True


def test_what_is_asked_once_is_remembered_until_it_is_forgotten(
    misp: FakeMisp, php: Bridge
) -> None:
    misp.configure({"enabled": False})
    assert php.config().block == {"enabled": False}
    misp.configure({"enabled": True})
    assert php.config().block == {"enabled": False}
    php.forget()
    assert php.config().block == {"enabled": True}


def test_a_file_without_an_end_is_waited_for_once(
    misp: FakeMisp, php: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_, "_ONCE_SECONDS", 1.0)
    misp.config("sleep(100);")
    start = time.monotonic()
    for _ in range(5):
        with pytest.raises(WebUserError, match="no answer within its time"):
            php.config()
    assert time.monotonic() - start < 3
    misp.configure({})
    php.forget()
    assert php.config().block == {}


GOOD = '$config = array("MISP" => array());'


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("exit(0);", "ended without an answer: no word"),
        ('fwrite(STDERR, "out of\nluck"); exit(1);', "ended without an answer: out of luck"),
        ('throw new Exception("no\nsuch luck");', "^no such luck$"),
        ("$config = 5;", "does not set .config to an array"),
        ("", "does not set .config to an array"),
        (f'$password = "{SECRET}"; $config = array(;', "has a syntax error in line 2"),
        ("fclose(STDOUT);" + GOOD, "ended without an answer"),
        ("posix_kill(getmypid(), 9);", "ended without an answer"),
        ("abstract class A { abstract function b(); } class B extends A {}", "without an answer"),
        ('ob_end_clean(); echo "printed\n";' + GOOD, "cannot be read"),
        ('fwrite(STDOUT, "\\xff\\xfe\n");' + GOOD, "cannot be read"),
        ('fwrite(STDOUT, str_repeat("[", 100000) . "\n");' + GOOD, "cannot be read"),
        ('$a = str_repeat("x", 1 << 20); while (true) { fwrite(STDOUT, $a); }', "more than 1 MiB"),
        # On a busy machine its time is over before its memory is.
        (
            'ini_set("memory_limit", -1); $a = array(); while (true) { $a[] = $a; }',
            "without an answer|within its time",
        ),
    ],
)
def test_what_config_php_does_ends_in_a_sentence(
    misp: FakeMisp, php: Bridge, code: str, words: str
) -> None:
    misp.config(code)
    began = time.monotonic()
    with pytest.raises(WebUserError, match=words) as caught:
        php.config()
    assert SECRET not in str(caught.value)
    assert time.monotonic() - began < 30
    # The next question finds a PHP of its own.
    misp.config(GOOD)
    assert php.config().misp == {}


@pytest.mark.parametrize(
    "code",
    [
        'echo "printed, not kept\n";',
        "echo $undefined; trigger_error('a warning', E_USER_WARNING);",
        'echo str_repeat("x", 200 << 20);',
        'fwrite(STDERR, str_repeat("x", 200 << 20));',
        "fclose(STDERR);",
        "ini_set('display_errors', 'stdout'); echo $undefined;",
        "fclose(STDIN);",
    ],
)
def test_what_config_php_prints_is_no_part_of_the_answer(
    misp: FakeMisp, php: Bridge, code: str
) -> None:
    misp.config(code + GOOD)
    assert php.config().misp == {}


def test_config_php_that_cannot_be_read_is_named(misp: FakeMisp, php: Bridge) -> None:
    os.chown(misp.config_php, 0, 0)
    misp.config_php.chmod(0o600)
    with pytest.raises(WebUserError, match=r"^cannot be read by www-data"):
        php.config()


def test_an_answer_has_a_time_and_nothing_of_php_outlives_it(misp: FakeMisp, php: Bridge) -> None:
    misp.config('file_put_contents(__DIR__ . "/pid", getmypid()); sleep(60);')
    with pytest.raises(WebUserError, match="no answer within its time"):
        php.ask("config", seconds=3.0)
    pid = (misp.app / "Config/pid").read_text()
    assert not Path(f"/proc/{pid}").exists()


def test_a_php_without_standard_error_is_waited_for_and_not_asked_without_end(
    misp: FakeMisp, php: Bridge
) -> None:
    misp.config("fclose(STDERR); sleep(3);" + GOOD)
    began = time.process_time()
    assert php.config().misp == {}
    assert time.process_time() - began < 0.5


def test_the_question_is_not_held_up_by_a_php_that_does_not_read(
    misp: FakeMisp, php: Bridge
) -> None:
    misp.config("sleep(60);")
    with pytest.raises(WebUserError, match="no answer within its time"):
        php.ask("config", seconds=2.0, ballast="x" * 1_000_000)


# --- a line that lies ----------------------------------------------------------------------------

LIES: list[Any] = [
    None,
    True,
    -1,
    1.5,
    2**62,
    "text",
    "\x1b[2J",
    [],
    [None],
    [[[[]]]],
    {},
    {"text": 5},
    {"text": "no base64!"},
    {"text": "\u20ac"},
    {"reply": {"text": "no base64"}},
    {"reply": [1, {"text": None}]},
    {"reply": True},
    {"reply": 1.5},
    {"refused": 5},
    {"status": "0"},
    {"block": [], "misp": {}},
    {"block": {}, "misp": 5},
    {"missing": "x"},
]


def lying(misp: FakeMisp, text: str) -> None:
    """config.php writes this as the answer to the next question."""
    quoted = json.dumps(json.dumps(text)).replace("$", r"\$")
    misp.config(f'fwrite(STDOUT, json_decode({quoted}) . "\\n");{GOOD}')


def test_what_php_says_is_no_command_of_ours(misp: FakeMisp, php: Bridge) -> None:
    misp.config("throw new Exception('run `id`');")
    with pytest.raises(WebUserError, match="run 'id'"):
        php.config()
    misp.config("fwrite(STDERR, 'run `id`'); posix_kill(getmypid(), 9);")
    php.forget()
    with pytest.raises(WebUserError, match="without an answer: run 'id'"):
        php.config()


def questions(php: Bridge) -> list[Callable[[], Any]]:
    return [
        php.config,
        php.classes,
        lambda: php.cake("Admin"),
        lambda: BridgeRedis(php, {"host": "h"}).command("PING"),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_lie_of_any_type_is_an_error_or_a_value_of_the_right_type(
    misp: FakeMisp, php: Bridge, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    answers = iter([*LIES, *LIES])
    monkeypatch.setattr(
        Bridge, "_exchange", lambda *_: json.dumps({"value": next(answers)}).encode()
    )
    question = questions(php)[number]
    for _ in LIES:
        php.forget()
        try:
            value = question()
        except (WebUserError, RedisError):
            continue
        assert isinstance(value, (bridge_.Config, list, str, int, bytes, type(None)))
        assert not isinstance(value, bool)


@pytest.mark.parametrize(
    "lie",
    [True, 1.5, "text", {}, {"text": 5}, {"text": "no base64!"}, {"text": "YQ"}, [[{"text": "="}]]],
)
def test_a_reply_that_redis_never_gives_is_an_error(lie: Any) -> None:
    with pytest.raises(WebUserError, match="a reply that Redis never gives"):
        bridge_._reply(lie)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "5",
        '"text"',
        "[]",
        "{}",
        '{"value": NaN}',
        '{"value": Infinity}',
        '{"value": 1e999}',
        '{"value": -1e999}',
        '{"value": 9223372036854775808}',
        '{"value": ' + "9" * 200_000 + "}",
        '{"value": ' + "[" * 50 + "]" * 50 + "}",
        '{"value": ' + "[" * 100_000 + "}",
        '{"value": {"' + "k" * 2000 + '": 1}}',
        '{"value": "\\ud800"}',
        '{"value": {"\\ud800": 1}}',
        '{"value": 1} x',
    ],
)
def test_a_line_that_is_no_bounded_answer_is_an_error(
    misp: FakeMisp, php: Bridge, answer: str
) -> None:
    lying(misp, answer)
    with pytest.raises(WebUserError, match=r"cannot be read|an odd answer"):
        php.ask("config")


ENDLESS = '<?php $a = str_repeat("x", 1 << 18); while (true) { fwrite(STDOUT, $a); }'


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("Config/config.php", lambda php: php.once("config")),
        ("Config/database.php", lambda php: php.sql("SELECT 1")),
        ("Plugin/CakeResque/Config/config.php", lambda php: php.once("resque")),
    ],
)
def test_an_answer_that_holds_no_jobs_is_small(
    misp: FakeMisp, php: Bridge, path: str, ask: Callable[[Bridge], Any]
) -> None:
    """Each is kept as a whole, and parsed by root."""
    (misp.app / path).parent.mkdir(parents=True, exist_ok=True)
    (misp.app / path).write_text(ENDLESS)
    misp.own()
    with pytest.raises(WebUserError, match="answers more than 1 MiB"):
        ask(php)


def test_an_error_of_the_web_users_is_short(misp: FakeMisp, php: Bridge) -> None:
    lying(misp, json.dumps({"error": "x" * 5000}))
    with pytest.raises(WebUserError) as caught:
        php.ask("config")
    assert len(str(caught.value)) == 400


def test_a_number_of_many_digits_takes_no_time(
    misp: FakeMisp, php: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = getattr(sys, "get_int_max_str_digits", lambda: 0)()
    if limit:  # which the Python of an older host does not have
        sys.set_int_max_str_digits(0)
    try:
        monkeypatch.setattr(Bridge, "_exchange", lambda *_: b'{"value": ' + b"7" * 2_000_000 + b"}")
        began = time.monotonic()
        with pytest.raises(WebUserError, match="cannot be read"):
            php.ask("config")
        assert time.monotonic() - began < 1.5
    finally:
        if limit:
            sys.set_int_max_str_digits(limit)


# --- Redis ---------------------------------------------------------------------------------------


def place(path: Path, **given: Any) -> dict[str, Any]:
    return {"host": str(path), "port": 0, "database": 0, "password": "", **given}


@pytest.fixture
def redis_at(folder: Path) -> Iterator[dict[str, Any]]:
    (folder / "redis").mkdir(mode=0o755)
    with server(folder / "redis") as path:
        path.chmod(0o777)
        yield place(path)


def test_every_kind_of_reply_comes_as_redis_has_it(php: Bridge, redis_at: dict[str, Any]) -> None:
    one = BridgeRedis(php, redis_at)
    binary = bytes(range(256)) * 40
    assert one.command("PING") in (b"PONG", b"OK")
    assert one.command("SET", "k", binary) == b"OK"
    assert one.command("GET", "k") == binary
    assert one.command("GET", "absent") is None
    assert one.command("SET", b"\xff\x00", "") == b"OK"
    assert one.command("GET", b"\xff\x00") == b""
    assert one.command("STRLEN", "k") == len(binary)
    assert one.command("DECR", "n") == -1
    assert one.command("EXISTS", "absent") == 0
    assert one.command("RPUSH", "l", "a", 5, b"\xfe") == 3
    assert one.command("LRANGE", "l", 0, -1) == [b"a", b"5", b"\xfe"]
    assert one.command("LRANGE", "absent", 0, -1) == []
    assert one.command("MGET", "n", "absent") == [b"-1", None]
    assert one.command("TYPE", "l") == b"OK"  # as every status: nothing here asks for one
    assert one.command("EVAL", "return {1, {'a', {}}, false, 'x'}", 0) == [
        1,
        [b"a", []],
        None,
        b"x",
    ]
    assert one.command("SCAN", 0, "MATCH", "l", "COUNT", 100) == [b"0", [b"l"]]


def test_a_reply_of_many_jobs_fits(php: Bridge, redis_at: dict[str, Any]) -> None:
    one = BridgeRedis(php, redis_at)
    one.command("EVAL", "for i = 1, 1000 do redis.call('RPUSH', 'l', ('x'):rep(9000)) end", 0)
    began = time.monotonic()
    found = one.command("LRANGE", "l", 0, -1)
    assert isinstance(found, list)
    assert [len(one) for one in found] == [9000] * 1000
    assert time.monotonic() - began < 20


def test_redis_own_refusal_is_an_error_and_the_connection_lives(
    php: Bridge, redis_at: dict[str, Any]
) -> None:
    one = BridgeRedis(php, redis_at)
    one.command("SET", "k", "v")
    for words, message in (
        (("LPUSH", "k", "x"), "WRONGTYPE"),
        (("NO-SUCH",), "Redis refuses the command NO-SUCH .ERR unknown command .*: allow it"),
        (("EVAL", "return redis.error_reply('MINE own')", 0), "MINE own"),
    ):
        with pytest.raises(RedisError, match=message) as caught:
            one.command(*words)
        assert not isinstance(caught.value, RedisGoneError)
        assert one.command("GET", "k") == b"v"


def test_databases_do_not_mix(php: Bridge, redis_at: dict[str, Any]) -> None:
    first, second = BridgeRedis(php, redis_at), BridgeRedis(php, {**redis_at, "database": 3})
    first.command("SET", "k", "first")
    assert second.command("GET", "k") is None
    second.command("SET", "k", "second")
    assert (first.command("GET", "k"), second.command("GET", "k")) == (b"first", b"second")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"password": SECRET}, "the password is refused"),
        ({"database": 99}, "database 99 refused"),
        ({"host": "/nowhere/redis.sock"}, "^nobody listens there$|no connection"),
        ({"host": "127.0.0.1", "port": 1}, "^nobody listens there$|no connection"),
        ({"host": "127.0.0.1", "port": "no port"}, "."),
    ],
)
def test_a_redis_that_is_not_reached_is_gone(
    php: Bridge, redis_at: dict[str, Any], given: dict[str, Any], words: str
) -> None:
    with pytest.raises(RedisGoneError, match=words) as caught:
        BridgeRedis(php, {**redis_at, **given}).command("PING")
    assert SECRET not in str(caught.value)


REFUSED = r"(?i)noauth|the password is refused|authentication"


def test_redis_with_a_password_is_reached_with_it_alone(
    php: Bridge, redis_at: dict[str, Any]
) -> None:
    BridgeRedis(php, redis_at).command("CONFIG", "SET", "requirepass", SECRET)
    php.close()
    assert BridgeRedis(php, {**redis_at, "password": SECRET}).command("SET", "k", 1) == b"OK"
    for wrong in ("", "wrong"):
        with pytest.raises((RedisError, RedisGoneError), match=REFUSED):
            BridgeRedis(php, {**redis_at, "password": wrong}).command("GET", "k")


def test_a_redis_that_goes_in_between_is_gone(php: Bridge, folder: Path) -> None:
    (folder / "redis").mkdir(mode=0o755)
    with server(folder / "redis") as path:
        path.chmod(0o777)
        one = BridgeRedis(php, place(path))
        one.command("PING")
    with pytest.raises(RedisGoneError):
        one.command("PING")


# --- cake, classes, PHP itself, CakeResque -------------------------------------------------------


def test_cake_gets_its_arguments_as_they_are_and_not_as_a_processs(
    misp: FakeMisp, php: Bridge
) -> None:
    odd = ["Admin", "setSetting", "MISP.odd", "a 'b\" $c \\ \xe9 \u20ac\n--x -q;"]
    assert php.cake(*odd) == ""
    assert misp.argv() == [odd]
    [line] = (misp.app / "tmp/argv").read_text().splitlines()
    assert json.loads(line)[:3] == ["cake.php", "-working", str(misp.app)]


def test_a_failure_of_cake_says_why_and_not_what_it_printed(misp: FakeMisp, php: Bridge) -> None:
    misp.refuse("MISP.x")
    assert php.cake("Admin", "setSetting", "MISP.x", "value") == (
        "exit status 1: Error: MISP.x does not take value"
    )
    assert php.cake("Nobody") == "exit status 1: no such command"


def test_many_errors_of_cake_are_cut(misp: FakeMisp, php: Bridge) -> None:
    (misp.app / "Console/cake.php").write_text(
        '<?php fwrite(STDERR, str_repeat("x", 5 << 20)); echo str_repeat("y", 5 << 20); exit(3);'
    )
    assert php.cake("Admin") == "exit status 3: " + "x" * 599 + "\u2026"


def test_classes_that_do_not_load_are_missing(misp: FakeMisp, php: Bridge) -> None:
    assert php.classes() == list(bridge_.CLASSES)
    misp.app.joinpath("Vendor/autoload.php").write_text(
        "<?php spl_autoload_register(function ($name) {"
        ' if ($name === "Supervisor\\\\Supervisor") { eval("namespace Supervisor;'
        ' class Supervisor {}"); }'
        ' if ($name === "Supervisor\\\\Process") { eval("namespace Supervisor;'
        ' class Process { const RUNNING = 20; }"); }'
        ' if ($name === "fXmlRpc\\\\Client") { eval("namespace fXmlRpc;'
        ' class Client implements NoSuchInterface {}"); }'
        "});"
    )
    php.close()
    left = [
        name
        for name in bridge_.CLASSES
        if name not in ("Supervisor\\Supervisor", "Supervisor\\Process::RUNNING")
    ]
    assert php.classes() == left


def test_a_class_file_that_ends_php_is_an_error_and_not_missing(
    misp: FakeMisp, php: Bridge
) -> None:
    (misp.app / "Vendor/autoload.php").write_text("<?php function a() {} function a() {}")
    with pytest.raises(WebUserError, match="ended without an answer"):
        php.classes()


def test_php_says_what_it_is(php: Bridge) -> None:
    found = php.once("php")
    assert found["version"].split(".")[0].isdigit()
    assert "redis" in found["extensions"]
    assert isinstance(found["timeout"], float)


def resque(misp: FakeMisp, code: str) -> None:
    folder = misp.app / "Plugin/CakeResque/Config"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.php").write_text(f"<?php\n{code}")
    misp.own()


def test_where_cakeresque_has_its_redis(misp: FakeMisp, php: Bridge) -> None:
    assert php.once("resque") is None
    resque(
        misp,
        '$config["CakeResque"] = array("Redis" => array("host" => "h", "database" => 2),'
        ' "path" => App::pluginPath("CakeResque"), "logs" => TMP . "logs" . DS,'
        ' "debug" => Configure::read("debug"));',
    )
    php.forget()
    assert php.once("resque") == {
        "host": "h",
        "port": 6379,
        "database": 2,
        "namespace": "resque",
        "password": None,
    }


def test_a_question_that_php_does_not_know_is_an_error(php: Bridge) -> None:
    with pytest.raises(WebUserError, match="do_nothing"):
        php.ask("nothing")


def test_renaming_jobs_without_a_database_says_why(misp: FakeMisp, php: Bridge) -> None:
    (misp.app / "Config/database.php").write_text(
        '<?php class DATABASE_CONFIG { public $default = array("datasource" => "Odd/Sqlite"); }'
    )
    assert "neither MySQL nor PostgreSQL" in php.rename({"a": "b"})


@contextmanager
def mysql_that_demands_tls() -> Iterator[tuple[int, list[bytes]]]:
    """Greets a client as MariaDB does, and keeps what it says then; its port."""
    rest = b"\0\xff\xff\x2d\x02\0\xff\xc1\x15" + bytes(10) + b"b" * 12 + b"\0"
    greeting = b"\x0a10.11.6\0" + bytes(4) + b"a" * 8 + rest + b"mysql_native_password\0"
    said: list[bytes] = []

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
            said.append(client.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], said
        thread.join(10)


@pytest.mark.parametrize(
    ("given", "is_tls"),
    [
        ('"ssl_ca" => "/nowhere.pem"', True),
        ('"ssl_key" => "/k.pem", "ssl_cert" => "/c.pem", "ssl_ca" => ""', True),
        ('"flags" => array(PDO::MYSQL_ATTR_SSL_CA => "/nowhere.pem")', True),
        ('"flags" => array(PDO::MYSQL_ATTR_FOUND_ROWS => true)', False),
        ('"ssl_ca" => "", "flags" => "text"', False),
    ],
)
def test_a_database_is_reached_by_tls_where_misp_does_so(
    misp: FakeMisp, php: Bridge, given: str, is_tls: bool
) -> None:
    with mysql_that_demands_tls() as (port, said):
        at = f'"host" => "127.0.0.1", "port" => {port}, "login" => "l", "password" => "p"'
        (misp.app / "Config/database.php").write_text(
            "<?php class DATABASE_CONFIG { public $default = array("
            f'"datasource" => "Database/Mysql", "database" => "d", {at}, {given}); }}'
        )
        with pytest.raises(WebUserError):
            php.sql("SELECT 1")
    capabilities = int.from_bytes(said[0][4:8], "little")
    assert (capabilities & 0x800 != 0) is is_tls
    assert (capabilities & 0x2 != 0) is ("FOUND_ROWS" in given)


def test_jobs_are_renamed_where_the_table_has_them(
    php: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def sql(statement: str, *values: Any) -> list[list[Any]]:
        asked.append((statement.split(maxsplit=1)[0], *values))
        return [[5, "a"], [6, "A"], [7], []] if statement.startswith("SELECT") else []

    monkeypatch.setattr(php, "sql", sql)
    assert php.rename({"a": "b", "c": "d"}) == ""
    assert asked == [("SELECT", "a", "c"), ("UPDATE", "b", 5)]
    assert php.rename({}) == ""


@pytest.mark.parametrize("rows", [None, "x", {"a": 1}, [1], [[1], "x"]])
def test_what_are_no_rows_is_an_error(
    php: Bridge, monkeypatch: pytest.MonkeyPatch, rows: Any
) -> None:
    monkeypatch.setattr(php, "ask", lambda *_, **__: rows)
    with pytest.raises(WebUserError, match="gives no rows"):
        php.sql("SELECT 1")
