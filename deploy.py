"""Move MISP from the CakeResque workers to supervisord-run ones.

    pyinfra inventories/production.py deploy.py --dry     # what it would do
    pyinfra inventories/production.py deploy.py -y        # do it

The order is the guide's, made safe: settings before workers, proof before the old workers go.
"""

from tasks import preflight
from tasks.steps import (
    libraries,
    old_workers,
    packages,
    proof,
    rpc,
    scheduled_tasks,
    selinux,
    settings,
    workers,
)

target = preflight.examine()

if target:
    packages.installed(name="Packages: supervisor", target=target)
    libraries.present(name="PHP libraries: Composer's five", target=target)
    rpc.opened(name="supervisord: running, RPC on the loopback only", target=target)
    selinux.module_loaded(name="SELinux: module, label, boolean", target=target)
    settings.configured(name="MISP: settings, and the web tier has read them", target=target)
    workers.running(name="Workers: the group, exactly its processes", target=target)
    proof.proven(name="Proof: a job on every queue, MISP's own view", target=target)
    old_workers.drained(name="Drain: the old workers finish their jobs", target=target)
    old_workers.retired(name="Retire: the old workers stop for good", target=target)
    scheduled_tasks.handed_over(
        name="Scheduled tasks: to cron or MISP's own scheduler", target=target
    )
