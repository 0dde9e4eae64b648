"""Whether each step has something to do, and why. Pure.

The steps decide by these functions, and so does the forecast (forecast.py): a dry run and the run
agree. Each function gives its reasons; none: there is nothing to do.
"""

from __future__ import annotations

import hashlib
from typing import Protocol, TypeVar

from tasks import misp_rest, parse, render
from tasks.host import parts
from tasks.host import selinux as host_selinux
from tasks.host.site import LOG_DIR
from tasks.target import Target

Part = TypeVar("Part")


class Ask(Protocol):
    """Gives one part of what is true on the host, by its class.

    Of `misp_rest.View` it gives `None` where no URL is known.
    """

    def __call__(self, kind: type[Part], /) -> Part:
        """Ask for that part."""


# --- what each step of a migration decides by ---------------------------------------------------


def packages(target: Target, ask: Ask) -> list[str]:
    """What is missing, or left half-way."""
    seen = ask(parts.Packages)
    missing = [name for name in target.wanted(seen) if name not in seen.installed]
    reasons = [f"{name} is not installed" for name in missing]
    return reasons + ["an install that was cut off has left supervisord masked"] * seen.is_masked


def libraries(_target: Target, ask: Ask) -> list[str]:
    """Which classes do not load."""
    seen = ask(parts.Libraries)
    if seen.are_in_place:
        return []
    if seen.is_unfinished:
        return ["a run of Composer was cut off"]
    return [f"{name} does not load" for name in seen.missing] or ["PHP did not tell its classes"]


def rpc(target: Target, ask: Ask) -> list[str]:
    """Why supervisord is not there for MISP as it should be."""
    seen, unit = ask(parts.Rpc), ask(parts.Supervisor).unit
    faults = {
        "supervisord does not run": unit.active != "active",
        "supervisord does not start at boot": unit.enabled != "enabled",
        "supervisord does not answer as MISP asks": seen.answer != "ok",
        "its unit does not make the folders of logs": not seen.keeps_log_folders,
        "the RPC's file is not current": not (target.rpc_elsewhere or seen.is_current),
        "a new password is wanted": target.settings.rotate_password,
    }
    return [fault for fault, is_there in faults.items() if is_there]


def restarts_supervisord(target: Target, ask: Ask) -> bool:
    """Whether supervisord, with all that it runs, is started or started anew."""
    is_stopped = ask(parts.Supervisor).unit.active != "active"
    return target.settings.rotate_password or ask(parts.Rpc).answer != "ok" or is_stopped


def selinux_digest() -> str:
    """The SHA-256 of the module's source, as the host keeps it once that is built."""
    return hashlib.sha256(render.selinux_module().encode()).hexdigest()


def selinux(target: Target, ask: Ask) -> list[str]:
    """What the guide's "Make SELinux happy" lacks."""
    if target.selinux == "none":
        return []
    seen = ask(parts.Selinux)
    faults = [] if seen.built == selinux_digest() else ["the module is not built"]
    if target.selinux == "load":
        faults += [] if seen.is_loaded else ["the module is not loaded"]
        is_labelled = seen.cake_label == seen.cake_rule == host_selinux.CAKE_TYPE
        faults += [] if is_labelled else ["cake has another label"]
        faults += [] if seen.has_network else [f"{host_selinux.BOOLEAN} is off"]
    return faults


def wrong_settings(target: Target, seen: parts.Settings) -> list[str]:
    """Names of settings that are absent, of another value or of another type, in order."""
    return parse.wrong_settings(seen, target.misp_settings(), strict=not target.database_mode)


def has_new_password(target: Target, seen: parts.Settings) -> bool:
    """Whether MISP is to get a password; a dry run knows that a rotation will make one."""
    return seen.is_pending or target.settings.rotate_password


def settings(target: Target, ask: Ask) -> list[str]:
    """Which settings MISP lacks, and whether its web tier has older ones."""
    seen = ask(parts.Settings)
    reasons = [f"{name} is another" for name in wrong_settings(target, seen)]
    if has_new_password(target, seen):
        reasons.append("MISP has no new password yet")
    if not reasons and ask(parts.Web).is_stale:
        reasons.append("the web tier has older settings")
    return reasons


