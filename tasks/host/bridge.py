"""Speaks to bridge.php, a PHP process of the web user's: a line of JSON each way.

Every answer is the web user's word. It is bounded in size and time, and checked for its type before
anything depends on it; one that does not fit is a `WebUserError` and never "nothing".
"""

import contextlib
import json
import os
import select
import signal
import time
from typing import Any, Dict, List, NamedTuple, Set, Union

from tasks.host import gate
from tasks.host.errors import WebUserError
from tasks.host.redis import Redis, RedisGoneError, Reply, Word, refusal
from tasks.host.remedies import quoted
from tasks.host.web_user import WebUser

PHP = (
    "php",
    "-d",
    "display_errors=stderr",  # a warning in config.php must not end up in an answer
    "-d",
    "log_errors=0",
    "-d",
    "zend.exception_ignore_args=1",
    "-d",
    "memory_limit=512M",
)
CLASSES = (
    "Supervisor\\Supervisor",
    "fXmlRpc\\Client",
    "fXmlRpc\\Transport\\HttpAdapterTransport",
    "GuzzleHttp\\Client",
    "Http\\Message\\MessageFactory\\GuzzleMessageFactory",
    "Supervisor\\Process::RUNNING",  # supervisorphp 5.1 dropped it (MISP issues 10006, 10408)
)
CODE = ""  # bridge.php; tasks/remote.py fills it in where it sends this module
_LIMIT = 64 << 20  # bytes of one answer: a thousand jobs of a list
_SMALL_LIMIT = 1 << 20  # bytes of one that holds no jobs: settings, rows of numbers
_SECONDS = 60.0
CAKE_SECONDS = 300.0  # for one command of MISP's command line
_ONCE_SECONDS = 20.0  # for a file of settings, which a FIFO or a sleep() in it makes endless
_DEPTH = 12
_NOBODY = ("Connection refused", "Cannot assign requested address", "No such file or directory")
_SLOW = "MISP's PHP gives no answer within its time"


class SlowError(WebUserError):
    """MISP's PHP gives no answer within its time."""


class Config(NamedTuple):
    """config.php as far as it matters. Holds MISP's passwords."""

    block: Dict[str, Any]  # SimpleBackgroundJobs
    misp: Dict[str, Any]
    encrypted: bool


class Bridge:
    """One PHP process; a context manager, so that none is left behind."""

    def __init__(self, user: WebUser, root: str) -> None:
        self.user = user
        self.root = root
        self._process: Any = None
        self._buffer = bytearray()
        self._answers: Dict[str, Any] = {}
        self._unanswered: Set[str] = set()

    def __enter__(self) -> "Bridge":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and whatever it has started."""
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()
        self._process = None

    def start(self) -> None:
        """Start PHP, if it does not run: it starts while the caller looks at other things."""
        if self._process is None:
            self._buffer = bytearray()
            self._process = gate.start(self.user, [*PHP, "-r", CODE])
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                os.set_blocking(stream.fileno(), False)

    def ask(self, do: str, seconds: float = _SECONDS, limit: int = _LIMIT, **what: Any) -> Any:
        """PHP's answer to a question, of at most `limit` bytes.

        Raises:
            WebUserError: an error of PHP's own, or no answer, or an odd one.
        """
        self.start()
        question = json.dumps(dict(what, do=do, root=self.root)).encode("ascii") + b"\n"
        line = self._exchange(question, time.monotonic() + seconds, limit)
        try:
            answer = strict(line.decode("utf-8"))
        except (ValueError, RecursionError):
            self.close()
            raise WebUserError("MISP's PHP gives an answer that cannot be read (%s)" % do) from None
        if not isinstance(answer, dict) or ("value" not in answer and "error" not in answer):
            self.close()
            raise WebUserError("MISP's PHP gives an odd answer (%s)" % do)
        if "error" in answer:
            raise WebUserError(quoted(str(answer["error"])))
        return answer["value"]

    def once(self, do: str) -> Any:
        """As `ask`, remembered: for what does not change while a function runs.

        So is that no answer came, or each part of a look would wait for it again.
        """
        if do in self._unanswered:
            raise SlowError(_SLOW)
        if do not in self._answers:
            try:
                self._answers[do] = self.ask(do, _ONCE_SECONDS, _SMALL_LIMIT)
            except SlowError:
                self._unanswered.add(do)
                raise
        return self._answers[do]

    def _exchange(self, question: bytes, deadline: float, limit: int) -> bytes:
        process = self._process
        left = memoryview(question)
        said = b""
        reads = [process.stdout, process.stderr]
        seen = 0  # bytes of the buffer in which no line ends
        while self._buffer.find(b"\n", seen) < 0:
            seen = len(self._buffer)
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                self.close()
                raise SlowError(_SLOW)
            writes = [process.stdin] if left else []
            can_read, can_write, _ = select.select(reads, writes, [], min(seconds, 1.0))
            if can_write:
                try:
                    left = left[os.write(process.stdin.fileno(), left[:65536]) :]
                except BrokenPipeError:
                    left = left[:0]
            if process.stderr in can_read:
                words = os.read(process.stderr.fileno(), 65536)
                said = (said + words)[-2000:]
                if not words:  # it was closed, and would be ready for ever
                    reads.remove(process.stderr)
            if process.stdout in can_read:
                chunk = os.read(process.stdout.fileno(), 1 << 18)
                self._buffer += chunk
                if not chunk or len(self._buffer) > limit:
                    self.close()
                    raise WebUserError(_no_answer(chunk, said, limit))
        end = self._buffer.index(b"\n")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def config(self) -> Config:
        """config.php's own words; where settings live in the database, MISP's CLI's as well."""
        value = self.once("config")
        if not isinstance(value, dict):
            raise WebUserError("MISP's configuration is no such thing")
        block, misp = value.get("block"), value.get("misp")
        if not isinstance(block, dict) or not isinstance(misp, dict):
            raise WebUserError("MISP's configuration is no such thing")
        return Config(block, misp, value.get("encrypted") is True)

    def forget(self) -> None:
        """What was asked `once` may have changed."""
        self._answers.clear()
        self._unanswered.clear()

    def classes(self) -> List[str]:
        """Which of CLASSES are missing."""
        found = self.ask("classes", names=list(CLASSES))
        if not isinstance(found, list):
            raise WebUserError("MISP's PHP does not say which classes load")
        return [name for name in CLASSES if name not in found]

    def cake(self, *arguments: str) -> str:
        """Run a command of MISP's CLI; what it complained of, empty where it succeeded."""
        done = self.ask("cake", seconds=CAKE_SECONDS, arguments=list(arguments))
        if not isinstance(done, dict) or not isinstance(done.get("status"), int):
            raise WebUserError("MISP's command line gave no status")
        if done["status"] == 0:
            return ""
        return "exit status %d: %s" % (
            done["status"],
            quoted(str(done.get("errors", "")).strip(), 600),
        )

    def sql(self, statement: str, *values: Union[str, int]) -> List[List[Any]]:
        """Run a statement in MISP's database; its rows, whose fields are numbers, texts or null.

        Raises:
            WebUserError: the database cannot be used, or these are no rows.
        """
        rows = self.ask("sql", 300.0, _SMALL_LIMIT, sql=statement, values=list(values))
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise WebUserError("MISP's database gives no rows")
        return rows

    def rename(self, names: Dict[str, str]) -> str:
        """Rename jobs in MISP's table; why it could not be done, empty where it was.

        Its page finds a job's state by this id.
        """
        marks = ",".join("?" * len(names))
        asked = "SELECT id, process_id FROM jobs WHERE process_id IN (" + marks + ")"  # noqa: S608
        try:
            for row in self.sql(asked, *names) if names else []:
                new = names.get(str(row[1]), "") if len(row) == 2 else ""
                if new:
                    self.sql("UPDATE jobs SET process_id = ? WHERE id = ?", new, row[0])
        except WebUserError as error:
            return str(error)
        return ""


