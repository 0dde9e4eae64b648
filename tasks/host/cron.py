"""A scheduled task of MISP's as a line of root's crontab: numbers, and words that stand here.

MISP repeats a task every so many hours from its first time on, also five or 36, which crontab's own
fields cannot say. So a line comes up every hour, in the task's minute, and looks at the time.
"""

import re
import time
from typing import Collection, Iterable, List, NamedTuple, Optional

from tasks.host.errors import HostError

FILE = "/etc/cron.d/misp-scheduled-tasks"  # no dot: cron skips names with one
# The words of a line by the task's type in MISP's table (Task.php), as MISP documents its CLI.
COMMANDS = {
    "pull_all": ("pullAll", "full"),
    "push_all": ("pushAll", "full"),
    "cache_feeds": ("cacheFeed", "all"),
    "fetch_feeds": ("fetchFeed", "all"),
}
HIGHEST_ID = 2**31 - 1
HIGHEST_TIME = 2**33
MOST_HOURS = 87600  # ten years
# Cron takes a name up to the next blank, and gives it to no shell.
_USER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z")
_ROOT = re.compile(r"(/[A-Za-z0-9._+-]+)+\Z")  # as settings.py takes it
_HEADER = """\
# MISP's scheduled tasks, since its migration to SimpleBackgroundJobs. Yours to edit: the deploy
# writes this file again only if MISP's old backend has scheduled tasks again.
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
# A % ends a command in a crontab unless it is escaped. `cake` has its whole path, since the folder
# of logs may be a link to anywhere.
_LINE = (
    "{minute:d} * * * * {web_user} s=$(( $(date +\\%s) - {start:d} ));"
    ' [ "$s" -ge 0 ] && [ $(( s / 3600{every} )) -eq 0 ] && cd {root}/app/tmp/logs'
    " && exec flock -n misp-task-{kind}.lock {root}/app/Console/cake"
    " Server {command} {user:d} {scope} >> misp-tasks.log 2>&1"
)


class Task(NamedTuple):
    """One of MISP's scheduled tasks. Times are seconds since 1970."""

    kind: str  # a key of COMMANDS
    user: int  # MISP's number of the user who scheduled it
    hours: int  # from one run to the next; 0: it runs once
    was: int  # when it was due as the old backend had it
    row: int  # its row's id
    is_native: bool = False  # MISP's own scheduler has it
    due: int = 0  # when cron has to run it first; 0: never
    job: str = ""  # id of the new backend's job that does the run that was due at the hand-over

    @property
    def as_handed_over(self) -> "Task":
        """Without what the hand-over made of it."""
        return self._replace(due=0, job="")


def next_due(task: Task, start: int, after: int) -> int:
    """When a task that runs at `start` runs next, later than `after`; 0: never."""
    if not start or start > after:
        return start
    step = task.hours * 3600
    return start + ((after - start) // step + 1) * step if step else 0


def crontab(tasks: Iterable[Task], web_user: str, root: str) -> str:
    """The file's text.

    Raises:
        HostError: a name that crontab or the shell could take for something else.
    """
    return _HEADER + "".join(line + "\n" for line in lines(tasks, web_user, root))


def file_of(tasks: Collection[Task], web_user: str, root: str) -> Optional[bytes]:
    """The file's content; `None`: cron has none of these tasks. See `crontab`."""
    if not any(task.due for task in tasks):
        return None
    return crontab(tasks, web_user, root).encode("ascii")


def can_name(web_user: str, root: str) -> bool:
    """Whether a line can name this user and MISP's folder, and mean nothing else by it."""
    return bool(_USER_NAME.match(web_user) and _ROOT.match(root))


def lines(tasks: Iterable[Task], web_user: str, root: str) -> List[str]:
    """A comment and a line for each task that cron has to run; see `crontab`."""
    due = [task for task in sorted(tasks) if task.due]
    if due and not can_name(web_user, root):
        raise HostError("a crontab cannot name the user %r and the folder %r" % (web_user, root))
    return [line for task in due for line in (_comment(task), _line(task, web_user, root))]


def described(tasks: Iterable[Task], web_user: str, root: str) -> List[str]:
    """The same as far as cron can have them, and for each that it does not run who does."""
    tasks = list(tasks)
    found = lines(tasks, web_user, root) if can_name(web_user, root) else []
    return found + [told(task) for task in tasks if task.job or task.is_native]


def told(task: Task) -> str:
    """Who runs a task that is handed over, in words."""
    if task.is_native:
        return "MISP's scheduled task %s: MISP's own scheduler has it" % task.kind
    due = ["is due, and a job of the new backend does it"] if task.job else []
    later = ["is cron's (%s)" % FILE] if task.due else []
    return "MISP's scheduled task %s %s" % (task.kind, "; then it ".join(due + later))


def has(text: str, task: Task) -> bool:
    """Whether a crontab has the task's line as it was written."""
    return _comment(task) in text.split("\n")


def _comment(task: Task) -> str:
    first = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(task.due))
    rhythm = "every %d h" % task.hours if task.hours else "once"
    return "# %s of user %d: %s from %s on" % (task.kind, task.user, rhythm, first)


def _line(task: Task, web_user: str, root: str) -> str:
    command, scope = COMMANDS[task.kind]
    start = task.due - task.due % 60  # cron comes at a minute's beginning
    return _LINE.format(
        minute=time.localtime(start).tm_min,
        web_user=web_user,
        start=start,
        every=" \\%% %d" % task.hours if task.hours else "",
        root=root,
        kind=task.kind,
        command=command,
        user=task.user,
        scope=scope,
    )
