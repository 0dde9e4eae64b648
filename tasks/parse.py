"""Text from a host in, values out. Pure; every function takes what a probe printed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_POP_SECONDS = 30
_LATE_SECONDS = 60  # the old scheduler looks every 5 s
_START = "app/Console/cake CakeResque.CakeResque"


class Answer:
    """A probe's answer: KEY<TAB>VALUE lines, keys may repeat."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._values: dict[str, list[str]] = {}
        for line in lines:
            key, separator, value = line.partition("\t")
            if separator:
                self._values.setdefault(key, []).append(value.strip())

    @classmethod
    def joined(cls, answers: Iterable[Answer]) -> Answer:
        """One answer of several; a key that stands in more than one keeps all its values."""
        whole = cls([])
        for answer in answers:
            for key, values in answer._values.items():
                whole._values.setdefault(key, []).extend(values)
        return whole

    def all(self, key: str) -> list[str]:
        """Every value of a key, in order."""
        return self._values.get(key, [])

    def one(self, key: str) -> str:
        """The first value of a key, empty when it is absent."""
        return (self.all(key) or [""])[0]

    def words(self, key: str) -> list[str]:
        """The first value of a key, split at blanks."""
        return self.one(key).split()

    def record(self, key: str) -> dict[str, Any]:
        """The first value of a key as a JSON object; what is no such thing becomes an error."""
        text = self.one(key)
        try:
            # `cake` may print a warning of PHP's around its answer.
            whole = text[text.find("{") : text.rfind("}") + 1] if "{" in text else text
            value = json.loads(whole)
        except ValueError:
            return {"error": f"no answer from PHP: {text[:200]}" if text else "no answer from PHP"}
        return value if isinstance(value, dict) else {"error": f"an odd answer: {text[:200]}"}


def sections(lines: Iterable[str]) -> dict[str, list[str]]:
    """A probe's output, by the subject in the `@SUBJECT` line above each part."""
    parts: dict[str, list[str]] = {}
    lines_here: list[str] = []
    for line in lines:
        if line.startswith("@"):
            lines_here = parts.setdefault(line[1:], [])
        else:
            lines_here.append(line)
    return parts


@dataclass(frozen=True)
class Process:
    """One line of `supervisorctl status`; `uptime` in seconds, 0 unless RUNNING."""

    name: str
    state: str
    pid: int
    uptime: int
    note: str


_RUNNING = re.compile(r"pid (\d+), uptime (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")


def supervisor_status(lines: Iterable[str]) -> dict[str, Process]:
    """`supervisorctl status` by process name. Lines that are no status (errors) are left out."""
    processes = {}
    for line in lines:
        words = line.split(None, 2)
        if len(words) < 2 or not re.fullmatch(r"[A-Z]{5,8}", words[1]):
            continue
        note = words[2] if len(words) > 2 else ""
        match = _RUNNING.match(note)
        pid = uptime = 0
        if match:
            pid = int(match[1])
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[1:])
            uptime = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        processes[words[0]] = Process(words[0], words[1], pid, uptime, note)
    return processes


def version(text: str) -> tuple[int, int, int]:
    """The first dotted number in a text as (major, minor, patch); (0, 0, 0) without one."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)


def misp_version(text: str) -> tuple[int, int, int]:
    """MISP's VERSION.json as (major, minor, hotfix); (0, 0, 0) when it is not that."""
    try:
        value = json.loads(text)
        return (int(value["major"]), int(value["minor"]), int(value["hotfix"]))
    except (ValueError, KeyError, TypeError):
        return (0, 0, 0)


def dotted(version: tuple[int, int, int]) -> str:
    """`2.5.18` of (2, 5, 18)."""
    return ".".join(str(part) for part in version)


def wrong_workers(status: Mapping[str, Process], wanted: Iterable[str], group: str) -> list[str]:
    """What keeps the group from being exactly the wanted set, all RUNNING; empty: nothing."""
    wanted = set(wanted)
    faults = []
    for name in sorted(wanted):
        if name not in status:
            faults.append(f"{name} is missing")
        elif status[name].state != "RUNNING":
            faults.append(f"{name} is {status[name].state} {status[name].note}".rstrip())
    extra = sorted(name for name in status if name.startswith(f"{group}:") and name not in wanted)
    return faults + [f"{name} is not wanted" for name in extra]


def foreign_programs(
    status: Mapping[str, Process], group: str, old: Iterable[str] = ()
) -> list[str]:
    """Programs under the same supervisord that are neither the group's nor `old`, sorted.

    Args:
        old: names of programs that run old workers of this MISP.
    """
    ours = {group, *old}
    names = (name for name in status if name.partition(":")[0] not in ours or name == group)
    return sorted(names)


