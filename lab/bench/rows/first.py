"""The first migration of a host: beside the guide's commands and Ansible, each on a fresh host.

A pair is a lab with a host of each family for each peer, which take turns. Packages are on the
hosts, so that the network is out of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lab import misp, run, verify
from lab.bench import deploy, logins, timeline
from lab.bench.measure import Sample, Summary, turns
from lab.bench.measure import measured as timed
from lab.bench.options import Options
from lab.bench.playbook import Playbook
from lab.bench.verdict import Figure, Section
from lab.console import heading, step
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec

DEPLOY, GUIDE, ANSIBLE = "deploy", "guide", "ansible"
PEERS = (DEPLOY, GUIDE, ANSIBLE)
BASES = {"debian-12": "2.5.1", "el-like": "2.4.199"}

STABLE_SECONDS = 8.0
"""How old the proof lets the new workers grow, see tasks/proof.py."""

MOST_OF_GUIDE = 1.25
MOST_OF_ANSIBLE = 0.5

NOTES = (
    "The guide's commands and the playbook prove nothing by a job, kill what an old worker is at "
    "(systemctl stop), and do not go back when something fails. The guide's commands also look at "
    "nothing beforehand, do not wait for old jobs, and let a worker count as running after 1 s "
    "where the deploy's group file and the playbook's say 5 s (startsecs). These seconds are in "
    "their times; the playbook looks at the old queues meanwhile.",
    "What proof and drain wait by design: the proof lets the new workers grow 8 s old (the test "
    "jobs, MISP's view and a first look at the old backend come meanwhile, and cost nothing); how "
    "long the drain slept between its looks is read from the log of each run.",
)

# apt gets the packages from a directory of the host; the RHEL family's repositories are local.
_KEEP_PACKAGES = r"""
set -eu
apt-get update -qq
apt-get install -y -qq python3-apt
install -d /srv/packages && cd /srv/packages
apt-get install -y -qq --download-only -o Dir::Cache::archives=/srv/packages supervisor
for deb in *.deb; do
    dpkg-deb --field "$deb"
    sum=$(sha256sum <"$deb" | cut -d' ' -f1)
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$sum"
done >Packages
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* partial lock
echo 'deb [trusted=yes] file:/srv/packages ./' >/etc/apt/sources.list.d/local.list
apt-get update -qq
"""


@dataclass(frozen=True)
class Migration:
    """One fresh host, migrated by one peer; the deploy's own has its run."""

    base: str
    peer: str
    sample: Sample
    origin: str
    done: run.Run | None


def measured(options: Options) -> Section:
    """Measure as many labs as there are pairs."""
    migrations: list[Migration] = []
    for number, order in enumerate(turns(PEERS, options.pairs), 1):
        heading(f"First migration, pair {number} of {options.pairs}")
        migrations += _pair(order)
    times = {base: _summaries(migrations, base) for base in BASES}
    runs = {
        base: [one.done for one in migrations if one.base == base and one.done] for base in BASES
    }
    waits = {base: [waited(done) for done in runs[base]] for base in BASES}
    return Section(
        "first",
        "First migration",
        figures=[figure for base in BASES for figure in judged(base, times[base], waits[base])],
        times=times,
        hosts={one.base: one.origin for one in migrations},
        profiles={f"First migration of {base}": _medians(runs[base]) for base in BASES},
        details={"waits_by_design": waits},
        notes=NOTES,
    )


def _pair(order: Sequence[str]) -> list[Migration]:
    with Lab.start(specs()) as lab, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        _prepare(lab)
        ansible = Playbook(lab, Path(folder))
        return [
            _migrated(lab, lab[_name(base, peer)], peer, ansible)
            for base in BASES
            for peer in order
        ]


def _summaries(migrations: list[Migration], base: str) -> dict[str, Summary]:
    return {
        peer: Summary(
            tuple(one.sample for one in migrations if (one.base, one.peer) == (base, peer))
        )
        for peer in PEERS
    }


def _medians(runs: list[run.Run]) -> dict[str, float]:
    """Where the deploy's seconds go, by operation."""
    found = [timeline.operations(done.stamped, done.seconds) for done in runs]
    return {name: round(median(one[name] for one in found), 2) for name in found[0]}


def judged(base: str, by: dict[str, Summary], waits: list[dict[str, float]]) -> list[Figure]:
    """Judge the deploy's time: what it waits by design is allowed on top of the guide's part."""
    own, guide, ansible = (by[peer].seconds for peer in PEERS)
    by_design = median(sum(wait.values()) for wait in waits)
    limit = MOST_OF_GUIDE * guide + by_design
    parts = (
        f"limit {MOST_OF_GUIDE:g} x {guide:.1f} s of the guide + {by_design:.1f} s that proof and "
        f"drain wait; it took {(own - by_design) / guide:.2f} x the guide and these"
    )
    return [
        Figure(f"deploy, fresh {base}", own, limit, "s", parts),
        Figure(
            f"deploy / ansible, fresh {base}",
            own / ansible,
            MOST_OF_ANSIBLE,
            "x",
            f"{own:.1f} s, of which proof and drain wait {by_design:.1f} s / {ansible:.1f} s, of "
            f"which the workers take 5 s to be RUNNING",
        ),
    ]


def waited(done: run.Run) -> dict[str, float]:
    """How long proof and drain waited by design in this run.

    Raises:
        LabError: when the log shows no proof or no drain, since nothing was waited for then.
    """
    seen = {one.name for one in timeline.commands(done.stamped)}
    if missing := {"record_proof", "legacy"} - seen:
        raise LabError(f"The deploy's log shows no {' and no '.join(sorted(missing))}.")
    return {"proof": STABLE_SECONDS, "drain": round(timeline.pauses(done.stamped, "Drain"), 2)}


def specs() -> list[HostSpec]:
    """Give a fresh host of each family to each peer."""
    return [
        HostSpec(_name(base, peer), base, profile=profile)
        for base, profile in BASES.items()
        for peer in PEERS
    ]


def _name(base: str, peer: str) -> str:
    return f"{peer}-{base}"


def _prepare(lab: Lab) -> None:
    with step("packages onto the hosts"), ThreadPoolExecutor() as pool:
        fresh = [host for host in lab if host.family == "debian"]
        list(pool.map(lambda host: host.exec(_KEEP_PACKAGES, timeout=300), fresh))


def _migrated(lab: Lab, host: LabHost, peer: str, ansible: Playbook) -> Migration:
    done: list[run.Run] = []
    php_unit = misp.php_unit(host)

    def migrate() -> None:
        # With its log, which costs it a little, and from which its waits are read.
        options = ["-y", "--debug", *deploy.limits([host])]
        done.append(run.pyinfra(lab, "deploy.py", *options).check())

    ways: dict[str, Callable[[], object]] = {
        DEPLOY: migrate,
        GUIDE: lambda: logins.migrate(host, php_unit),
        ANSIBLE: lambda: ansible.migrate(host),
    }
    with step(f"{host.spec.base}: {peer}"):
        sample = timed(ways[peer])
    _check(host)
    return Migration(host.spec.base, peer, sample, host.origin, next(iter(done), None))


def _check(host: LabHost) -> None:
    """A time is one only when the host is migrated, whoever did it."""
    found = [
        verify.check_worker_set(host),
        verify.check_processes(host),
        verify.check_old_service(host),
        verify.check_new_jobs(host),
        verify.check_web(host),
    ]
    if bad := [f"{check.name}: {check.seen}" for check in found if not check.ok]:
        raise LabError(f"{host.name} is not migrated: {'; '.join(bad)}")
