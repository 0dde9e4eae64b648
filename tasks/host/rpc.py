"""Supervisord's RPC, which MISP asks about its workers: our include file, the password, a daemon
that runs with both.
"""

import hashlib
import re
from typing import List, NamedTuple, Optional

from tasks.host import drain, files, log_folders, originals, peer, workers
from tasks.host.daemon import Daemon
from tasks.host.drain import Crew, crew_of
from tasks.host.errors import HostError, RefusedError
from tasks.host.misp import Misp
from tasks.host.parts import Rpc
from tasks.host.site import PASSWORD_SHA1_TOKEN, Desired, Site
from tasks.host.supervisor import Door, FaultyFilesError, answers_as_misp
from tasks.host.supervisor_access import known_password, read_files
from tasks.host.supervisor_files import SupervisorFiles
from tasks.host.waiting import wait_until
from tasks.host.web_user import WebUser

_STRONG = re.compile(r"[A-Za-z0-9]{32,}\Z")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH = 48
_ANSWER = 30.0  # seconds for supervisord to answer after its start


class RpcError(HostError):
    """Supervisord does not answer its RPC."""


class Wanted(NamedTuple):
    """What is to be done about the RPC, and the passwords that may be right."""

    text: str  # of our file, with the token; empty: the [inet_http_server] of somebody else is used
    rotates: bool  # a new password
    is_on: bool  # MISP uses the new backend
    operators: str = ""  # supervisor_password of the operator's data
    misps: str = ""  # the one that MISP has stored


def pending_file(site: Site) -> str:
    """Where a password is from when it was made until MISP has it."""
    return site.state_dir + "/pending-password"


def is_pending(site: Site) -> bool:
    """Whether a password was made that MISP does not have yet."""
    return bool(files.first_line(pending_file(site)))


def password(one: Misp) -> Optional[str]:
    """The password that supervisord shall ask for and MISP shall send; `None`: none is known.

    Empty with a socket, which has none.
    """
    try:
        stored = stored_password(one)
    except HostError:
        stored = ""
    found = read_files(one.site, Daemon(one.site.unit).main_pid())
    return known(one.site, found, one.desired.supervisor_password, stored)


def known(site: Site, found: SupervisorFiles, operators: str, misps: str) -> Optional[str]:
    """As `password`. The first that applies: the operator's, the one of a foreign
    [inet_http_server], one that MISP does not have yet, MISP's own if it is a good one that nobody
    else has heard.
    """
    if operators or site.transport != "tcp":
        return operators
    foreign = found.foreign_inet(site.rpc_file)
    if foreign is not None and foreign.password:
        return known_password(foreign, [misps]) or None
    pending = files.first_line(pending_file(site))
    if pending and foreign is None:
        return pending
    is_good = _STRONG.match(misps) and not files.mode_of(_exposed(site))
    return misps if is_good else None


def look(site: Site, right: Optional[str], text: str, web: Optional[WebUser] = None) -> Rpc:
    """Our file, and what supervisord says to who asks as MISP will.

    Args:
        right: the password, as `password` tells.
        web: who MISP is, for the right to use a socket file.
    """
    if right is None:
        return Rpc(False, "no password is known", False)
    is_current = files.mode_of(site.rpc_file) == "0:0 600"
    is_current = is_current and files.read(site.rpc_file) == with_hash(text, right)
    daemon = Daemon(site.unit)
    main_pid = daemon.main_pid()
    found = read_files(site, main_pid)
    answer = answers_as_misp(door_of(site, found, right), main_pid, web)
    keeps = web is not None and log_folders.are_kept(daemon, log_folders.text(site, found, web))
    return Rpc(is_current, answer, keeps)


def door_of(site: Site, found: SupervisorFiles, password: str) -> Door:
    """Where MISP asks supervisord, and how."""
    if site.transport != "tcp":
        return Door(site.rpc_socket, 0)
    foreign = found.foreign_inet(site.rpc_file)
    if foreign is None:
        return Door("", site.rpc_port, site.rpc_user, password)
    return Door("", foreign.port, foreign.user, password)


