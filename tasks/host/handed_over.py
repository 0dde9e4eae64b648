"""Root's record of the scheduled tasks that were handed over, and of cron's file before that.

It is on disk before anything else changes. So a hand-over that fails or is cut off can be undone or
finished, also when MISP's database is down by then.
"""

import json
from typing import Dict, NamedTuple, Optional

from tasks.host import files, originals
from tasks.host.cron import Task
from tasks.host.site import Site

_LIMIT = 16 << 20  # bytes: a crontab and some tasks, in JSON


class Kept(NamedTuple):
    """The record. The fields from `earlier` on are of a hand-over that is under way."""

    tasks: Dict[str, Task]  # by kind
    is_done: bool  # False: it was cut off
    earlier: Dict[str, Task]  # of these, what an earlier one had handed over
    crontab: Optional[bytes]  # cron's file before it
    token: str  # part of the name of the list that its delayed jobs are held in
    is_removed: bool  # all its delayed jobs are there, so from here it is finished and not undone

    @property
    def moving(self) -> Dict[str, Task]:
        """The tasks of the hand-over that is under way."""
        if self.is_done:
            return {}
        return {kind: task for kind, task in self.tasks.items() if self.earlier.get(kind) != task}


def done(tasks: Dict[str, Task]) -> Kept:
    """Return what is kept in the end.

    A job's mark does not last for ever, so a later hand-over has to know nothing of the job.
    """
    told = {kind: task._replace(job="") for kind, task in tasks.items()}
    return Kept(told, True, {}, None, "", True)


def load(site: Site) -> Kept:
    """Return what is kept; nothing where no task was ever handed over."""
    data = files.read(_file(site), _LIMIT)
    if data is None:
        return done({})
    kept = json.loads(data.decode())
    crontab = kept.get("crontab")  # a run of an older version knew only the first two fields
    return Kept(
        {one[0]: Task(*one) for one in kept["tasks"]},
        kept["is_done"],
        {one[0]: Task(*one) for one in kept.get("earlier", [])},
        None if crontab is None else crontab.encode("utf-8", "surrogateescape"),
        kept.get("token", ""),
        kept.get("is_removed", True),
    )


def keep(site: Site, kept: Kept) -> None:
    """Have it on disk."""
    originals.begin(site)
    crontab = kept.crontab
    fields = kept._asdict()
    fields.update(
        tasks=list(kept.tasks.values()),
        earlier=list(kept.earlier.values()),
        crontab=None if crontab is None else crontab.decode("utf-8", "surrogateescape"),
    )
    files.write(_file(site), json.dumps(fields).encode())


def forget(site: Site) -> None:
    """Have nothing handed over."""
    files.remove(_file(site))


def _file(site: Site) -> str:
    return site.state_dir + "/scheduled-tasks"
