"""Fake hosts for pyinfra, as the bench wrote them down; they take the recorded answers in turn."""

import json
import os
from pathlib import Path

_fakes = json.loads(Path(os.environ["MISP_BENCH_FAKES"]).read_text())
# Hosts that answer alike share their answers, as these would be no memory of the controller's.
_kinds = [
    {"fake_delay": _fakes["delay"], "fake_delay_jitter": 0, "fake_responses": _answers}
    for _answers in _fakes["answers"]
]
misp = [(f"@fake/misp-{number}", _kinds[number % len(_kinds)]) for number in range(_fakes["count"])]
