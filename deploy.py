"""Move MISP from the CakeResque workers to supervisord-run ones.

    pyinfra inventories/production.py deploy.py --dry     # what it would do
    pyinfra inventories/production.py deploy.py -y        # do it

The order is the guide's, made safe: settings before workers, proof before the old workers go.
"""

from tasks import legacy, libraries, misp, packages, preflight, proof, rpc, selinux, workers

target = preflight.examine()

if target:
    packages.installed(name="Packages: supervisor", target=target)
    libraries.present(name="PHP libraries: Composer's five", target=target)
    rpc.opened(name="supervisord: running, RPC on the loopback only", target=target)
    selinux.module_loaded(name="SELinux: module, label, boolean", target=target)
    misp.configured(name="MISP: settings, and the web tier has read them", target=target)
    workers.running(name="Workers: the group, exactly its processes", target=target)
    proof.proven(name="Proof: a job on every queue, MISP's own view", target=target)
    legacy.drained(name="Drain: the old workers finish their jobs", target=target)
    legacy.retired(name="Retire: the old workers stop for good", target=target)
