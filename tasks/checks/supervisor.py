"""Whether supervisord is fit: its version, its files, its RPC and what else it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks import parse
from tasks.checks.seen import Seen
from tasks.host.parts import MissingFolder, Supervisor, Workers
from tasks.host.remedies import make_folder, quoted, word
from tasks.host.site import GROUP
from tasks.host.supervisor_files import is_included
from tasks.host.versions import version_of
from tasks.target import Target

OLDEST = (3, 3, 3)  # CVE-2017-11610
_LOOPBACK = ("127.0.0.1", "localhost")


def check(target: Target, seen: Seen) -> Iterator[str]:
    """Check everything about supervisord."""
    yield from _version(seen)
    unit = seen.supervisor.unit
    if unit.enabled.startswith("masked") and not seen.packages.is_masked:
        yield f"{unit.name} is masked: run `systemctl unmask {word(unit.name)}`, then run again"
    yield from _service(target, seen)
    yield from _files(target, seen.supervisor)
    if target.rpc_elsewhere:
        yield from _own_rpc(target, seen.supervisor)
    else:
        yield from port_holder(target, seen)
    yield from _programs(target, seen.supervisor)


def _version(seen: Seen) -> Iterator[str]:
    """Check that supervisor has no hole by which others become root."""
    text = seen.packages.supervisor_version
    version = version_of(text)
    if text and not any(version):
        program = seen.supervisor.identity.supervisor_program or "supervisord"
        yield (
            f"the version of {program} is not known: {quoted(seen.packages.version_error)}. "
            "Correct that, then run again"
        )
    elif text and version < OLDEST:
        yield (
            f"supervisor is {text}, where an RPC client can run code as root (CVE-2017-11610): "
            f"update it to {parse.dotted(OLDEST)} or newer"
        )


def _service(target: Target, seen: Seen) -> Iterator[str]:
    """Check that systemd can start supervisord."""
    supervisor, package = seen.supervisor, target.platform.supervisor_package
    unit = supervisor.unit
    is_unpackaged = seen.packages.supervisor_version and package not in seen.packages.installed
    if is_unpackaged and not unit.is_there and not supervisor.other_daemon:
        yield (
            f"supervisord is on the PATH, but not by the package {package}, and no systemd unit "
            f"starts it: give it a unit called {unit.name}, or remove it (as by `pip uninstall "
            "supervisor`), so that this run installs the package"
        )
    is_masked = unit.enabled.startswith("masked")
    is_stopped = unit.is_there and unit.active != "active" and not is_masked
    if is_stopped and not supervisor.identity.supervisor_program:
        yield (
            f"{unit.name} does not run, and its ExecStart is not supervisord itself, so nobody can "
            "tell which files it would read: start it, then run again"
        )
    if supervisor.missing_folders:
        yield (
            f"supervisord would not start again, since {listed(supervisor.missing_folders)} "
            f"{parse.are(supervisor.missing_folders)} missing: run "
            f"{makes(supervisor.missing_folders)}"
        )


def listed(folders: Sequence[MissingFolder]) -> str:
    """Return the folders, each with what names it."""
    return ", ".join(one.words for one in folders)


def makes(folders: Sequence[MissingFolder]) -> str:
    """Return the commands that make these."""
    return " and ".join(f"`{make_folder(one.path, one.owner)}`" for one in folders)


def speaks_rpc(supervisor: Supervisor) -> bool:
    """Whether supervisord itself listens on the RPC's port, so that no restart has to open it."""
    pid = supervisor.unit.main_pid
    return pid > 0 and any(listener.pid == pid for listener in supervisor.listeners)


def port_holder(target: Target, seen: Seen) -> Iterator[str]:
    """Check that nobody else has the RPC's port."""
    supervisor = seen.supervisor
    if target.rpc_elsewhere or target.settings.supervisor_transport != "tcp":
        return
    if not supervisor.is_listening or speaks_rpc(supervisor):
        return
    holders = [" ".join(filter(None, (one.name, one.unit))) for one in supervisor.listeners]
    yield (
        f"port {target.rpc_port} is taken by {', '.join(holders) or 'a process outside this host'}"
        ": set supervisor_port to a free port, or supervisor_transport to unix"
    )


def unknown_programs(supervisor: Supervisor) -> str:
    """Say that nobody knows what supervisord runs; empty: that is known."""
    if supervisor.other_daemon:
        return supervisor.other_daemon
    if not supervisor.error:
        return ""
    return (
        f"the programs that supervisord runs are not known: {supervisor.error}. Correct that, so "
        "that `supervisorctl reread` and `supervisorctl status` work for root, then run again"
    )


