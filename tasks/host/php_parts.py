"""What a look finds of PHP: that of jobs, and that of the web tier. See parts.py."""

from typing import List, NamedTuple

from tasks.host.versions import Version


class Php(NamedTuple):
    """The PHP that jobs run by: a job has no PATH, so bash's own default decides."""

    path: str
    version: Version
    version_text: str
    extensions: List[str]
    disabled: List[str]  # disable_functions of the command line
    disabled_in: str  # the file that says so
    open_basedir: str
    sees_proc: bool  # MISP looks at its workers there
    elsewhere: str  # another php, which a job does not find; empty: none is known
    error: str  # why it told nothing


class Pool(NamedTuple):
    """PHP-FPM as it answered a request of its own, in a process that the web user owns."""

    at: str  # its socket
    error: str  # why it gave no answer; nothing else is known then
    version: Version
    extensions: List[str]
    disabled: List[str]  # disable_functions
    open_basedir: str
    sees_proc: bool  # MISP looks at its workers there
    config_error: str  # why it cannot read config.php
    may_be_fit: bool = False  # its error is only that it took too long, or could not be asked


class Job(NamedTuple):
    """One of MISP's jobs, tried as a worker starts it: as the web user, without environment."""

    error: str  # why it did not come through; empty: it did, or it was not tried


class Web(NamedTuple):
    """PHP processes of the web tier, and whether they may still have settings from before."""

    users: List[str]  # whom they run as
    units: List[str]
    is_stale: bool  # settings were changed by us in this boot, and the web tier not reloaded since
    pools: List[Pool]  # of PHP-FPM, those that are not other users'
