"""Times of whole rehearsals: with every image built, and with none of ours."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import Any

from docker.errors import DockerException

from lab.console import say, step
from lab.engine import IMAGE_PREFIX, LABEL, Engine, require
from lab.errors import LabError
from lab.paths import REPOSITORY

TIME_LIMIT = 1800.0


def timed(cold: bool) -> dict[str, float]:
    """Rehearse, from nothing first when COLD; returns the seconds by `cold` and `warm`."""
    seconds = {}
    if cold:
        with step("removing the images that the lab has built"):
            remove_images(require())
        seconds["cold"] = _rehearse()
    seconds["warm"] = _rehearse()
    return seconds


def _rehearse() -> float:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "lab.rehearsal"], cwd=REPOSITORY, timeout=TIME_LIMIT, check=False
    )
    if done.returncode:
        raise LabError(f"The rehearsal ended with exit code {done.returncode}, see above.")
    return time.monotonic() - started


def remove_images(engine: Engine) -> None:
    """Remove the lab's own images, and only these; an image in use stays and is named."""
    with contextlib.closing(engine.client()) as client:
        kept = []
        # Newest first: a base is in use by the images that stand on it.
        for tag in own_tags(client.images.list(filters={"label": f"{LABEL}=image"})):
            try:
                client.images.remove(tag)
            except DockerException:
                kept.append(tag)
    if kept:
        say(f"In use, so that the next rehearsal is not quite cold: {', '.join(kept)}")


def own_tags(images: list[Any]) -> list[str]:
    """Return the tags of IMAGES that the lab gave, newest first."""
    newest_first = sorted(images, key=lambda image: str(image.attrs["Created"]), reverse=True)
    return [
        tag for image in newest_first for tag in image.tags if tag.startswith(f"{IMAGE_PREFIX}/")
    ]
