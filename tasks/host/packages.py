"""Packages: supervisor, and where SELinux wants them its tools.

pyinfra's own apt.packages and dnf.packages are not used for this. The service must be masked while
its package is set up and unmasked whatever happens, which takes one call that lives on when the
operator's machine dies; an install that was cut off has to be repaired, and EPEL enabled, only when
a first try has failed; and dnf.packages asks the repositories for each package at each look.
"""

from typing import Dict, List, NamedTuple, Tuple

from tasks.host import files, originals, programs, proxy, python_modules, systemd
from tasks.host.errors import HostError
from tasks.host.parts import Packages
from tasks.host.programs import Finished, ProgramError
from tasks.host.remedies import word
from tasks.host.site import Site

_INSTALL_SECONDS = 1800.0  # a slow mirror; ended by force it is repaired by the next run
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
    except HostError as error:
        raise PackageError("%s. %s" % (error, proxy.advice(http_proxy))) from None
    finally:
        systemd.unmask(site.unit)
    if not (site.supervisor_program or programs.find("supervisord")):
        raise PackageError(
            "these are installed, but there is no supervisord on the PATH: %s. See what else is "
            "called supervisor there, and run again" % ", ".join(names)
        )
    return []


def _install(
    site: Site, manager: Manager, names: List[str], may_use_epel: bool, http_proxy: str
) -> None:
    # Where EPEL is missing supervisor most likely is too, and asking is quicker than an install
    # that fails.
    needs_supervisor = site.supervisor_package in names
    if needs_supervisor and manager.epel and may_use_epel and not _has(site, manager.epel):
        _have_it_offered(site, manager, may_use_epel, http_proxy)
    if _fetch(manager, manager.install + names, http_proxy).status == 0:
        return
    # An install was cut off, the lists are old, or EPEL is missing.
    if manager.repair:
        _run(manager.repair, {})
    if manager.refresh:
        _fetch(manager, manager.refresh, http_proxy)  # without it the old lists may do
    if needs_supervisor:
        _have_it_offered(site, manager, may_use_epel, http_proxy)
    done = _fetch(manager, manager.install + names, http_proxy)
    if done.status != 0:
        raise PackageError(
            "could not install %s: %s. Correct that (run `%s` on the host to see all of it), then "
            "run again"
            % (", ".join(names), done.complaint, " ".join(map(word, [*manager.install, *names])))
        )


def _has(site: Site, names: List[str]) -> bool:
    return programs.run(*site.package_query.split(), *names).status == 0


def _have_it_offered(site: Site, manager: Manager, may_use_epel: bool, http_proxy: str) -> None:
    name = site.supervisor_package
    if not manager.offered or _fetch(manager, [*manager.offered, name], http_proxy).status == 0:
        return
    if not manager.epel:
        raise PackageError("no repository offers %s: enable one that does, then run again" % name)
    if not may_use_epel:
        raise PackageError(
            "no repository offers %s and epel is false: enable EPEL or a repository that has it, "
            "then run again" % name
        )
    done = _fetch(manager, manager.install + manager.epel, http_proxy)
    if done.status != 0:
        raise PackageError(
            "EPEL could not be enabled by installing %s (%s): enable it as "
            "docs.fedoraproject.org/en-US/epel says, then run again"
            % (", ".join(manager.epel), done.complaint)
        )


def _fetch(manager: Manager, words: List[str], http_proxy: str) -> Finished:
    own_off = manager.own_proxy_off if http_proxy else []
    return proxy.hide(_run(words + own_off, proxy.environment(http_proxy)), http_proxy)


def _run(words: List[str], more: Dict[str, str]) -> Finished:
    environment = dict(_ENVIRONMENT, **more)
    return programs.run(*words, timeout=_INSTALL_SECONDS, limit=_OUTPUT, environment=environment)
