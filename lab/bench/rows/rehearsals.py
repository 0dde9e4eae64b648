"""Times of whole rehearsals: with every image built, and with none of ours."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from statistics import median
from typing import Any

from docker.errors import DockerException

from lab.bases import registry_memory
from lab.bench.options import Options
from lab.bench.verdict import Figure, Section
from lab.console import heading, step
from lab.engine import IMAGE_PREFIX, LABEL, Engine, require
from lab.errors import LabError
from lab.paths import REPOSITORY

TIME_LIMIT = 1800.0
MOST_SECONDS_WARM, MOST_SECONDS_COLD = 90.0, 360.0


def warm(options: Options) -> Section:
    """Rehearse with every image built."""
    heading("Rehearsal, warm")
    taken = []
    with step("a rehearsal, not counted: it builds what is missing"):
        _rehearse()
    for number in range(1, options.pairs + 1):
        with step(f"rehearsal {number} of {options.pairs}"):
            taken.append(_rehearse())
    figure = Figure("rehearsal, warm", median(taken), MOST_SECONDS_WARM, "s", _each(taken))
    return Section("warm", "Rehearsal of both families", [figure], details={"seconds": taken})


def cold(options: Options) -> Section:
    """Rehearse without any image of the lab's."""
    heading("Rehearsal, cold")
    with step("removing the images that the lab has built"):
        remove_images(require())
        registry_memory().unlink(missing_ok=True)
    with step("rehearsal"):
        taken = _rehearse()
    figure = Figure("rehearsal, cold", taken, MOST_SECONDS_COLD, "s")
    return Section("cold", "Rehearsal with no image built", [figure], notes=NOTES)


NOTES = (
    "A rehearsal is `python -m lab.rehearsal`: what `./noxw -s rehearse` does before it (its "
    "Python environment) and around it (an engine installed or started) is not in it. A cold one "
    "has none of the lab's images; it is measured once, as most of it is the network's and the "
    "archive's time.",
)


def _each(taken: list[float]) -> str:
    return ", ".join(f"{seconds:.1f}" for seconds in taken) + " s"


def _rehearse() -> float:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "lab.rehearsal"],
        cwd=REPOSITORY,
        timeout=TIME_LIMIT,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        tail = done.stderr[-2000:]
        raise LabError(f"The rehearsal ended with exit code {done.returncode}:\n{tail}")
    return time.monotonic() - started


def remove_images(engine: Engine) -> None:
    """Remove the lab's own images, and only these.

    Raises:
        LabError: when one is in use: the next rehearsal would not be cold.
    """
    with contextlib.closing(engine.client()) as client:
        kept = []
        # Newest first: a base is in use by the images that stand on it.
        for tag in own_tags(client.images.list(filters={"label": f"{LABEL}=image"})):
            try:
                client.images.remove(tag)
            except DockerException:
                kept.append(tag)
    if kept:
        raise LabError(f"In use, so no cold rehearsal can be measured: {', '.join(kept)}")


def own_tags(images: list[Any]) -> list[str]:
    """Return the tags of IMAGES that the lab gave, newest first."""
    newest_first = sorted(images, key=lambda image: str(image.attrs["Created"]), reverse=True)
    return [
        tag for image in newest_first for tag in image.tags if tag.startswith(f"{IMAGE_PREFIX}/")
    ]
