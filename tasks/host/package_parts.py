"""Parts of a look about packages and PHP libraries: what is there, and what can be had."""

from typing import Dict, List, NamedTuple


class Packages(NamedTuple):
    """What the package database has of the packages that matter here."""

    installed: Dict[str, str]  # name to version
    supervisor_version: str  # empty: no supervisord on the PATH
    is_masked: bool  # an install that was cut off has left supervisord's unit masked
    version_error: str = ""  # why supervisor's version is not known


class Libraries(NamedTuple):
    """The PHP classes that MISP's supervisor client needs."""

    missing: List[str]
    is_complete: bool  # the look at them came to its end
    is_unfinished: bool  # a run of Composer's was cut off
    versions: Dict[str, str]  # by package, of those that are there

    @property
    def are_in_place(self) -> bool:
        """Whether all classes load, and no run of Composer's has to be finished first."""
        return self.is_complete and not self.missing and not self.is_unfinished


class Room(NamedTuple):
    """What a file system has left and what is needed of it; -1: unknown."""

    place: str
    purpose: str
    free_kb: int
    needed_kb: int
    free_inodes: int
    needed_inodes: int


class Sources(NamedTuple):
    """Whether what is missing can be had, tried without a change, and whether it has room."""

    packages: Dict[str, str]  # name to version of all that would be installed, as far as known
    libraries: Dict[str, str]  # the same of Composer's packages
    problems: List[str]  # why something cannot be had, with the remedy
    late: List[str]  # what was not known in time
    rooms: List[Room]