def configure(site: Site, desired: Desired, text: str, rotate: bool) -> List[str]:
    """Have supervisord run, enabled, and answer with the password that MISP has or will get.

    Returns notes for the operator.

    Args:
        text: of our file; empty: somebody else's [inet_http_server] is used as it is.

    Raises:
        RefusedError: somebody else has the port, or supervisord cannot read its files.
        DrainLimitError: jobs run on, so it was not restarted.
        HostError: it does not answer; the text says what may have changed.
    """
    with Misp(site, desired) as one:
        stored = stored_password(one)
        operators = desired.supervisor_password
        wanted = Wanted(text, rotate, one.stored().is_on, operators, stored)
        return Configuration(crew_of(one, operators or stored), wanted).run()


def has_to_be_made(site: Site, password: Optional[str], wanted: Wanted) -> bool:
    """Whether supervisord and MISP get a password that is made here.

    Args:
        password: as `known` tells.
    """
    makes_one = password is None or (wanted.rotates and not wanted.operators)
    return site.transport == "tcp" and makes_one


def has_group_to_hold(site: Site, wanted: Wanted) -> bool:
    """Whether a start of supervisord would run a group that somebody put there by hand.

    With settings that are yet to come its workers would crash and be started without end.
    """
    return not wanted.is_on and files.read(files.real_path(site.group_file)) is not None