def listed(value: Any) -> List[str]:
    """The words of one of PHP's lists, such as disable_functions."""
    text = value[:4000] if isinstance(value, str) else ""
    return [one.strip() for one in text.split(",") if one.strip()]


def _no_answer(chunk: bytes, said: bytes, limit: int) -> str:
    if chunk:
        return "MISP's PHP answers more than %d MiB" % (limit >> 20)
    words = " ".join(said.decode("utf-8", "replace").split())[-300:]
    return "MISP's PHP ended without an answer: %s" % (quoted(words) or "no word")


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def whole(text: str) -> int:
    """A number of the web user's: some millions of digits take a Python before 3.11 minutes."""
    if len(text) > 20:
        raise ValueError("number")
    return int(text)


def strict(text: str) -> Any:
    """A value of the web user's, from JSON.

    Raises:
        ValueError, RecursionError: it has what no value may have; see `_check`.
    """
    value = json.loads(text, parse_constant=_no_constant, parse_int=whole)
    _check(value, 0)
    return value


def _check(value: Any, depth: int) -> None:
    """No number that PHP cannot count up to, no endless nesting, and no text that is no Unicode."""
    if depth > _DEPTH:
        raise ValueError("depth")
    if isinstance(value, dict):
        for key, one in value.items():
            _check(key, depth + 1)
            _check(one, depth + 1)
            if len(key) > 1000:
                raise ValueError("key")
    elif isinstance(value, list):
        for one in value:
            _check(one, depth + 1)
    elif isinstance(value, str):
        value.encode("utf-8")  # half a character of two, as "\\ud800", cannot be
    elif isinstance(value, (int, float)) and abs(value) >= 1 << 63:
        raise ValueError("number")


class BridgeRedis(Redis):
    """A database of a server, through the bridge and with MISP's own client."""

    def __init__(self, bridge: Bridge, at: Dict[str, Any]) -> None:
        self._bridge = bridge
        self._at = at

    def command(self, *words: Word) -> Reply:
        """See `Redis.command`."""
        import base64

        texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        encoded = [base64.b64encode(text).decode() for text in texts]
        try:
            answer = self._bridge.ask("redis", at=self._at, words=encoded)
        except WebUserError as error:
            gone = RedisGoneError(_unreachable(str(error), self._at))
            gone.at = _place(self._at)
            raise gone from None
        if isinstance(answer, dict) and isinstance(answer.get("refused"), str):
            refused = refusal(texts[0].decode("ascii", "replace"), quoted(answer["refused"]))
            refused.at = _place(self._at)
            raise refused
        if not isinstance(answer, dict) or "reply" not in answer:
            raise WebUserError("MISP's PHP gives no reply of Redis's")
        return _reply(answer["reply"])


def _place(at: Dict[str, Any]) -> str:
    host = quoted(str(at.get("host")), 200)
    return host if host.startswith("/") else "%s:%s" % (host, at.get("port"))


def _unreachable(words: str, at: Dict[str, Any]) -> str:
    """Of a name with several addresses PHP tells the last one's error, which says little."""
    from tasks.host import redis_unit

    return "nobody listens there" + redis_unit.words(at) if words in _NOBODY else words


def _reply(value: Any) -> Reply:
    import base64
    import binascii

    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value  # type: Optional[int]
    if isinstance(value, list):
        return [_reply(one) for one in value]
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        try:
            return base64.b64decode(value["text"], validate=True)
        except (binascii.Error, ValueError):
            pass
    raise WebUserError("MISP's PHP gives a reply that Redis never gives")
