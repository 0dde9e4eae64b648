"""Something goes on using the old backend, by settings from before: named, and nothing lost."""

from __future__ import annotations

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from tests.e2e import observe

SPECS = (HostSpec("stale", "el-like", profile="2.4.199", waiting_jobs=0),)
LIMIT = 12
# As a second web server of the same MISP would, that nobody told.
STALE_WRITER = """
number=5000
while [ ! -e /run/stale-writer.stop ]; do
    number=$((number + 1))
    php "$1/app/Console/stub_enqueue.php" --legacy --queue prio --number $number
    sleep 1
done
"""


def start_stale_writer(host: LabHost) -> None:
    misp.replace(host, "/usr/local/bin/stale-writer", STALE_WRITER)
    as_web_user = f"setpriv --reuid {host.spec.web_user} --clear-groups"
    run_it = f"{as_web_user} sh /usr/local/bin/stale-writer {host.spec.misp_root}"
    host.exec(f"setsid {run_it} >/dev/null 2>&1 &")


def test_a_writer_with_old_settings_is_named_and_loses_nothing(lab: Lab) -> None:
    host = lab["stale"]
    start_stale_writer(host)
    for policy in ("stop", "convert"):
        limit = ("--data", f"drain_timeout={LIMIT}")
        stopped = run.apply(lab, *limit, "--data", f"on_leftover_jobs={policy}")
        assert stopped.exit_code == 1
        assert f"drain limit of {LIMIT} s reached" in stopped.stderr
        assert "something still uses the old backend, by settings from before" in stopped.stderr
        assert observe.old_workers_live(host)
    host.exec("touch /run/stale-writer.stop")
    run.apply(lab).check()
    sent = [e["number"] for e in misp.ledger(host) if e["backend"] == "resque" and e.get("number")]
    assert sent == list(range(5001, 5001 + len(sent)))
    assert len(sent) >= LIMIT
    assert verify.check_old_service(host).ok
