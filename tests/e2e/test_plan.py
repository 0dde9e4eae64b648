"""A plan says what comes, files to the byte, also on hosts that were changed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import misp, run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tasks.host.diffs import LATER
from tasks.plan import document
from tasks.plan.document import Document
from tasks.report import events
from tests.e2e import observe

DEBIAN = HostSpec("plan-debian", "debian-12", launcher="rc-local", waiting_jobs=0)
EL = HostSpec(
    "plan-el",
    "el-like",
    profile="2.4.199",
    redis="shared",
    launcher="cron-reboot",
    waiting_jobs=0,
    data={"selinux": "build"},
)
SPECS = (DEBIAN, EL)
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])
GROUP = {
    "debian": "/etc/supervisor/conf.d/misp-workers.conf",
    "rhel": "/etc/supervisord.d/misp-workers.ini",
}


def plans(lab: Lab, deploy: str = "deploy.py") -> tuple[run.Run, dict[str, Document]]:
    """A dry run, and the plan that it tells of each host."""
    seen = run.pyinfra(lab, deploy, "--dry", "--json", environment={events.VARIABLE: "2"}).check()
    lines = [line for line in seen.stderr.splitlines() if line.startswith('{"kind": "plan"')]
    told = [Document(**json.loads(line)["plan"]) for line in lines]
    return seen, {plan.host: plan for plan in told}


def names(operations: tuple[run.Operation, ...], name: str, kind: str) -> set[str]:
    return {one.name for one in operations if name in getattr(one, kind)}


def agree(planned: run.Run, done: run.Run, lab: Lab) -> dict[str, set[str]]:
    """The steps that each host took, which must be those that the dry run has named."""
    said = {host.name: names(planned.plan, host.name, "change") for host in lab}
    took = {host.name: names(done.operations, host.name, "success") for host in lab}
    assert said == took
    return {name: {title.partition(":")[0] for title in titles} for name, titles in took.items()}


def unlike(host: LabHost, plan: Document) -> list[str]:
    """Files that are not what the plan has said of them last."""
    changes = [
        one for step in plan.steps for one in step.changes if one.kind == "file" and one.diff
    ]
    said = {one.name: one.after for one in changes if one.after != LATER and not one.volatile}
    paths = " ".join(said)
    found = host.exec(f"sha256sum {paths} 2>/dev/null", check=False).stdout.splitlines()
    now = {path: digest for digest, path in (line.split() for line in found)}
    assert said
    return [path for path, digest in said.items() if now.get(path, "") != digest]


@dataclass
class Story:
    lab: Lab
    planned: run.Run
    plans: dict[str, Document]
    path: Path
    done: run.Run


@pytest.fixture(scope="module")
def story(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Story:
    misp.install_stopped_supervisor(lab[EL.name])
    planned, told = plans(lab)
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    document.save(path, told, "inventories/lab.py")
    done = run.apply(lab, "--data", f"approved_plan={path}").check()
    return Story(lab, planned, told, path, done)


@HOSTS
def test_the_files_are_what_the_plan_has_said(story: Story, name: str) -> None:
    host = story.lab[name]
    assert unlike(host, story.plans[name]) == []
    assert observe.faults(host) == []


def test_the_plan_names_the_steps_and_what_they_take_away(story: Story) -> None:
    agree(story.planned, story.done, story.lab)
    for name, path in ((DEBIAN.name, "/etc/rc.local"), (EL.name, "/etc/cron.d/misp-workers")):
        (change,) = (
            one for step in story.plans[name].steps for one in step.changes if one.name == path
        )
        taken_out = [
            line for line in change.diff if line.startswith("+") and "misp-workers-mig" in line
        ]
        assert len(taken_out) == 1


def test_a_plan_shows_no_secret(story: Story) -> None:
    text = story.path.read_text() + story.planned.stderr
    secrets = [observe.supervisor_password(host) for host in story.lab]
    secrets.append(Path(story.lab[EL.name].data["misp_redis_password"]["file"]).read_text().strip())
    assert len(secrets) == 3
    assert [one for one in secrets if one in text] == []


def test_a_plan_that_is_done_is_applied_again_and_nothing_happens(story: Story) -> None:
    again = run.apply(story.lab, "--data", f"approved_plan={story.path}").check()
    assert again.changed == ()
    assert all(plan.steps == [] for plan in plans(story.lab)[1].values())


def stop_a_worker(host: LabHost) -> None:
    host.exec("supervisorctl stop misp-workers:cache_00")


def count_by_hand(host: LabHost) -> None:
    host.exec(f"sed -i 0,/numprocs=5/s//numprocs=6/ {GROUP[host.family]} && supervisorctl update")


def remove_the_group(host: LabHost) -> None:
    host.exec(["rm", GROUP[host.family]])


def stop_supervisord(host: LabHost) -> None:
    host.exec(["systemctl", "stop", misp.supervisor_unit(host.spec)])


def remove_libraries(host: LabHost) -> None:
    host.exec(f"rm -r {host.spec.misp_root}/app/Vendor/lstrojny")


PROVE = {"Workers", "Proof"}


@pytest.mark.parametrize(
    ("on_debian", "on_el", "steps"),
    [
        (stop_a_worker, count_by_hand, (PROVE, PROVE)),
        (stop_supervisord, remove_the_group, ({"supervisord"}, PROVE)),
        (remove_libraries, stop_supervisord, ({"PHP libraries"}, {"supervisord"})),
    ],
)
def test_what_was_changed_by_hand_is_put_back_as_the_dry_run_says(
    story: Story,
    on_debian: Callable[[LabHost], None],
    on_el: Callable[[LabHost], None],
    steps: tuple[set[str], set[str]],
) -> None:
    lab = story.lab
    on_debian(lab[DEBIAN.name])
    on_el(lab[EL.name])
    planned, told = plans(lab)
    done = run.apply(lab).check()
    assert agree(planned, done, lab) == {DEBIAN.name: steps[0], EL.name: steps[1]}
    assert all(told[host.name].steps for host in lab)
    for host in lab:
        wait_for(lambda host=host: observe.faults(host) == [], 20, "the workers")  # type: ignore[misc]


def test_a_host_that_was_changed_since_is_refused_and_the_change_named(
    story: Story, tmp_path: Path
) -> None:
    lab, path = story.lab, tmp_path / "plan.json"
    group = GROUP["debian"]
    lab[DEBIAN.name].exec(f"echo '; first' >>{group}")
    lab[EL.name].exec(f"echo '; first' >>{GROUP['rhel']}")
    document.save(path, plans(lab)[1], "inventories/lab.py")
    lab[DEBIAN.name].exec(f"echo '; second' >>{group}")
    done = run.apply(lab, "--data", f"approved_plan={path}")
    assert done.failed_hosts == (DEBIAN.name,)
    assert f"since the plan was approved, {group} is another" in done.stderr
    assert names(done.operations, EL.name, "success")
    assert lab[DEBIAN.name].read(group).endswith("; second\n")
    run.apply(lab).check()


def test_a_rollback_is_planned_to_the_byte_as_well(story: Story) -> None:
    lab = story.lab
    planned, told = plans(lab, "rollback.py")
    done = run.apply(lab, deploy="rollback.py").check()
    agree(planned, done, lab)
    for host in lab:
        assert unlike(host, told[host.name]) == []
