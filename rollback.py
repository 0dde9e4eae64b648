"""Put a host back on its CakeResque workers, from any state that deploy.py can leave it in.

pyinfra inventories/production.py rollback.py --dry
pyinfra inventories/production.py rollback.py -y
"""

from tasks import preflight
from tasks.steps import rollback

target = preflight.examine_for_rollback()

if target:
    # Before the old workers start: they keep the settings they start with for all their jobs.
    rollback.backend_disabled(name="MISP: the new backend off", target=target)
    rollback.old_workers_started(name="Old workers: started as before", target=target)
    rollback.jobs_returned(name="New queues: their jobs moved back", target=target)
    rollback.everything_put_back(name="RPC, libraries, SELinux: as before", target=target)
