"""Packages: supervisor, and where SELinux wants them its tools.

pyinfra's own apt.packages and dnf.packages are not used for this. The service must be masked while
its package is set up and unmasked whatever happens, which takes one call that lives on when the
operator's machine dies; an install that was cut off has to be repaired, and EPEL enabled, only when
a first try has failed; and dnf.packages asks the repositories for each package at each look.
"""

import os
from typing import Dict, List, NamedTuple, Sequence, Tuple

from tasks.host import files, originals, programs, proxy, python_modules, systemd
from tasks.host.errors import HostError, with_details
from tasks.host.parts import Packages
from tasks.host.programs import Finished, LateError, ProgramError
from tasks.host.remedies import quoted, word
from tasks.host.site import Site
from tasks.host.trial import Trial, folder_of, versions

INSTALL_SECONDS = 1800.0  # a slow mirror; ended by force it is repaired by the next run
_TRIAL_SECONDS = 120.0
_PACKAGED = ("/usr/bin/", "/usr/sbin/", "/bin/")  # where a package has its programs
UNKNOWN = "of an unknown version"  # also where root may not run it to ask
_OUTPUT = 1 << 26  # bytes; a policy package's build prints much
_ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "NEEDRESTART_SUSPEND": "1",  # needrestart would restart the old workers' unit
}


class PackageError(HostError):
    """The packages could not be installed."""


class Manager(NamedTuple):
    """The platform's package manager: words to put packages' names behind; empty: no need."""

    install: List[str]
    repair: List[str]  # finishes an install that was cut off; without names
    refresh: List[str]  # without names
    offered: List[str]  # ends with status 0 where a repository has the package
    epel: List[str]  # names of the packages that enable EPEL
    own_proxy_off: List[str]  # options; the environment's proxy then wins over the host's own one
    options: Sequence[str] = ()  # for all but `repair`; a trial has some, and nothing else has


def look(site: Site) -> Packages:
    """What is installed, by one question to the package database."""
    installed = _installed(site)
    version = fault = ""
    program = site.supervisor_program or programs.find("supervisord")
    if program:
        # supervisord itself takes a Python to say it.
        packaged = installed.get(site.supervisor_package) if program.startswith(_PACKAGED) else ""
        version, fault = (packaged, "") if packaged else _version(program)
    return Packages(installed, version, systemd.is_masked(site.unit), fault)


def _installed(site: Site) -> Dict[str, str]:
    words = site.package_query.split() + site.packages.split()
    try:
        lines = programs.run(*words).lines  # its status tells that one is missing
    except ProgramError:
        return {}
    rows = [line.split("\t") for line in lines]
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "installed"}


def _version(program: str) -> Tuple[str, str]:
    """Return the version that a program tells, or why it is not known."""
    try:
        real = files.program(program)
        python_modules.check(real)
        version = programs.run(real, "--version").text.strip()[:80]
    except (HostError, OSError) as error:
        return UNKNOWN, str(error)
    return (version, "") if version else (UNKNOWN, "it tells none")


def install(
    site: Site, manager: Manager, names: List[str], may_use_epel: bool, http_proxy: str = ""
) -> List[str]:
    """Have the packages, and supervisord's service not started by their installation.

    Without supervisor's among `names` no repository is enabled for it. Without any name this takes
    away what an install that was cut off has left: the unit's mask.

    Debian's package starts its service at once, and a group file that an earlier attempt has left
    would start workers.

    Args:
        http_proxy: URL of the proxy, with its password; empty: as the host is configured.

    Raises:
        PackageError: with what is missing and the remedy.
    """
    originals.keep_units(site, [site.unit])
    systemd.mask(site.unit)
    try:
        if names:
            _install(site, manager, names, may_use_epel, http_proxy)
    finally:
        systemd.unmask(site.unit)
    if not (site.supervisor_program or programs.find("supervisord")):
        raise PackageError(
            "these are installed, but there is no supervisord on the PATH: %s. See what else is "
            "called supervisor there, and run again" % ", ".join(names)
        )
    return []


