"""The proof on the host: test jobs through every queue, and what a proof holds for."""

import hashlib
import json
from typing import Dict, List

from tasks.host import complaints, files, gate, proof_jobs, remedies, tree
from tasks.host import workers as workers_
from tasks.host.done import Done
from tasks.host.errors import HostError, with_details
from tasks.host.misp import Misp, misp_version
from tasks.host.parts import Proof
from tasks.host.site import Desired, Site
from tasks.host.waiting import Clock


class ProofError(HostError):
    """A test job did not come through."""


def look(one: Misp) -> Proof:
    """What was proven, and what a proof would hold for now."""
    return Proof(files.first_line(one.site.proven_file), evidence(one))


def evidence(one: Misp) -> str:
    """A digest of what a proof depends on; another value and the next run proves the set again.

    That is the group's file, where the queues are, and MISP's and PHP's version.
    """
    try:
        stored, php = one.stored(), one.bridge.once("php")
        version = gate.ask(one.user, tree.digest, one.site.misp_root + "/VERSION.json")
    except HostError:
        return ""
    block = stored.block
    redis = {key: block[key] for key in sorted(block) if key.startswith("redis_")}
    parts = [files.digest(one.site.group_file), str(version), redis, stored.is_on]
    parts.append(str(php.get("version")) if isinstance(php, dict) else "")
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def prove(site: Site, desired: Desired, workers: Dict[str, int], seconds: int) -> Done:
    """Send a job through every queue and wait for its end.

    Args:
        workers: how many each queue has.
        seconds: for a job, where a worker is free for it.
    """
    files.remove(site.proven_file)
    logs = complaints.Logs(site)
    with Misp(site, desired) as one:
        limits = proof_jobs.Limits(seconds, max(seconds, site.drain_timeout))
        marks = _marks_running_jobs(one)
        outcomes = proof_jobs.prove(one.new(), workers, limits, marks, Clock())
    bad = {queue: one.problem for queue, one in outcomes.items() if one.problem}
    if bad:
        raise _failure(site, one.user.name, bad, logs)
    jobs = tuple(one.job for one in outcomes.values())
    return Done(["%s: completed" % job.queue for job in jobs], proof=jobs)


def _failure(site: Site, user: str, bad: Dict[str, str], logs: complaints.Logs) -> ProofError:
    job = remedies.as_web_user(user, site.app + "/Console/cake", "Admin", "redisReady")
    error = ProofError(
        "a test job did not come through: %s%s. Correct that, then run again. `%s` does what such "
        "a job does; the whole logs are in %s"
        % (_by_problem(bad), logs.say(list(bad), _causes(bad)), job, site.log_dir)
    )
    return with_details(error, [*bad.values(), *logs.ends(list(bad))])


def _by_problem(bad: Dict[str, str]) -> str:
    """What went wrong, once each, with the queues; of an exception its own line alone."""
    queues: Dict[str, List[str]] = {}
    for queue, problem in bad.items():
        queues.setdefault(complaints.telling(problem), []).append(queue)
    return "; ".join("%s (%s)" % (line, ", ".join(some)) for line, some in queues.items())


def _causes(bad: Dict[str, str]) -> List[str]:
    """The errors by which jobs failed: workers write them to their logs as well."""
    return [complaints.telling(problem).partition("failed: ")[2] for problem in bad.values()]


def _marks_running_jobs(one: Misp) -> bool:
    """Whether a worker renews a key while its job runs: from MISP 2.4.184 on (StartWorkerShell)."""
    found = gate.ask(one.user, tree.look, one.site.misp_root)
    text = found.get("version", "") if isinstance(found, dict) else ""
    return misp_version(str(text)[:200]) >= (2, 4, 184)


def record(site: Site, desired: Desired, seconds: int) -> List[str]:
    """Remember what was proven, once its workers have stayed, so that the next run need not."""
    with Misp(site, desired) as one:
        proven = evidence(one)
    workers_.wait_until_stable(site, seconds)
    files.make_folder(site.state_dir)
    files.write(site.proven_file, proven.encode() + b"\n")
    return []
