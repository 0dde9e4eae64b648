"""A real redis-server on a socket file, and a client of it as small and fast as can be."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.host.redis import Redis, RedisError, RedisGoneError, Reply, Word

MISSING = "redis-server is not installed (package redis-server or redis)"


@contextmanager
def server(directory: Path, databases: int = 16) -> Iterator[Path]:
    """Run a redis-server without a port or a file on disk; its socket's path."""
    program = shutil.which("redis-server")
    assert program, MISSING
    path = directory / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "save": "",
        "appendonly": "no",
        "databases": str(databases),
        "dir": str(directory),
        "hz": "100",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)
    try:
        _wait_until_it_listens(path)
        yield path
    finally:
        process.kill()
        process.wait()


def _wait_until_it_listens(path: Path) -> None:
    """The file is there a moment before: bind() makes it, and listen() follows."""
    until = time.monotonic() + 10
    while True:
        with socket.socket(socket.AF_UNIX) as one:
            try:
                return one.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < until, "redis-server does not listen"
        time.sleep(0.01)


class Connection(Redis):
    """One connection; replies as RESP2 has them."""

    def __init__(self, path: Path, database: int = 0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The kernel's limit: with Python's own each call would ask first whether it may.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
        self._socket.connect(str(path))
        self._buffer = b""
        self._at = 0
        self.command("SELECT", database)

    def command(self, *words: Word) -> Reply:
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
        try:
            self._socket.sendall(b"".join(parts))
            data = self._socket.recv(16384)
            if data[:1] == b":" and data[-2:] == b"\r\n":  # what most commands reply
                return int(data[1:-2])
            self._buffer, self._at = data, 0
            return self._reply()
        except OSError as error:
            raise RedisGoneError(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def _reply(self) -> Reply:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"-":
            raise RedisError(rest.decode("utf-8", "replace"))
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._bytes(size)
        count = int(rest)
        if count < 0:
            return None
        # All of them, or what is left would be taken for the next command's.
        items: list[Reply] = [self._reply() for _ in range(count)]
        return items

    def _line(self) -> bytes:
        while True:
            end = self._buffer.find(b"\r\n", self._at)
            if end >= 0:
                line = self._buffer[self._at : end]
                self._at = end + 2
                return line
            self._more()

    def _bytes(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size + 2:
            self._more()
        data = self._buffer[self._at : self._at + size]
        self._at += size + 2
        return data

    def _more(self) -> None:
        data = self._socket.recv(16384)
        if not data:
            raise RedisGoneError("the connection was closed")
        self._buffer = self._buffer[self._at :] + data
        self._at = 0
