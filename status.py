"""Look at hosts and say how their workers are; changes nothing, on any host.

    pyinfra inventories/production.py status.py --dry

Without --dry (or -y) pyinfra asks for a confirmation before it goes on to do nothing.
"""

from tasks import status

status.reported()
