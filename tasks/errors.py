"""The root of what this project raises on the operator's machine, and a sentence's next step."""

import re

_NEXT_STEP = re.compile(
    r"run again|then run|run `|run the (deploy|rollback|same)|run (\w+\.py|misp-workers)|"
    "take_over=true",
    re.IGNORECASE,
)


class MigrationError(Exception):
    """Something keeps this host, and only this one, from going on; the text says what to do."""


class RefusedError(MigrationError):
    """The host is not fit for the run; `problems` has one sentence for each reason."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


def with_next_step(reason: str) -> str:
    """Return a failure's sentence, with what to do next where it does not say so."""
    if _NEXT_STEP.search(reason):
        return reason
    return f"{reason.rstrip(' .')}. Once that is corrected, run again"


def problems_of(error: Exception) -> list[str]:
    """Return why a host ends, one sentence for each reason.

    Every exception is a reason: what is raised for one host must not end the run of all.
    """
    if isinstance(error, RefusedError):
        return error.problems
    if isinstance(error, MigrationError):
        return [str(error)]
    return [f"the deploy itself failed here ({type(error).__name__}: {error}): report this"]