def _files(target: Target, supervisor: Supervisor) -> Iterator[str]:
    """Check that supervisord will read our files, and no others with the same names."""
    site, root = target.site(), target.settings.misp_root
    ours = site.group_file
    if supervisor.conf and not is_included(ours, supervisor.include):
        yield (
            f"{supervisor.conf} does not include {ours}: add {site.include_dir}/*"
            f"{site.include_suffix} to the line `files` of its [include] section"
        )
    yield from other_misps(target, supervisor)
    for file, other in supervisor.group_elsewhere.items():
        if other not in ("", root):
            continue
        # Of two programs with one name supervisord silently takes the one that it reads last.
        yield (
            f"{file} has a group {GROUP}, or a program with the name of a MISP queue, but {ours} "
            "will have these names: rename it there, or take it out"
        )
    for section in supervisor.group_extra:
        yield (
            f"{ours} also has {section}, which this run would overwrite: move it to a file of its "
            "own. If it is MISP's scheduler, take it out, since the group gets one"
        )


def other_misps(target: Target, supervisor: Supervisor) -> Iterator[str]:
    """Name the worker groups of other MISPs, which nothing of ours may stop."""
    found = {target.site().group_file: supervisor.group_root, **supervisor.group_elsewhere}
    for file, root in found.items():
        if root not in ("", target.settings.misp_root):
            yield (
                f"{file} has the worker group of the MISP in {quoted(root, 200)}, and MISP fixes "
                "the group's name: give that MISP a supervisord of its own"
            )


def root_strays(workers: Workers) -> Iterator[str]:
    """Name this MISP's workers that root runs."""
    if workers.root_strays:
        yield (
            f"root runs MISP's workers ({', '.join(map(str, workers.root_strays))}) without a "
            "supervisord: end each (kill) while it runs no job, and run again"
        )


def elsewhere(workers: Workers) -> Iterator[str]:
    """Name this MISP's workers that this run cannot stop: MISP does not see them either."""
    if workers.elsewhere:
        where = "; ".join(
            f"{'PIDs' if len(pids) > 1 else 'PID'} {', '.join(map(str, pids))} in {place}"
            for place, pids in workers.elsewhere.items()
        )
        yield (
            f"workers of this MISP run outside of supervisord's group {GROUP} ({where}), so "
            "nothing stops them between two jobs: stop each while it runs no job, have nothing "
            "start it any more, then run again"
        )


def _own_rpc(target: Target, supervisor: Supervisor) -> Iterator[str]:
    """Check an [inet_http_server] that the operator made."""
    section = f"the [inet_http_server] in {target.rpc_elsewhere}"
    if target.settings.rotate_password:
        yield (
            f"rotate_password does not change {section}, which is yours: change the password "
            "there, restart supervisord, and run without rotate_password"
        )
    if not target.rpc_port or not target.rpc_user:
        yield f"{section} has no port or no username, but MISP needs both: complete or remove it"
        return
    if supervisor.inet_address.rpartition(":")[0] not in _LOOPBACK:
        yield (
            f"{section} listens on {supervisor.inet_address}, where other hosts can stop every "
            f"program: set port=127.0.0.1:{target.rpc_port} there and restart supervisord"
        )
    answer = supervisor.inet_answer
    # A supervisord that has run since before the section came is restarted by the RPC step.
    is_unread = bool(answer) and not supervisor.is_listening
    if supervisor.unit.active == "active" and answer != "ok" and not is_unread:
        yield (
            f"supervisord does not accept on port {target.rpc_port} the credentials that MISP "
            f"would use (answer: {answer or 'none'}): if the password in {section} is hashed, "
            "give it as supervisor_password. If that file was changed, restart supervisord"
        )


def _programs(target: Target, supervisor: Supervisor) -> Iterator[str]:
    if problem := unknown_programs(supervisor):
        yield problem
        return
    users = {one.user for one in parse.group_workers(supervisor.workers).values() if one.user}
    if target.web_user and (others := sorted(users - {target.web_user})):
        yield (
            f"workers run as {', '.join(others)}, but {target.web_user} must own them so that the "
            "deploy can pause them between jobs. When no job runs, run `supervisorctl stop "
            f"'{GROUP}:*'`, then run again"
        )
    foreign = parse.foreign_programs(supervisor.workers)
    needs_restart = target.settings.rotate_password or not speaks_rpc(supervisor)
    if foreign and needs_restart and not target.settings.allow_foreign_restart:
        yield (
            f"supervisord also runs {', '.join(foreign)}, and a restart to open its RPC stops "
            "them for some seconds: set allow_foreign_restart to true when that is acceptable"
        )
