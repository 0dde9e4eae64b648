"""What a call that changes something has done. The run's record keeps it."""

from typing import List, NamedTuple, Tuple


class ProofJob(NamedTuple):
    """A job of the proof that came through."""

    queue: str
    id: str
    began: int  # seconds since 1970, by this host's clock
    seconds: float  # until it was done


class Done(NamedTuple):
    """Lines for the operator, and the same as values."""

    lines: List[str]
    converted: int = 0  # jobs of the old backend that became jobs of the new one
    moved: int = 0  # jobs of the new backend that moved to the old one
    tasks: Tuple[str, ...] = ()  # scheduled tasks that were handed over: cron's lines, or words
    proof: Tuple[ProofJob, ...] = ()