def offered(
    site: Site,
    manager: Manager,
    trial: Trial,
    names: List[str],
    may_use_epel: bool,
    http_proxy: str = "",
) -> Dict[str, str]:
    """Fetch what `install` would, by the same decisions, and throw it away.

    Nothing else of the host changes: the package manager has a folder of its own for all that it
    writes. Signatures of packages are left to the install, which may have to take a key for them.

    Returns:
        The version of each package that would come. Supervisor's is missing where EPEL has to be
        enabled first: only the package that does so can be fetched.

    Raises:
        PackageError: with what cannot be had and the remedy.
        LateError: it takes longer than preflight waits.
    """
    with folder_of(trial) as folder:
        options = [word.format(folder) for word in trial.options]
        fetching = manager._replace(repair=[], options=options)
        _install(site, fetching, names, may_use_epel, http_proxy)
        return versions(os.listdir(folder + "/packages"))


def _install(
    site: Site, manager: Manager, names: List[str], may_use_epel: bool, http_proxy: str
) -> None:
    try:
        if names:
            _try_to_install(site, manager, names, may_use_epel, http_proxy)
    except HostError as error:
        if manager.options and isinstance(error, LateError):
            raise  # an install has more time
        raise PackageError("%s. %s" % (error, proxy.advice(http_proxy))) from None


def _try_to_install(
    site: Site, manager: Manager, names: List[str], may_use_epel: bool, http_proxy: str
) -> None:
    # Where EPEL is missing supervisor most likely is too, and asking is quicker than an install
    # that fails.
    wants_epel = site.supervisor_package in names and manager.epel and may_use_epel
    if wants_epel and not _has(site, manager.epel):
        names = _have_them_offered(site, manager, names, may_use_epel, http_proxy)
    if not names or _fetch(manager, manager.install + names, http_proxy).status == 0:
        return
    # An install was cut off, the lists are old, or EPEL is missing.
    if manager.repair:
        _run(manager.repair, {}, INSTALL_SECONDS)
    unreached = ""
    if manager.refresh:  # no failure yet: the old lists may do
        said = _fetch(manager, manager.refresh, http_proxy).err.decode("utf-8", "replace")
        unreached = said and " (%s)" % quoted(said.partition("\n")[0])
    names = _have_them_offered(site, manager, names, may_use_epel, http_proxy)
    done = _fetch(manager, manager.install + names, http_proxy)
    if done.status != 0:
        command = " ".join(map(word, [*manager.install, *names]))
        error = PackageError(
            "%s cannot be installed: %s%s. Correct that (run `%s` on the host to see all of it), "
            "then run again" % (", ".join(names), done.complaint, unreached, command)
        )
        raise with_details(error, done.said)


def _has(site: Site, names: List[str]) -> bool:
    return programs.run(*site.package_query.split(), *names).status == 0


def _have_them_offered(
    site: Site, manager: Manager, names: List[str], may_use_epel: bool, http_proxy: str
) -> List[str]:
    """Enable EPEL if supervisor is wanted and nothing else offers it. Returns what can be had.

    A trial enables nothing, so it cannot have supervisor then.
    """
    name = site.supervisor_package
    if name not in names or not manager.offered:
        return names
    asked = _fetch(manager, [*manager.offered, name], http_proxy)
    if asked.status == 0:
        return names
    if not manager.epel or not may_use_epel:
        why, what = "", "one that does"
        if manager.epel:
            why, what = " and epel is false", "EPEL or a repository that has it"
        raise PackageError(
            "no repository offers %s%s (%s): enable %s, then run again"
            % (name, why, asked.complaint, what)
        )
    done = _fetch(manager, manager.install + manager.epel, http_proxy)
    if done.status != 0:
        raise PackageError(
            "EPEL could not be enabled by installing %s (%s): correct that, or enable it as "
            "docs.fedoraproject.org/en-US/epel says, then run again"
            % (", ".join(manager.epel), done.complaint)
        )
    return [one for one in names if one != name] if manager.options else names


def _fetch(manager: Manager, words: List[str], http_proxy: str) -> Finished:
    own_off = manager.own_proxy_off if http_proxy else []
    seconds = _TRIAL_SECONDS if manager.options else INSTALL_SECONDS
    words = [*words, *own_off, *manager.options]
    return proxy.hide(_run(words, proxy.environment(http_proxy), seconds), http_proxy)


def _run(words: List[str], more: Dict[str, str], seconds: float) -> Finished:
    environment = dict(_ENVIRONMENT, **more)
    return programs.run(*words, timeout=seconds, limit=_OUTPUT, environment=environment)