def group_digest(target: Target) -> str:
    """The SHA-256 of the worker group's file as it is to be."""
    return hashlib.sha256(target.group_text().encode()).hexdigest()


def group_faults(target: Target, ask: Ask) -> list[str]:
    """What keeps the worker group from being loaded and exactly the wanted set."""
    seen, digest = ask(parts.Workers), group_digest(target)
    faults = []
    if seen.digest != digest:
        faults.append("the group's file is not current")
    if not seen.has_log_dir:
        faults.append(f"{LOG_DIR} is not as it should be")
    if seen.applied != digest:
        faults.append("supervisord has not loaded the current file")
    faults += [f"PID {pid} is a worker of a killed supervisord" for pid in seen.strays]
    return faults + parse.wrong_workers(ask(parts.Supervisor).workers, target.process_names)


def workers(target: Target, ask: Ask) -> list[str]:
    """`group_faults`, and what a step that was cut off has left."""
    faults = group_faults(target, ask)
    if aside := ask(parts.NewBackend).aside:
        faults.append(f"a step that was cut off has set {aside} job(s) aside")
    return faults


def view_faults(target: Target, ask: Ask) -> list[str]:
    """Where supervisord's and MISP's views of the workers differ from the wanted set."""
    faults = parse.wrong_workers(ask(parts.Supervisor).workers, target.process_names)
    faults += parse.wrong_misp_view(ask(parts.View), target.worker_counts)
    return faults + misp_rest.faults(target, ask(misp_rest.View))


def proof(target: Target, ask: Ask) -> list[str]:
    """Why the proof that is there, if one is, does not hold."""
    seen = ask(parts.Proof)
    if not seen.proven:
        return ["the workers are not proven"]
    if seen.proven != seen.evidence:
        return ["the workers were proven with another file, other settings or versions"]
    return view_faults(target, ask)


def drain(_target: Target, ask: Ask) -> list[str]:
    """Whether there are old workers, or jobs of theirs, to wait for."""
    old = ask(parts.OldBackend)
    reasons = {
        "the old backend cannot be asked": bool(old.error),
        "old workers live, or something starts them": ask(parts.OldWorkers).live,
        "the old backend has jobs": bool(old.convertible),
    }
    return [reason for reason, is_there in reasons.items() if is_there]


def retire(_target: Target, ask: Ask) -> list[str]:
    """Whether old workers are to end, or entries of dead ones to go."""
    if ask(parts.OldWorkers).live:
        return ["old workers live, or something starts them"]
    return ["dead old workers are entered in Redis"] if ask(parts.OldBackend).stale else []


def scheduled_tasks(_target: Target, ask: Ask) -> list[str]:
    """Whether tasks are left that the end of the old workers did not hand over."""
    if not ask(parts.ScheduledTasks).left or ask(parts.OldWorkers).live:
        return []
    return ["the old backend has scheduled tasks"]


def health_check(target: Target, ask: Ask) -> list[str]:
    """Whether the program for a monitor is not there, or another."""
    text = target.health_check(ask(parts.Supervisor).unix_socket)
    is_there = ask(parts.HealthCheck).digest == hashlib.sha256(text.encode()).hexdigest()
    return [] if is_there else ["the health check is not there as it should be"]


# --- the way back -------------------------------------------------------------------------------


def backend_on(_target: Target, ask: Ask) -> list[str]:
    """Whether MISP uses the new backend."""
    return ["the new backend is on"] if ask(parts.Settings).is_on else []


def old_workers(_target: Target, ask: Ask) -> list[str]:
    """How the old workers, and what starts them, differ from before the migration."""
    seen = ask(parts.Originals)
    reasons = {
        "the old workers' units are not as before": _states(seen.units_before)
        != _states(seen.units_now),
        "files that start old workers are not as before": seen.are_launchers_out,
        "queues have no old worker": bool(seen.unserved),
    }
    return [reason for reason, is_there in reasons.items() if is_there]


def _states(units: list[parts.Unit]) -> list[tuple[str, str, str]]:
    return sorted(
        (unit.name, unit.active.replace("activating", "active"), unit.enabled) for unit in units
    )


def migrated(_target: Target, ask: Ask) -> list[str]:
    """Whether the host's state before a migration is kept."""
    return ["the host was migrated"] if ask(parts.Originals).is_kept else []