def has_libraries(answer: Answer) -> bool:
    """Whether all classes load, and no run of Composer's is to be finished first."""
    is_complete = answer.one("libraries") == "done" and not answer.one("composer_unfinished")
    return is_complete and all(line.endswith(" yes") for line in answer.all("class"))


def wrong_settings(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], *, strict: bool
) -> list[str]:
    """Names of MISP's settings that are absent, of another value or of another type, in order.

    Of a secret, which has a mapping for its value, only "is it the wanted one" is known.
    """
    block = stored.get("block") or {}
    wrong = []
    for name, value in wanted.items():
        key = name.partition(".")[2]
        if isinstance(value, dict):
            is_right = stored.get(f"{key}_matches") is True
        else:
            is_right = _same(block.get(key), value, strict=strict)
        if not is_right:
            wrong.append(name)
    return wrong


def _same(stored: Any, wanted: str | int | bool, *, strict: bool) -> bool:
    """Equal in value and, in the file, in type: BackgroundJobsTool.php compares with `=== true`.

    The database keeps text, and what the CLI shows of it may be text as well.
    """
    if strict:
        return type(stored) is type(wanted) and stored == wanted
    if isinstance(wanted, bool):
        return stored in (wanted, int(wanted), str(int(wanted)), str(wanted).lower())
    return str(stored) == str(wanted)


def wrong_misp_view(view: Mapping[str, Any], workers: Mapping[str, int]) -> list[str]:
    """Where MISP's own view (`getWorkers`) differs from the wanted counts; empty: it agrees.

    Only `supervisord_status` proves that MISP's stored password and its libraries work: workers
    run jobs without either (observed on MISP 2.5.1).
    """
    if "error" in view:
        return [f"getWorkers: {view['error']}"]
    faults = []
    if "supervisord_status" not in view:
        faults.append("getWorkers speaks of the old backend")
    elif view["supervisord_status"] is not True:
        faults.append("MISP cannot reach supervisord (supervisord_status is not true)")
    for queue, count in workers.items():
        seen, good = _workers_in(view.get(queue))
        if seen != count or good != count:
            faults.append(f"{queue}: MISP sees {good} good workers, {count} are wanted")
    return faults + _blind_spots(view)


def _blind_spots(view: Mapping[str, Any]) -> list[str]:
    """Why MISP may see workers that are well as bad: what its own process may not look at."""
    if view.get("proc_accessible") is False:
        return ["MISP's process sees no /proc: add it to PHP's open_basedir, or see SELinux's log"]
    workers = [one for queue in view.values() for one in _listed(queue) if isinstance(one, dict)]
    users = {str(one.get("user")) for one in workers if one.get("correct_user") is False}
    if not users:
        return []
    seen = ", ".join(sorted(f"'{user}'" for user in users))
    return [
        f"MISP's process takes the workers' user for {seen}: it runs as another user itself, or "
        "cannot read /proc/PID (SELinux)"
    ]


def _listed(queue: Any) -> list[Any]:
    workers = queue.get("workers") if isinstance(queue, dict) else None
    return workers if isinstance(workers, list) else []  # the key is absent when there are none


def _workers_in(queue: Any) -> tuple[int, int]:
    """How many workers MISP lists for a queue, and how many of these are well."""
    workers = _listed(queue)
    good = [one for one in workers if isinstance(one, dict) and one.get("ok") is True]
    return len(workers), len(good)


def impatience(settings: Mapping[str, Any]) -> str | None:
    """Why idle workers would end all the time; `None`: they would not.

    A worker waits for a job by a BLPOP of 30 s (StartWorkerShell.php), and PHP may give up before
    (MISP #8155). RUNNING and the test jobs do not show it.
    """
    limit = float(settings.get("read_timeout") or -1)
    if not 0 < limit <= _POP_SECONDS:
        return None
    return (
        f"PHP's command line gives up on Redis after {limit:g} s while a worker waits "
        f"{_POP_SECONDS} s for a job, so idle workers would end all the time: set "
        "default_socket_timeout = 60 in the php.ini of the command line"
    )


def old_workers_live(answer: Answer) -> bool:
    """Old workers run, or something would start them: now, on demand or at the next boot."""
    if answer.all("process") or answer.all("hidden_process") or answer.all("stopping"):
        return True
    if answer.all("launcher"):
        return True
    for line in answer.all("unit"):
        words = line.split()
        if words[1] not in ("inactive", "failed", "unknown"):
            return True
        if len(words) > 2 and words[2] in ("enabled", "enabled-runtime", "linked"):
            return True
    return False


