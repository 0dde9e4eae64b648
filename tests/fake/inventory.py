"""Fake hosts as a test wrote them down: a JSON file named by MISP_FAKE_HOSTS."""

import json
import os
from pathlib import Path

misp = [
    (f"@fake/{_name}", {"fake_delay": 0, "fake_delay_jitter": 0, **_data})
    for _name, _data in json.loads(Path(os.environ["MISP_FAKE_HOSTS"]).read_text()).items()
]
