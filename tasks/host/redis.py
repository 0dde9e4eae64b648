"""Redis as the queues see it: one command, one reply. `bridge.py` speaks to the real ones."""

from typing import Any, List, Union

from tasks.host.errors import HostError

Word = Union[str, bytes, int]
Reply = Union[None, int, bytes, List[Any]]  # nil, number, text of any kind, list of replies


class RedisError(HostError):
    """Redis refused a command; the text is Redis's own."""


class RedisGoneError(HostError):
    """Redis gave no answer: no connection, or a refused password or database."""


class Redis:
    """A connection to one database of one server."""

    def command(self, *words: Word) -> Reply:
        """Send one command.

        Raises:
            RedisError: Redis refuses it, as an ACL or a missing feature makes it.
            RedisGoneError: nobody answers.
        """
        raise NotImplementedError
