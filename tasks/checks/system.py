"""Whether the host itself, its PHP included, is fit for the new workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from tasks import parse
from tasks.checks.seen import Seen, SeenToMigrate
from tasks.host.lock import IF_DEAD
from tasks.host.parts import Php
from tasks.host.remedies import as_web_user, quoted, word
from tasks.host.site import STATE_DIR
from tasks.host.versions import Version
from tasks.target import Target

EXTENSIONS = ("redis", "posix", "curl")
FUNCTIONS = ("proc_open",)  # how MISP's code starts a job (BackgroundJob.php)
# Memory of an idle worker: what it has for itself (21 workers of MISP 2.5.1 share the rest), and
# all that is resident once it has run a job (MISP #9832).
WORKER_OWN_KB, WORKER_KB = 12_000, 43_000
DISK_KB = 200_000  # room for Composer's packages, their saved copy and logs


def host(target: Target, seen: Seen) -> Iterator[str]:
    """Check what every run needs, the way back as well."""
    system = seen.system
    if system.init != "systemd":
        yield (
            f"PID 1 is {system.init or 'unknown'}, but supervisor's service needs systemd: use a "
            "host that runs systemd"
        )
    if system.busy and not target.settings.take_over:
        yield f"{system.busy}: {IF_DEAD}"
    if system.logs_input:
        login = system.login or "the login user"
        yield (
            "sudo records standard input (log_input), so its log would hold the passwords that "
            f"this deploy sends: add the line `Defaults:{login} !log_input` to sudoers (visudo)"
        )
    place = PurePosixPath(STATE_DIR).parent
    if system.inodes == 0:
        yield f"no inode is free in {place}, where the deploy keeps its state: remove files there"
    elif not system.is_writable:
        yield (
            f"no file can be written in {place}, where the deploy keeps its state: mount it "
            "read-write, or make room"
        )


def room(target: Target, seen: Seen) -> Iterator[str]:
    """Check memory and disks."""
    yield from lack_of_memory(target, seen, WORKER_OWN_KB)
    yield from lack_of_disk(target, seen, DISK_KB)


def lack_of_disk(target: Target, seen: Seen, needed_kb: int) -> Iterator[str]:
    """Name the places with less than `needed_kb` free; -1 stands for unknown."""
    for free, place in (
        (seen.tree.disk_kb, f"{target.settings.misp_root}/app/tmp"),
        (seen.system.disk_kb, "/var/log or /var/lib"),
    ):
        if 0 <= free < needed_kb:
            yield (
                f"{place} has {free // 1024} MiB free, but {needed_kb // 1024} are needed: "
                "make room"
            )


def lack_of_memory(target: Target, seen: Seen, worker_kb: int) -> Iterator[str]:
    """Say that memory is short, if each worker that does not run yet takes `worker_kb`."""
    free = seen.system.memory_kb
    found = parse.group_workers(seen.supervisor.workers)
    running = sum(found[name].pid > 0 for name in target.process_names if name in found)
    more = len(target.process_names) - running
    if 0 <= free < worker_kb * more:
        yield (
            f"the host has {free // 1024} MiB of memory free, but {more} more workers take about "
            f"{worker_kb * more // 1024} MiB: lower the counts in misp_workers, or add memory"
        )


def oldest_php(misp: Version) -> Version:
    """Return the oldest PHP that runs this MISP."""
    return (8, 1, 0) if misp >= (2, 5, 0) else (7, 4, 0)


def php(target: Target, seen: Seen) -> Iterator[str]:
    """Check the PHP that jobs will run by."""
    found, places = seen.php, "/usr/local/bin, /usr/bin and /bin"
    if not found.path:
        yield f"php is in none of {places}, the only places where jobs look for it: " + (
            f"run `{_link(found)}`. A job has no PATH but bash's default one, even if "
            "app/Console/cake was edited to find another php"
            if found.elsewhere
            else "install PHP's command line, or link php into /usr/bin"
        )
    elif found.version == (0, 0, 0):
        command = as_web_user(seen.tree.web_user or "the web user", found.path, "-v")
        yield (
            f"{found.path} does not tell its version ({quoted(found.error) or 'no answer'}): run "
            f"`{command}` to see why. Jobs look for php in {places} only"
        )
    else:
        yield from _fitness(target, found)


def _link(found: Php) -> str:
    return f"ln -s {word(found.elsewhere)} /usr/local/bin/php"


def _fitness(target: Target, found: Php) -> Iterator[str]:
    oldest = oldest_php(target.version)
    if found.version < oldest:
        another = f", or `{_link(found)}` if that is newer" if found.elsewhere else ""
        yield (
            f"{found.path} is PHP {quoted(found.version_text, 80)}, but MISP "
            f"{parse.dotted(target.version)} needs {oldest[0]}.{oldest[1]} to run a job: "
            f"install a newer PHP, or link it there{another}"
        )
    if found.open_basedir and not found.sees_proc:
        yield (
            "PHP's command line may not look at /proc, where MISP looks at its workers: add /proc "
            f"to its open_basedir ({quoted(found.open_basedir)})"
        )
    present = {name.lower() for name in found.extensions}
    if missing := [name for name in EXTENSIONS if name not in present]:
        yield (
            f"PHP's command line lacks the extension(s) {', '.join(missing)}: install them and "
            "enable them for the command line too"
        )
    inis = f"the php.ini of the command line (`{word(found.path)} --ini` names the file)"
    if disabled := [name for name in FUNCTIONS if name in found.disabled]:
        yield (
            f"PHP's command line may not call {', '.join(disabled)}, which MISP starts jobs with: "
            f"take it out of disable_functions in {quoted(found.disabled_in) or inis}"
        )


def job(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    """Say that a job would fail; to be asked where nothing else explains it."""
    user = seen.tree.web_user or "the web user"
    cake = f"{target.settings.misp_root}/app/Console/cake"
    if seen.job.error:
        yield (
            f"MISP's jobs would fail here. One that was tried as {user}, without environment as "
            f"workers start it, ended so: {seen.job.error}. To see all of it run "
            f"`{as_web_user(user, 'env', '-i', cake, 'admin', 'redisReady')}`, and mend the cause"
        )
