"""Why a function on a host gives up. The text is a sentence for the operator, with the remedy."""


class HostError(Exception):
    """Root of all errors that a host function raises on purpose."""


class RefusedError(HostError):
    """The host is not fit for the step; nothing was changed."""


class DrainLimitError(HostError):
    """Jobs ran on for longer than the operator allows; both backends go on as they are."""


class WebUserError(HostError):
    """The web user's own code or files gave no usable answer."""
