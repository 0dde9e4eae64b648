"""Redis as the queues see it: one command, one reply. `bridge.py` speaks to the real ones."""

from typing import Any, List, Union

from tasks.host.errors import HostError

Word = Union[str, bytes, int]
Reply = Union[None, int, bytes, List[Any]]  # nil, number, text of any kind, list of replies


REFUSES = "Redis refuses the command "  # how the text of a `RedisError` about one begins


class RedisError(HostError):
    """Redis refused a command; the text has Redis's own words."""

    at = ""  # which one it is, for a sentence that does not say it yet


def refusal(command: str, words: str) -> RedisError:
    """Return the error for what Redis said instead of a reply, with the remedy if there is one."""
    if words.startswith(("NOPERM", "ERR unknown command")):
        return RedisError(
            f"{REFUSES}{command} ({words.strip()}): allow it (the ACL of MISP's user in Redis, or "
            "rename-command in redis.conf)"
        )
    return RedisError(f"{words} ({command})")


class RedisGoneError(HostError):
    """Redis gave no answer: no connection, or a refused password or database."""

    at = ""  # as `RedisError` has it


class Redis:
    """A connection to one database of one server."""

    def command(self, *words: Word) -> Reply:
        """Send one command.

        Raises:
            RedisError: Redis refuses it, as an ACL or a missing feature makes it.
            RedisGoneError: nobody answers.
        """
        raise NotImplementedError
