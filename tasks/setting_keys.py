"""Keys of an inventory that are a misspelling of this project's or of pyinfra's."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache

# A key of ours that is misspelt must not pass for somebody else's data (ssh_user, _sudo, ...).
_PREFIXES = (
    "misp_",
    "supervisor_",
    "legacy_",
    "drain_",
    "on_leftover",
    "selinux",
    "epel",
    "scheduled_",
    "allow_foreign",
    "rotate_",
    "take_over",
    "approved_",
    "show_calls",
)
# pyinfra's own that decide how a host is reached, and who works there; it takes any other silently.
PYINFRA_KEYS = (
    *("ssh_hostname", "ssh_port", "ssh_user", "ssh_password", "ssh_key", "ssh_key_password"),
    *("ssh_allow_agent", "ssh_look_for_keys", "ssh_forward_agent", "ssh_config_file"),
    *("ssh_known_hosts_file", "ssh_strict_host_key_checking", "ssh_paramiko_connect_kwargs"),
    *("ssh_connect_retries", "ssh_connect_retry_min_delay", "ssh_connect_retry_max_delay"),
    *("ssh_file_transfer_protocol", "_sudo", "_sudo_user", "_use_sudo_login", "_sudo_password"),
    *("_preserve_sudo_env", "_su_user", "_use_su_login", "_preserve_su_env", "_su_shell"),
    *("_su_password", "_doas", "_doas_user", "_dzdo", "_dzdo_user", "_shell_executable"),
)
_LIKENESS = 0.85  # difflib ratio from which a key without such a prefix counts as a misspelling


def misspelt(key: str, value: object, known: tuple[str, ...]) -> str:
    """Say that a key of the inventory is misspelt; empty: it is known, or somebody else's.

    Args:
        known: this project's keys.
    """
    return _unknown(key, known) or _not_pyinfras(key, value)


@cache  # hosts have the same keys, and likeness takes long
def _unknown(key: str, known: tuple[str, ...]) -> str:
    if key in known:
        return ""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    is_misspelt = bool(difflib.get_close_matches(key, known, n=1, cutoff=_LIKENESS))
    if not key.startswith(_PREFIXES) and not is_misspelt:
        return ""
    return f"unknown key {key!r}" + (f": did you mean {near[0]!r}?" if near else "")


def _not_pyinfras(key: str, value: object) -> str:
    """Say that a key is a misspelling of pyinfra's; none of these has a list or a map as value."""
    near = "" if isinstance(value, list | tuple | set | Mapping) else _near_pyinfras(key)
    return f"unknown key {key!r}: did you mean pyinfra's {near!r}?" if near else ""


@cache
def _near_pyinfras(key: str) -> str:
    near = difflib.get_close_matches(key, PYINFRA_KEYS, n=1, cutoff=_LIKENESS)
    return near[0] if near and near[0] != key else ""
