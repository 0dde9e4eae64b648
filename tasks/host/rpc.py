"""Our include file with supervisord's RPC, the password for it, and a daemon that runs with both."""

import os
from typing import List, Optional

from tasks.host import files, originals, supervisor_access
from tasks.host.daemon import Daemon
from tasks.host.errors import HostError
from tasks.host.misp import Misp
from tasks.host.parts import Rpc
from tasks.host.site import Desired, Site
from tasks.host.supervisor import Door, FaultyFilesError, answers_as_misp
from tasks.host.supervisor_access import known_password, read_files
from tasks.host.supervisor_files import Server
from tasks.host.waiting import wait_until

TOKEN = "@PASSWORD_SHA1@"  # in the text that the controller sends; the host has the password
LENGTH = 48
_ANSWERS_WITHIN = 30.0


class RpcError(HostError):
    """Supervisord does not answer its RPC."""


def pending_file(site: Site) -> str:
    """Where a password is from when it was made until MISP has it."""
    return site.state_dir + "/pending-password"


def is_pending(site: Site) -> bool:
    """Whether a password was made that MISP does not have yet."""
    return bool(files.first_line(pending_file(site)))


def foreign_server(site: Site) -> Optional[Server]:
    """An [inet_http_server] that is not ours: it is respected, and the one to be asked."""
    found = read_files(site, None).inet_servers(but=site.rpc_file)
    return found[0] if found else None


def password(one: Misp) -> Optional[str]:
    """The password that supervisord shall ask for and MISP shall send; `None`: none is known.

    First that applies: the operator's, the one in an [inet_http_server] that is there already, one
    that an interrupted run made, MISP's own. Empty with a socket, which has none.
    """
    site = one.site
    if one.desired.supervisor_password:
        return one.desired.supervisor_password
    if site.transport == "unix":
        return ""
    try:
        stored = one.stored().block.get("supervisor_password")
    except HostError:
        stored = None
    own = stored if isinstance(stored, str) and is_fit(stored) else ""
    foreign = foreign_server(site)
    if foreign is not None:
        return known_password(foreign, [own]) or None
    return files.first_line(pending_file(site)) or own or None


def is_fit(text: str) -> bool:
    """Letters and digits only: supervisor's parser takes % and ; for something else."""
    import re

    return re.match(r"[A-Za-z0-9]{32,200}\Z", text) is not None


def look(site: Site, known: Optional[str], text: str) -> Rpc:
    """Our file, and what supervisord says to who asks as MISP will."""
    is_current = (
        known is not None
        and files.mode_of(site.rpc_file) == "0:0 600"
        and files.read(site.rpc_file) == with_hash(text, known)
    )
    return Rpc(known is not None, is_current, _answer(site, known))


def _answer(site: Site, known: Optional[str]) -> str:
    if known is None:
        return "no password is known"
    pid = Daemon(site.unit).main_pid()
    return answers_as_misp(door(site, known), pid) if pid else "supervisord does not run"


def door(site: Site, known: str) -> Door:
    """Where MISP asks supervisord."""
    if site.transport == "unix":
        servers = read_files(site, None).unix_servers()
        return Door(servers[0].path if servers else site.rpc_socket, 0)
    foreign = foreign_server(site)
    if foreign is not None:
        return Door("", foreign.port, foreign.user, known)
    return Door("", site.rpc_port, site.rpc_user, known)


def with_hash(text: str, known: str) -> bytes:
    """The file as it should be."""
    import hashlib

    return text.replace(TOKEN, hashlib.sha1(known.encode()).hexdigest()).encode()  # noqa: S324


def configure(site: Site, desired: Desired, text: str, rotate: bool) -> List[str]:
    """Have our file (no text: somebody else's is used as it is), and a daemon that runs with it."""
    with Misp(site, desired) as one:
        return _Configuration(one, text, rotate).apply()


class _Configuration:
    def __init__(self, one: Misp, text: str, rotate: bool) -> None:
        self.one = one
        self.site = one.site
        self.text = text
        self.rotate = rotate
        self.daemon = Daemon(self.site.unit)
        self.held = False
        self.previous: Optional[bytes] = None

    def apply(self) -> List[str]:
        site = self.site
        originals.keep_units(site, [site.unit])
        if self.text:
            originals.keep(site, site.rpc_file)
        known = None if self.rotate else password(self.one)
        if known is None:
            known = self._make_password()
        if self.text:
            self.previous = files.read(site.rpc_file)
            files.write(site.rpc_file, with_hash(self.text, known), 0o600)
        self.daemon.enable()
        self._run(known)
        return []

    def _make_password(self) -> str:
        import secrets
        import string

        if not self.text:
            raise RpcError(
                "the password in the [inet_http_server] that is there already is hashed, and MISP "
                "does not know it: give it as supervisor_password"
            )
        made = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(LENGTH))
        files.write(pending_file(self.site), (made + "\n").encode())
        return made

    def _run(self, known: str) -> None:
        site = self.site
        if self.daemon.main_pid():
            if self._answers(known):
                return
            self._check_files()
            self._stop_workers()
            self._hold_group()
            self.daemon.restart()
        else:
            self._hold_group()
            self.daemon.start()
        if not wait_until(lambda: self._answers(known), _ANSWERS_WITHIN):
            self._fail(known)

    def _answers(self, known: str) -> bool:
        return _answer(self.site, known) == "ok"

    def _check_files(self) -> None:
        """A restart on a broken configuration takes every program down; `reread` stops nothing."""
        try:
            supervisor_access.connected(self.site).reread()
        except FaultyFilesError as error:
            self._put_back()
            raise RpcError(
                "supervisord cannot read its configuration, so it was not restarted: %s" % error
            ) from None

    def _stop_workers(self) -> None:
        from tasks.host import workers

        workers.stop_idle(self.one)

    def _hold_group(self) -> None:
        """A worker group that somebody put there by hand would crash and be started without end.

        MISP's settings are yet to come; the workers' step writes the file anew.
        """
        site = self.site
        if os.path.exists(site.group_file) and not self.one.stored().is_on:
            originals.keep(site, site.group_file)
            files.remove(site.group_file)
            self.held = True

    def _put_back(self) -> None:
        site = self.site
        if self.held:
            originals.restore(site, site.group_file)
        if self.text:
            if self.previous is None:
                files.remove(site.rpc_file)
            else:
                files.write(site.rpc_file, self.previous, 0o600)
            if self.rotate:
                files.remove(pending_file(site))

    def _fail(self, known: str) -> None:
        said = _answer(self.site, known)
        journal = self.daemon.journal()
        self._put_back()
        if self.daemon.main_pid():
            self.daemon.restart()
        raise RpcError(
            "supervisord does not answer on its RPC (%s). Its journal: %s. Its configuration is as "
            "before" % (said, journal or "empty")
        )


def restart(site: Site) -> None:
    """Restart supervisord without a file of ours."""
    Daemon(site.unit).restart()