class Configuration:
    """One run of `configure`, with the steps that undo it."""

    def __init__(self, crew: Crew, wanted: Wanted) -> None:
        self.crew, self.site, self.wanted = crew, crew.site, wanted
        self.was_touched = False  # supervisord: started, or stopped and started
        self.problem = ""  # what could not be put back
        self.is_held = False
        self.is_new = False  # the password
        self.is_unit_new = False  # it makes the folders of logs
        self.answer = ""
        main_pid = crew.daemon.main_pid()
        self.ran = main_pid > 0
        self.was_enabled = crew.daemon.is_enabled()
        self.found = read_files(self.site, main_pid)

    def run(self) -> List[str]:
        """See `configure`."""
        self._refuse_strangers()
        originals.keep_units(self.site, [self.site.unit])
        password = self._password()
        self.door = door_of(self.site, self.found, password)
        if self.wanted.text:
            originals.keep(self.site, self.site.rpc_file)
            files.exchange(
                self.site.rpc_file, with_hash(self.wanted.text, password), _previous(self.site)
            )
        try:
            self._keep_log_folders()
            self.crew.daemon.enable()
            self._have_it_run()
            if not wait_until(self._answers, _ANSWER):
                raise RpcError(
                    "supervisord does not answer on its RPC: %s. The end of its journal: %s"
                    % (self.answer, self.crew.daemon.journal() or "unknown")
                )
        except HostError as error:
            self._put_back()
            text = self._with_changes(error)
            if self.problem:  # so a refusal is none any more: something was changed
                raise RpcError(text) from None
            error.args = (text,)
            raise
        files.remove(_previous(self.site))
        log_folders.see_through(self.site)
        if self.is_new:
            files.remove(_exposed(self.site))
        return self._notes()

    def _refuse_strangers(self) -> None:
        """Before anything: MISP itself sends its password to whoever has the port."""
        door = door_of(self.site, self.found, "")
        if not door.port:
            return
        inodes = peer.listening(door.port)
        strangers = peer.strangers(inodes, self.crew.daemon.main_pid())
        if strangers:
            self._throw_away()
            raise RefusedError(
                "port %d is taken by %s, not by supervisord: set supervisor_port to a free one, "
                "or supervisor_transport to unix. MISP may have sent the RPC's password there, so "
                "a made one is not used again; if it was yours, change it" % (door.port, strangers)
            )

    def _throw_away(self) -> None:
        files.make_folder(self.site.state_dir)
        files.remove(pending_file(self.site))
        files.write(_exposed(self.site), b"")

    def _password(self) -> str:
        wanted = self.wanted
        password = known(self.site, self.found, wanted.operators, wanted.misps)
        if not has_to_be_made(self.site, password, wanted):
            return password or ""
        if not wanted.text:
            raise RefusedError(
                "the password in the [inet_http_server] that is there already is hashed, and MISP "
                "does not know it: give it as supervisor_password"
            )
        import secrets

        self.is_new = True
        password = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        # The file bridges the time until MISP knows it, too.
        files.make_folder(self.site.state_dir)
        files.write(pending_file(self.site), (password + "\n").encode("ascii"))
        return password

    def _have_it_run(self) -> None:
        daemon = self.crew.daemon
        if not daemon.main_pid():
            self._hold_group()
            self.was_touched = True
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
            self.was_touched = True
            daemon.restart()

    def _keep_log_folders(self) -> None:
        site, found, daemon = self.site, self.found, self.crew.daemon
        wanted = log_folders.text(site, found, self.crew.web)
        self.is_unit_new = not log_folders.are_kept(daemon, wanted)
        log_folders.keep(site, found, self.crew.web, daemon)

    def _hold_group(self) -> None:
        """Take it away, until the workers' step."""
        site = self.site
        if has_group_to_hold(site, self.wanted):
            originals.keep(site, site.group_file)
            files.remove(files.real_path(site.group_file))
            self.is_held = True

    def _answers(self) -> bool:
        main_pid = self.crew.daemon.main_pid()
        self.answer = answers_as_misp(self.door, main_pid, self.crew.web)
        return self.answer == "ok"

    def _put_back(self) -> None:
        site = self.site
        if self.is_held:
            originals.restore(site, site.group_file)
        if self.wanted.text:
            files.take_back(site.rpc_file, _previous(site))
        if self.is_new and self.wanted.rotates:
            files.remove(pending_file(site))
        try:
            self._put_unit_back()
        except HostError as error:
            self.problem = str(error)

    def _put_unit_back(self) -> None:
        try:
            if self.is_unit_new:
                log_folders.take_back(self.site, self.crew.daemon)
        finally:
            self._put_service_back()

    def _put_service_back(self) -> None:
        daemon = self.crew.daemon
        try:
            if self.was_touched and self.ran:
                daemon.restart()
            elif self.was_touched:
                daemon.stop()
        finally:
            if not self.was_enabled:
                daemon.disable()

    def _with_changes(self, error: HostError) -> str:
        unit = self.site.unit
        if self.problem:
            return "%s. Supervisord's files are as before, but %s" % (error, self.problem)
        if self.was_touched and self.ran:
            return "%s. Supervisord's files are as before; %s was restarted" % (error, unit)
        return "%s. Supervisord's files and %s are as before" % (error, unit)

    def _notes(self) -> List[str]:
        # With settings that are yet to come no worker lives for long: a later step asks for them.
        if not self.wanted.is_on or files.read(files.real_path(self.site.group_file)) is None:
            return []
        if workers.wait_until_running(self.crew.control()):
            return []
        return ["not every worker runs after a minute: see supervisorctl status"]


def with_hash(text: str, right: str) -> bytes:
    """Our file as it should be."""
    digest = hashlib.sha1(right.encode("utf-8")).hexdigest()  # noqa: S324 - supervisor's own
    return text.replace(PASSWORD_SHA1_TOKEN, digest).encode("utf-8")


def stored_password(one: Misp) -> str:
    """The one that MISP has; empty: it has none."""
    stored = one.stored().block.get("supervisor_password")
    return stored if isinstance(stored, str) else ""


def _exposed(site: Site) -> str:
    return site.state_dir + "/password-exposed"


def _previous(site: Site) -> str:
    return site.state_dir + "/rpc-previous"
