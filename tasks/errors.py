"""The root of what this project raises on the operator's machine."""


class MigrationError(Exception):
    """Something keeps this host, and only this one, from going on; the text says what to do."""


class RefusedError(MigrationError):
    """The host is not fit for the run; `problems` has one sentence for each reason."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


def problems_of(error: Exception) -> list[str]:
    """Return why a host ends, one sentence for each reason.

    Every exception is a reason: what is raised for one host must not end the run of all.
    """
    if isinstance(error, RefusedError):
        return error.problems
    if isinstance(error, MigrationError):
        return [str(error)]
    return [f"the deploy itself failed here ({type(error).__name__}: {error}): report this"]
