"""Fake hosts as a test wrote them down: a JSON file named by MISP_FAKE_HOSTS.

One with `ssh_port` is no fake: SSH is really tried.
"""

import json
import os
from pathlib import Path

misp = [
    (_name, _data)
    if "ssh_port" in _data
    else (f"@fake/{_name}", {"fake_delay": 0, "fake_delay_jitter": 0, **_data})
    for _name, _data in json.loads(Path(os.environ["MISP_FAKE_HOSTS"]).read_text()).items()
]
