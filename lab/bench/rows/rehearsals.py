"""Times of whole rehearsals: with every image built, and with none of ours."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from statistics import median

from lab.bases import registry_memory
from lab.bench.measure import Figure, Options, Section
from lab.console import step
from lab.engine import IMAGE_PREFIX, LABEL, require
from lab.errors import LabError
from lab.paths import REPOSITORY
from lab.ubuntu import archive_memory

MOST_SECONDS_WARM, MOST_SECONDS_COLD = 90.0, 360.0


def warm(options: Options) -> Section:
    """Rehearse with every image built; the first rehearsal builds what is missing."""
    taken = [_rehearse() for _ in range(options.pairs + 1)][1:]
    each = ", ".join(f"{seconds:.1f}" for seconds in taken) + " s"
    figure = Figure("rehearsal, warm", median(taken), MOST_SECONDS_WARM, "s", each)
    return Section("Rehearsal of both families", [figure], details={"seconds": taken})


def cold(options: Options) -> Section:
    """Rehearse without any image of the lab's; once, as most of it is the network's time."""
    with contextlib.closing(require().client()) as client, step("removing the lab's images"):
        images = client.images.list(filters={"label": f"{LABEL}=image"})
        # Newest first, as images stand on older ones; one in use is an error: not a cold rehearsal.
        for image in sorted(images, key=lambda image: str(image.attrs["Created"]), reverse=True):
            for tag in (tag for tag in image.tags if tag.startswith(f"{IMAGE_PREFIX}/")):
                client.images.remove(tag)
    for memory in (registry_memory(), archive_memory()):
        memory.unlink(missing_ok=True)
    figure = Figure("rehearsal, cold", _rehearse(), MOST_SECONDS_COLD, "s")
    return Section("Rehearsal with no image built", [figure])


def _rehearse() -> float:
    command = [sys.executable, "-m", "lab.rehearsal"]
    started = time.monotonic()
    with step("rehearsal"):
        done = subprocess.run(
            command, cwd=REPOSITORY, timeout=1800, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise LabError(f"The rehearsal failed:\n{done.stderr[-2000:]}")
    return time.monotonic() - started
