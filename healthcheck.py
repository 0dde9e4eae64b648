"""Leave a health check on migrated hosts: /usr/local/sbin/misp-workers-check, for a monitor.

    pyinfra inventories/production.py healthcheck.py --dry
    pyinfra inventories/production.py healthcheck.py -y

rollback.py removes it.
"""

from tasks import preflight
from tasks.steps import healthcheck

target = preflight.examine_for_healthcheck()

if target:
    healthcheck.left(name="Health check: a program for a monitor", target=target)
