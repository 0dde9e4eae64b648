"""Supervisord's RPC, which MISP asks about its workers: our include file, the password, a daemon
that runs with both.
"""

import hashlib
import re
from typing import List, NamedTuple

from tasks.host import drain, files, originals, peer, workers
from tasks.host.drain import Crew
from tasks.host.errors import HostError, RefusedError
from tasks.host.gate import WebUser
from tasks.host.parts import Rpc
from tasks.host.processes import process
from tasks.host.site import Site
from tasks.host.supervisor import Door, FaultyFilesError, answers_as_misp
from tasks.host.supervisor_access import known_password, read_files
from tasks.host.supervisor_files import SupervisorFiles
from tasks.host.waiting import wait_until

TOKEN = "@PASSWORD_SHA1@"  # noqa: S105 - stands in the text for the hash
_STRONG = re.compile(r"[A-Za-z0-9]{32,}\Z")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH = 48
_ANSWER = 30.0  # seconds for supervisord to answer after its start


class Wanted(NamedTuple):
    """What is to be done about the RPC, and the passwords that may be right."""

    text: str  # of our file, with TOKEN
    writes: bool  # False: the [inet_http_server] of the operator's is used
    rotates: bool  # a new password
    is_on: bool  # MISP uses the new backend
    operators: str = ""  # supervisor_password of the operator's data
    misps: str = ""  # the one that MISP has stored


def known(site: Site, found: SupervisorFiles, operators: str, misps: str) -> str:
    """The password that supervisord shall ask for and MISP shall send; empty: none is known.

    The first that applies: the operator's, the one of a foreign [inet_http_server], one that MISP
    does not have yet, MISP's own if it is a good one that nobody else has heard. A socket has none.
    """
    if operators or site.transport != "tcp":
        return operators
    foreign = found.foreign_inet(site.rpc_file)
    if foreign is not None and foreign.password:
        return known_password(foreign, [misps])
    pending = files.first_line(_pending(site))
    if pending and foreign is None:
        return pending
    is_good = _STRONG.match(misps) and not files.mode_of(_exposed(site))
    return misps if is_good else ""


def look(site: Site, found: SupervisorFiles, main_pid: int, web: WebUser, wanted: Wanted) -> Rpc:
    """Our file, and whether supervisord answers as MISP will ask it."""
    password = known(site, found, wanted.operators, wanted.misps)
    if not password and site.transport == "tcp":
        return Rpc(False, False, "")
    is_current = files.mode_of(site.rpc_file) == "0:0 600" and files.read(site.rpc_file) == _text(
        wanted, password
    )
    door = door_of(site, found, password)
    return Rpc(True, is_current, answers_as_misp(door, main_pid, web))


def door_of(site: Site, found: SupervisorFiles, password: str) -> Door:
    """Where MISP asks supervisord, and how."""
    if site.transport != "tcp":
        return Door(site.rpc_socket, 0)
    foreign = found.foreign_inet(site.rpc_file)
    if foreign is None:
        return Door("", site.rpc_port, site.rpc_user, password)
    return Door("", foreign.port, foreign.user, password)


def configure(crew: Crew, wanted: Wanted) -> List[str]:
    """Have supervisord run, enabled, and answer with the password that MISP has or will get.

    Returns notes for the operator.

    Raises:
        RefusedError: somebody else has the port, or supervisord cannot read its files.
        DrainLimitError: jobs run on, so it was not restarted.
        HostError: it does not answer; the text says what may have changed.
    """
    return _Configuration(crew, wanted).run()


