"""The proof on the host: test jobs through every queue, and what a proof holds for."""

import hashlib
import json
import os
from typing import Dict, List

from tasks.host import files, gate, proof_jobs, tree, workers
from tasks.host.clock import Clock
from tasks.host.errors import HostError
from tasks.host.misp import Misp
from tasks.host.parts import Proof
from tasks.host.site import Desired, Site


class ProofError(HostError):
    """A test job did not come through."""


def look(one: Misp) -> Proof:
    """What was proven, and what a proof would hold for now."""
    return Proof(files.first_line(_file(one.site)), evidence(one))


def _file(site: Site) -> str:
    return site.state_dir + "/proven"


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


def prove(site: Site, desired: Desired, workers: Dict[str, int], seconds: int) -> List[str]:
    """Send a job through every queue and wait for its end.

    Args:
        workers: how many each queue has.
        seconds: for a job, where a worker is free for it.
    """
    files.remove(_file(site))
    with Misp(site, desired) as one:
        limits = proof_jobs.Limits(seconds, max(seconds, site.drain_timeout))
        marks = _marks_running_jobs(one)
        outcomes = proof_jobs.prove(one.new(), workers, limits, marks, Clock())
    bad = ["%s: %s" % (outcome.queue, outcome.problem) for outcome in outcomes if outcome.problem]
    if bad:
        raise ProofError(
            "a test job did not come through: %s. The ends of the workers' logs: %s"
            % ("; ".join(bad), log_ends(site))
        )
    return ["%s: completed" % outcome.queue for outcome in outcomes]


def _marks_running_jobs(one: Misp) -> bool:
    """Whether a worker renews a key while its job runs: from MISP 2.4.184 on (StartWorkerShell)."""
    from tasks.host.look import misp_version

    found = gate.ask(one.user, tree.look, one.site.misp_root)
    text = found.get("version", "") if isinstance(found, dict) else ""
    return misp_version(str(text)[:200]) >= (2, 4, 184)


def log_ends(site: Site) -> str:
    """The last line of each worker log that says something, for an error's text."""
    ends = []
    for name in sorted(os.listdir(site.log_dir)) if os.path.isdir(site.log_dir) else []:
        with open(site.log_dir + "/" + name, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2000))
            lines = file.read(2000).decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if said:
            ends.append("%s: %s" % (name, said[-1][-200:]))
    return " | ".join(ends[:6]) or "empty"


def record(site: Site, desired: Desired, seconds: int) -> List[str]:
    """Remember what was proven, once its workers have stayed, so that the next run need not."""
    with Misp(site, desired) as one:
        proven = evidence(one)
    workers.wait_until_stable(site, seconds)
    files.make_folder(site.state_dir)
    files.write(_file(site), proven.encode() + b"\n")
    return []
