"""The root of what this project raises on the operator's machine."""


class MigrationError(Exception):
    """Something keeps this host, and only this one, from going on; the text says what to do."""