def backlog(legacy: Mapping[str, Any]) -> str | None:
    """What the old backend still has to do, in words; `None` when it is quiet."""
    if "error" in legacy:
        return f"its Redis cannot be asked: {legacy['error']}"
    parts = [
        f"{count} waiting in {queue}" for queue, count in sorted(_queues(legacy).items()) if count
    ]
    kinds = {
        "running": "running",
        "delayed": "delayed",
        "scheduled": "scheduled by MISP itself",
        "held": "in a conversion that was cut off",
    }
    parts += [f"{legacy[kind]} {words}" for kind, words in kinds.items() if legacy.get(kind)]
    return ", ".join(parts) or None


def waiting(legacy: Mapping[str, Any]) -> int:
    """How many jobs wait on the old backend, delayed ones not counted."""
    return sum(_queues(legacy).values())


def arrived(before: Mapping[str, Any], now: Mapping[str, Any]) -> int:
    """How many jobs were put into the old lists between two looks, but not by old jobs.

    Only known where the first look saw no work: then no old job can have enqueued another one.
    """
    return 0 if backlog(before) else came(before, now)


def came(before: Mapping[str, Any], now: Mapping[str, Any]) -> int:
    """How many jobs were put into the old lists between two looks, by whatever."""
    if "error" in before or "error" in now:
        return 0
    return max(0, _ever(now) - _ever(before))


def _ever(legacy: Mapping[str, Any]) -> int:
    return waiting(legacy) + sum(int(legacy.get(kind) or 0) for kind in ("running", "processed"))


def convertible(legacy: Mapping[str, Any]) -> int:
    """How many jobs of the old backend a conversion would take: MISP's scheduled tasks stay."""
    return waiting(legacy) + int(legacy.get("delayed") or 0) + int(legacy.get("held") or 0)


def worth_waiting(processes: Iterable[str], legacy: Mapping[str, Any], seconds: float) -> bool:
    """Whether old workers have something to do within that time, MISP's scheduled tasks aside."""
    is_late = int(legacy.get("overdue") or 0) > _LATE_SECONDS
    is_due = bool(legacy.get("delayed")) and int(legacy.get("next_due") or 0) <= seconds
    served = waiting(legacy) - sum(unserved(processes, legacy).values())
    return bool(served or legacy.get("running") or (is_due and not is_late))


def never_drained(legacy: Mapping[str, Any], limit: int) -> str | None:
    """Why the old backend cannot be quiet within `limit` seconds; `None`: it can.

    MISP's scheduled tasks put themselves into the delayed jobs again and again (Task.php).
    """
    due = int(legacy.get("last_due") or 0)
    if due <= limit:
        return None
    return (
        f"the old backend has {backlog(legacy)}, the last of them due in {_span(due)}, and the "
        f"drain limit is {_span(limit)}: take MISP's scheduled tasks over to cron and set "
        "on_leftover_jobs to convert, or raise drain_timeout"
    )


def unserved(processes: Iterable[str], legacy: Mapping[str, Any]) -> dict[str, int]:
    """How many jobs wait in each queue that no old worker takes from, by the queue's name.

    Args:
        processes: "PID PARENT QUEUES" of each old worker, see legacy_processes in probes.sh.
    """
    served = set(legacy.get("elsewhere") or [])
    for line in processes:
        served.update(line.split()[2].split(","))
    if "*" in served:
        return {}
    return {name: count for name, count in _queues(legacy).items() if count and name not in served}


def stuck(processes: Iterable[str], legacy: Mapping[str, Any]) -> str | None:
    """What the old backend has that nobody there will do, and the remedy; `None`: nothing.

    The same text again and again means that it stays so.
    """
    queues = sorted(unserved(processes, legacy))
    if queues:
        return (
            f"no old worker lives for {', '.join(queues)}: start one as the web user "
            f"({_START} start --interval 5 --queue {queues[0]})"
        )
    if int(legacy.get("overdue") or 0) > _LATE_SECONDS:
        return (
            "nothing brings delayed jobs to their queues when they are due: start the old "
            f"scheduler as the web user ({_START} startscheduler --interval 5; since MISP 2.5.0 "
            "it ends at once)"
        )
    return None


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} minutes"


def _queues(legacy: Mapping[str, Any]) -> dict[str, int]:
    waiting = legacy.get("waiting") or {}  # PHP writes an empty map as a list
    return waiting if isinstance(waiting, dict) else {}
