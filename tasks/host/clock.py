"""Time, as something that a test can give: waits of minutes are tested in milliseconds."""

import time


class Clock:
    """The host's own clock."""

    def now(self) -> float:
        """Seconds since some moment; never set back."""
        return time.monotonic()

    def epoch(self) -> int:
        """The time of day, as MISP writes it into a job."""
        return int(time.time())

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
