"""Fake hosts for pyinfra, as the bench wrote them down: kinds with count and answers."""

import json
import os
from pathlib import Path

misp = [
    (
        f"@fake/misp-{_kind}-{_number}",
        # Hosts of a kind share their answers, as these would be no memory of the controller's.
        {
            "fake_delay": _fake["delay"],
            "fake_delay_jitter": 0,
            "fake_responses": _fake["answers"],
        },
    )
    for _kind, _fake in enumerate(json.loads(Path(os.environ["MISP_BENCH_FAKES"]).read_text()))
    for _number in range(_fake["count"])
]