class _Configuration:
    def __init__(self, crew: Crew, wanted: Wanted) -> None:
        self.crew, self.site, self.wanted = crew, crew.site, wanted
        self.changes = []  # type: List[str]
        self.is_held = False
        self.is_new = False  # the password
        self.answer = ""
        main = process(crew.proc, crew.daemon.main_pid())
        self.ran = main is not None
        self.found = read_files(self.site, main)

    def run(self) -> List[str]:
        """See `configure`."""
        self._refuse_strangers()
        originals.keep_units(self.site, [self.site.unit])
        password = self._password()
        self.door = door_of(self.site, self.found, password)
        if self.wanted.writes:
            self._write(password)
        try:
            self.crew.daemon.enable()
            self.changes.append("%s is enabled" % self.site.unit)
            self._have_it_run()
            if not wait_until(self._answers, _ANSWER):
                raise HostError(
                    "supervisord does not answer on its RPC: %s. The end of its journal: %s"
                    % (self.answer, self.crew.daemon.journal() or "unknown")
                )
        except HostError as error:
            self._put_back()
            error.args = (self._with_changes(error),)
            raise
        files.remove(_previous(self.site))
        if self.is_new:
            files.remove(_exposed(self.site))
        return self._notes()

    def _refuse_strangers(self) -> None:
        """Before anything: MISP itself sends its password to whoever has the port."""
        door = door_of(self.site, self.found, "")
        if not door.port:
            return
        main = process(self.crew.proc, self.crew.daemon.main_pid())
        strangers = peer.listening(door.port, self.crew.proc)
        strangers -= main.sockets() if main else set()
        if strangers:
            holders = peer.in_words(peer.holders(strangers, self.crew.proc))
            self._throw_away()
            raise RefusedError(
                "port %d is taken by %s, not by supervisord: set supervisor_port to a free one, "
                "or supervisor_transport to unix. MISP may have sent the RPC's password there, so "
                "a made one is not used again; if it was yours, change it" % (door.port, holders)
            )

    def _throw_away(self) -> None:
        files.make_folder(self.site.state_dir)
        files.remove(_pending(self.site))
        files.write(_exposed(self.site), b"")

    def _password(self) -> str:
        wanted = self.wanted
        password = known(self.site, self.found, wanted.operators, wanted.misps)
        if self.site.transport != "tcp" or (password and not self._makes_one()):
            return password
        if not wanted.writes:
            raise RefusedError(
                "the password in the [inet_http_server] that is there already is hashed, and MISP "
                "does not know it: give it as supervisor_password"
            )
        import secrets

        self.is_new = True
        password = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        # The file bridges the time until MISP knows it, too.
        files.make_folder(self.site.state_dir)
        files.write(_pending(self.site), (password + "\n").encode("ascii"))
        return password

    def _makes_one(self) -> bool:
        return self.wanted.rotates and not self.wanted.operators

    def _write(self, password: str) -> None:
        site = self.site
        originals.keep(site, site.rpc_file)
        before = files.read(files.real_path(site.rpc_file))
        # A run that was cut off has left what was before, which counts.
        if before is not None and files.read(_previous(site)) is None:
            files.write(_previous(site), before)
        files.write(site.rpc_file, _text(self.wanted, password))

    def _have_it_run(self) -> None:
        daemon = self.crew.daemon
        if not daemon.main_pid():
            self._hold_group()
            self.changes.append("%s was started" % self.site.unit)
            daemon.start()
        elif not self._answers():
            # A restart on a broken configuration takes every program down (status 2, and systemctl
            # says 0): `reread` reads the same files and stops nothing.
            try:
                self.crew.control().reread()
            except FaultyFilesError as error:
                raise RefusedError(
                    "supervisord cannot read its configuration, so it was not restarted: %s" % error
                ) from None
            drain.stop_idle(self.crew, self.site.drain_timeout)
            self._hold_group()
            self.changes.append("%s was restarted" % self.site.unit)
            daemon.restart()

    def _hold_group(self) -> None:
        """Take a group away that somebody put there by hand, until the workers' step.

        With settings that are yet to come its workers would crash and be started without end.
        """
        site = self.site
        if self.wanted.is_on or files.read(files.real_path(site.group_file)) is None:
            return
        originals.keep(site, site.group_file)
        files.remove(files.real_path(site.group_file))
        self.is_held = True

    def _answers(self) -> bool:
        main_pid = self.crew.daemon.main_pid()
        self.answer = answers_as_misp(self.door, main_pid, self.crew.web, self.crew.proc)
        return self.answer == "ok"

    def _put_back(self) -> None:
        site = self.site
        if self.is_held:
            originals.restore(site, site.group_file)
        if self.wanted.writes:
            before = files.read(_previous(site))
            if before is None:
                files.remove(files.real_path(site.rpc_file))
            else:
                files.write(site.rpc_file, before)
                files.remove(_previous(site))
        if self.is_new and self.wanted.rotates:
            files.remove(_pending(site))
        was_touched = any(change.endswith("started") for change in self.changes)
        if was_touched and (self.ran or self.crew.daemon.main_pid()):
            try:
                self.crew.daemon.restart()
            except HostError as error:
                self.changes.append("it could not be started with its old files: %s" % error)

    def _with_changes(self, error: HostError) -> str:
        changes = ", ".join(self.changes) or "nothing but that"
        return "%s. Supervisord's files are as before; what changed: %s" % (error, changes)

    def _notes(self) -> List[str]:
        # With settings that are yet to come no worker lives for long: a later step asks for them.
        if not self.wanted.is_on or files.read(files.real_path(self.site.group_file)) is None:
            return []
        if workers.wait_until_running(self.crew):
            return []
        return ["not every worker runs after a minute: see supervisorctl status"]


def _text(wanted: Wanted, password: str) -> bytes:
    digest = hashlib.sha1(password.encode("utf-8")).hexdigest()  # noqa: S324 - supervisor's own
    return wanted.text.replace(TOKEN, digest).encode("utf-8")


def _pending(site: Site) -> str:
    return site.state_dir + "/pending-password"


def _exposed(site: Site) -> str:
    return site.state_dir + "/password-exposed"


def _previous(site: Site) -> str:
    return site.state_dir + "/rpc-previous"
