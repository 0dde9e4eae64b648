"""What pyinfra executes before it connects to any host, whatever the inventory is.

`misp-workers` always has pyinfra execute this file. A config.py in the operator's own folder comes
after it, so that it adds to these rules and does not switch them off by being there.
"""

import runpy
from pathlib import Path

from tasks import before_connect

before_connect.follow_ssh_config()
before_connect.try_a_password_once()

_own = Path("config.py")
if _own.exists() and not _own.samefile(__file__):
    runpy.run_path(str(_own.resolve()))
