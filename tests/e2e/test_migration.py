"""The whole story on each system and stub profile: dry run, run, run again, reboot.

The lab has the hosts that the chosen tests name: `-k misp-ubuntu` starts one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest
import testinfra

from lab import misp, run, verify
from lab.bases import Bases, lookup
from lab.engine import Engine
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import MISP_DEBIAN, MISP_EL, MISP_TRIXIE, MISP_UBUNTU, QUEUES, HostSpec
from lab.waiting import wait_for
from tests.e2e import observe, secrecy
from tests.labs import started

MISP_JAMMY = HostSpec("misp-jammy", "ubuntu-22.04", launcher="unit-execstop")
MISP_FOCAL = HostSpec("misp-focal", "ubuntu-20.04", profile="2.4.199")  # its PHP is 7.4
OLDER_UBUNTUS = (MISP_JAMMY, MISP_FOCAL)
SPECS = (MISP_DEBIAN, MISP_EL, MISP_TRIXIE, MISP_UBUNTU, *OLDER_UBUNTUS)
MAY_BE_MISSING = (MISP_UBUNTU, *OLDER_UBUNTUS)
OLD_JOBS_FROM = 101
HOSTS = pytest.mark.parametrize(
    "name",
    [
        pytest.param(spec.name, marks=pytest.mark.resilience if spec in OLDER_UBUNTUS else ())
        for spec in SPECS
    ],
)


@pytest.fixture(scope="module")
def missing(engine: Engine) -> dict[str, str]:
    """Why a host cannot be had here, by its name."""
    bases = Bases(engine)
    reasons = {spec.name: bases.why_not(lookup(spec.base)) for spec in MAY_BE_MISSING}
    return {name: f"no {name}: {reason}" for name, reason in reasons.items() if reason}


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, engine: Engine, missing: dict[str, str]) -> Iterator[Lab]:
    chosen = {
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    }
    specs = [spec for spec in SPECS if spec.name in chosen - missing.keys()]
    if not specs:
        pytest.skip("; ".join(missing[name] for name in sorted(chosen)))
    with started(request.config, specs) as running:
        yield running


@pytest.fixture(autouse=True)
def _skip_a_missing_host(missing: dict[str, str], name: str) -> None:
    if reason := missing.get(name):
        pytest.skip(reason)


@dataclass
class Story:
    """What was seen at each point of it; every dict is by host name."""

    lab: Lab
    fresh: dict[str, observe.Snapshot]
    tree: dict[str, dict[str, tuple[str, str]]]
    planned: run.Run
    planned_in_full: run.Run
    looked_at: dict[str, observe.Snapshot]
    old_jobs: dict[str, list[int]]
    first: run.Run
    arguments: dict[str, set[str]]
    workers: dict[str, list[verify.Worker]]
    migrated: dict[str, observe.Snapshot]
    second: run.Run
    workers_after: dict[str, list[verify.Worker]]
    unchanged: dict[str, observe.Snapshot]


def is_idle(host: LabHost) -> bool:
    """The old workers have done the jobs that the lab gave them."""
    return len(misp.ledger(host)) == host.spec.waiting_jobs * len(QUEUES)


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Story]:
    """Live through the migration once; the tests look at what was seen."""
    for host in lab:
        wait_for(partial(is_idle, host), 60, f"{host.name}: the old workers to be idle")
    fresh = {host.name: observe.snapshot(host) for host in lab}
    tree = {host.name: observe.tree(host) for host in lab}
    planned = run.plan(lab)
    planned_in_full = run.pyinfra(lab, "deploy.py", "--dry", "--diff", "-vvv", "--debug")
    looked_at = {host.name: observe.snapshot(host) for host in lab}
    old_jobs = {host.name: misp.enqueue(host, 2, first=OLD_JOBS_FROM, seconds=2) for host in lab}
    with secrecy.kept(lab) as watches:
        first = run.apply(lab, "-vvv", "--debug")
        workers = {host.name: verify.workers(host) for host in lab}
        migrated = {host.name: observe.snapshot(host) for host in lab}
        second = run.apply(lab, "-vvv", "--debug")
    yield Story(
        lab=lab,
        fresh=fresh,
        tree=tree,
        planned=planned,
        planned_in_full=planned_in_full,
        looked_at=looked_at,
        old_jobs=old_jobs,
        first=first.check(),
        arguments={name: watch.arguments for name, watch in watches.items()},
        workers=workers,
        migrated=migrated,
        second=second.check(),
        workers_after={host.name: verify.workers(host) for host in lab},
        unchanged={host.name: observe.snapshot(host) for host in lab},
    )


@HOSTS
def test_a_dry_run_changes_nothing(story: Story, name: str) -> None:
    assert story.planned.ok
    assert story.planned_in_full.ok
    assert story.fresh[name].differences(story.looked_at[name]) == []


@HOSTS
def test_a_dry_run_predicts_exactly_what_the_run_changes(story: Story, name: str) -> None:
    predicted = {operation.op_hash for operation in story.planned.plan if name in operation.change}
    changed = {
        operation.op_hash for operation in story.first.operations if name in operation.success
    }
    assert predicted
    assert predicted == changed
    assert not any(operation.conditional for operation in story.planned.plan)


@HOSTS
def test_everything_holds_that_is_looked_at_by_other_means(story: Story, name: str) -> None:
    checks = verify.check_host(story.lab[name], story.old_jobs[name])
    assert [f"{check.name}: {check.seen}" for check in checks if not check.ok] == []
    assert len(checks) >= 6


@HOSTS
def test_a_canary_was_run_in_every_queue_by_the_new_workers(story: Story, name: str) -> None:
    canaries = [
        entry["queue"]
        for entry in misp.ledger(story.lab[name])
        if entry["backend"] == "simple" and entry["args"] == ["redisReady"]
    ]
    assert sorted(canaries) == ["cache", "default", "email", "prio", "update"]


@HOSTS
def test_no_old_job_was_cut(story: Story, name: str) -> None:
    # The stub keeps a note of each job that is taken until it has ended.
    assert story.lab[name].exec("ls /var/lib/misp-stub/inflight").stdout.split() == []


@HOSTS
def test_the_second_run_changes_nothing_and_restarts_nothing(story: Story, name: str) -> None:
    assert story.second.changed == ()
    assert story.second.operations
    assert story.workers[name] == story.workers_after[name]
    assert len(story.workers[name]) == 21
    assert story.migrated[name].differences(story.unchanged[name]) == []


@HOSTS
def test_nothing_in_the_misp_tree_got_another_owner_or_mode(story: Story, name: str) -> None:
    host, before = story.lab[name], story.tree[name]
    after = observe.tree(host)
    kept = before.keys() & after.keys()
    assert {p: (before[p], after[p]) for p in kept if before[p] != after[p]} == {}
    owner = f"{host.spec.web_user}:{host.spec.web_user}"
    new = [p for p in after.keys() - before.keys() if not after[p][0].startswith("l ")]
    assert {p: after[p] for p in new if after[p][1] != owner} == {}
    assert {p: after[p] for p in new if int(after[p][0].split()[1], 8) & 0o002} == {}
    # As in any setgid folder, so that the tree's group has what Composer brings.
    folders = [p for p in new if after[p][0].startswith("d ")]
    shared = [p for p in folders if after[p.rpartition("/")[0]][0].startswith("d 2")]
    assert {p: after[p] for p in shared if not after[p][0].startswith("d 2")} == {}
    assert any(p.startswith(f"{host.spec.misp_root}/app/Vendor/") for p in folders)


@HOSTS
def test_secrets_are_in_no_output_argument_journal_or_open_file(story: Story, name: str) -> None:
    # The rest was asserted when the run ended, see secrecy.kept.
    secret = observe.supervisor_password(story.lab[name])
    assert len(secret) >= 32
    assert secret.isalnum()
    assert any("start_worker" in line for line in story.arguments[name])
    holders = observe.files_with(story.lab[name], secret)
    config = f"{story.lab[name].spec.misp_root}/app/Config/config.php"
    assert holders == [f"{config} 660 {story.lab[name].spec.web_user}"]


@HOSTS
def test_supervisords_own_files_are_root_s_and_hold_only_a_hash(story: Story, name: str) -> None:
    host = story.lab[name]
    folder = "/etc/supervisor/conf.d" if host.family == "debian" else "/etc/supervisord.d"
    suffix = "conf" if host.family == "debian" else "ini"
    rpc, state, logs = (
        f"{folder}/misp-rpc.{suffix}",
        observe.MIGRATION_STATE,
        "/var/log/misp-workers",
    )
    modes = host.exec(["stat", "-c", "%a %U:%G", rpc, state, logs]).stdout.splitlines()
    assert modes == ["600 root:root", "700 root:root", f"750 root:{host.spec.web_user}"]
    text = host.read(rpc)
    assert "port=127.0.0.1:9001" in text
    assert "password={SHA}" in text


@pytest.mark.filterwarnings("ignore:Unknown ssh-ed25519 host key")
@HOSTS
def test_twenty_one_named_workers_run_as_testinfra_sees_them(story: Story, name: str) -> None:
    host = story.lab[name]
    seen = testinfra.get_host(
        f"paramiko://deploy@127.0.0.1:{host.ssh_port}",
        ssh_identity_file=host.data["ssh_key"],
        sudo=True,
    )
    names = {service.name: service.status for service in seen.supervisor.get_services()}
    queues = {"default": 5, "email": 5, "cache": 5, "prio": 5, "update": 1}
    assert names == {
        f"misp-workers:{queue}_{number:02d}": "RUNNING"
        for queue, count in queues.items()
        for number in range(count)
    }


@pytest.mark.parametrize("name", [MISP_EL.name])
def test_the_el_like_host_built_the_selinux_module(story: Story, name: str) -> None:
    built = story.lab[name].exec(f"cat {observe.MIGRATION_STATE}/selinux-module").stdout
    assert len(built.strip()) == 64
    assert any("misp-workers-httpd.pp" in line for line in story.arguments[name])


@HOSTS
def test_a_reboot_brings_the_new_set_back_and_not_the_old_one(story: Story, name: str) -> None:
    host: LabHost = story.lab[name]
    host.restart()
    wait_for(lambda: verify.check_worker_set(host).ok, 60, "the worker set after the reboot")
    checks = [verify.check_old_service(host), verify.check_new_jobs(host), verify.check_web(host)]
    assert [f"{check.name}: {check.seen}" for check in checks if not check.ok] == []
