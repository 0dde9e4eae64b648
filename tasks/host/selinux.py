"""SELinux: the guide's module, kept over a relabel and an update, and its undoing.

Root changes the policy alone. The label of MISP's `cake` is set by the web user, who owns it: root
does nothing to a path in MISP's folder.
"""

import os
import shutil
import stat
from typing import List, Optional

from tasks.host import files, gate, originals, programs, remedies, web_user
from tasks.host.errors import HostError
from tasks.host.parts import Selinux
from tasks.host.programs import Finished, ProgramError
from tasks.host.site import Site
from tasks.host.web_user import WebUser

FILES = "/sys/fs/selinux"
MODULE = "misp-workers-httpd"
CAKE_TYPE = "httpd_sys_script_exec_t"
BOOLEAN = "httpd_can_network_connect"
UNCHANGED = "Nothing of SELinux was changed"
_MAKEFILE = "/usr/share/selinux/devel/Makefile"
_READ_ONLY = 1  # ST_RDONLY, statvfs(3)
BUILD_SECONDS = 600.0  # the whole policy is built anew: a small machine takes a minute for it
_SPECIAL = ".^$*+?()[]{}|\\"  # of a file context rule, which is a regular expression


class SelinuxError(HostError):
    """SELinux's policy could not be changed."""


def mode() -> str:
    """Enforcing, Permissive, Disabled, or Absent where nothing of SELinux is there.

    From the kernel: a getenforce that is not found does not mean "off".
    """
    state = files.first_line(FILES + "/enforce")
    # As libselinux has it: a container of a host with SELinux sees its files, but read-only.
    if state in ("0", "1") and not os.statvfs(FILES).f_flag & _READ_ONLY:
        return "Enforcing" if state == "1" else "Permissive"
    return "Disabled" if programs.find("getenforce") else "Absent"


def look(site: Site, user: Optional[WebUser]) -> Selinux:
    """The module, the label that it goes by, and the web tier's way to the network."""
    now = mode()
    built = files.first_line(_stamp(site))
    if now in ("Absent", "Disabled") or user is None:
        return Selinux(now, built, False, "", "", False)
    return Selinux(
        now,
        built,
        _seems_loaded(),
        _label(site, user),
        _rule(site),
        _text("getsebool", BOOLEAN) == "on",
    )


def _stamp(site: Site) -> str:
    return site.state_dir + "/selinux-module"


def _cake(site: Site) -> str:
    # Rules do not follow a link as restorecon does.
    return os.path.realpath(site.misp_root) + "/app/Console/cake"


def _cake_rule(site: Site) -> str:
    return "".join("\\" + one if one in _SPECIAL else one for one in _cake(site))


def _text(*words: str) -> str:
    """A program's last word, empty where it has none."""
    try:
        return (programs.run(*words).text.split() or [""])[-1]
    except ProgramError:
        return ""


def _known(*words: str) -> str:
    """A program's last word; that it has none is an error, since the way back goes by it."""
    word = _text(*words)
    if not word:
        raise SelinuxError("%s does not say how SELinux is set up now" % " ".join(words))
    return word


def _is_loaded() -> bool:
    done = programs.run("semodule", "-l", timeout=BUILD_SECONDS, limit=1 << 24)
    if done.status != 0:
        raise SelinuxError("semodule -l failed: %s" % done.complaint)
    return any(line.split()[:1] == [MODULE] for line in done.lines)


def _seems_loaded() -> bool:
    """As far as it can be told: else the step says why, when it loads the module."""
    try:
        return _is_loaded()
    except HostError:
        return False


def _type(context: str) -> str:
    return [*context.split(":"), "", "", ""][2]


def _label(site: Site, user: WebUser) -> str:
    """What `cake` has; the web user's word."""
    try:
        done = gate.run(user, [programs.find("stat") or "stat", "-c", "%C", "--", _cake(site)])
    except ProgramError:
        return ""
    return _type(done.text.strip()) if done.status == 0 else ""


def _rule(site: Site) -> str:
    """What the policy has for `cake`'s place. Told that it is a file it does not look at it."""
    return _type(_text("matchpathcon", "-m", "file", "-n", _cake(site)))


def install(site: Site, source: str, digest: str, load: bool) -> List[str]:
    """Build the module and, with `load`, have it, the label of `cake` and the boolean.

    The guide builds below a fixed name in /tmp, which anybody can take first.

    Raises:
        SelinuxError: with what did not work, and what was changed before.
    """
    import tempfile

    user = web_user.web_user(site)
    files.make_folder(site.state_dir)
    folder = tempfile.mkdtemp(prefix="selinux.", dir=site.state_dir)
    done: List[str] = []
    try:
        package = _build(folder, source)
        if load:
            _load(site, user, package, done)
    except HostError as error:
        left = ", ".join(done)
        raise SelinuxError(
            "%s. %s" % (error, "Changed before, and left so: %s" % left if left else UNCHANGED)
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    files.write(_stamp(site), (digest + "\n").encode())
    return []


def _load(site: Site, user: WebUser, package: str, done: List[str]) -> None:
    """Have the module, the label and the boolean; `done` takes what is changed by now."""
    _note(site)
    _change("semodule", "-i", package)
    done.append("the module %s" % MODULE)
    _have_rule(site)
    done.append("the file context of %s" % _cake(site))
    _relabel(site, user)
    if _label(site, user) != CAKE_TYPE:
        raise SelinuxError(
            "%s did not get the label %s: run `%s`, see what it says, and run again"
            % (_cake(site), CAKE_TYPE, _restorecon(_cake(site), user))
        )
    _change("setsebool", "-P", BOOLEAN, "on")


def _build(folder: str, source: str) -> str:
    files.write("%s/%s.te" % (folder, MODULE), source.encode())
    if not os.path.isfile(_MAKEFILE):
        raise SelinuxError("%s is missing: install the SELinux policy's devel package" % _MAKEFILE)
    target = MODULE + ".pp"
    done = programs.run("make", "-C", folder, "-f", _MAKEFILE, target, timeout=BUILD_SECONDS)
    if done.status != 0:
        raise SelinuxError("the SELinux module could not be built: %s" % done.complaint)
    return folder + "/" + target


def _note(site: Site) -> None:
    before = {
        "is_loaded": _is_loaded(),
        "rule": _type(_known("matchpathcon", "-m", "file", "-n", _cake(site))),
        "network": _known("getsebool", BOOLEAN),
    }
    originals.note_selinux(site, before)


def _have_rule(site: Site) -> None:
    words = ["-t", CAKE_TYPE, _cake_rule(site)]
    if _run("semanage", "fcontext", "-a", *words).status != 0:  # there is one already
        _change("semanage", "fcontext", "-m", *words)


def _relabel(site: Site, user: WebUser) -> None:
    """As the web user; by root where the file and all folders above it are root's alone."""
    path = _cake(site)
    tool = programs.find("restorecon")
    if not tool:
        raise SelinuxError("restorecon is missing on this host: install policycoreutils")
    if gate.run(user, [tool, path]).status != 0 and _is_roots(path):
        _run(tool, path)


def _restorecon(path: str, user: WebUser) -> str:
    words = ["restorecon", "-v", path]
    if _is_roots(path):
        return " ".join(map(remedies.word, words))
    return remedies.as_web_user(user.name, *words)


def _is_roots(path: str) -> bool:
    try:
        if files.real_path(path) != path:
            return False
        found = os.lstat(path)
    except (files.FileError, OSError):
        return False
    return found.st_uid == 0 and stat.S_ISREG(found.st_mode)


def undo(site: Site, user: WebUser) -> None:
    """SELinux as it was before the migration; nothing where that was never recorded."""
    before = originals.selinux(site)
    if not before or mode() in ("Absent", "Disabled"):
        return
    if not before["is_loaded"] and _is_loaded():
        _change("semodule", "-r", MODULE)
    if before["rule"] != CAKE_TYPE:
        _run("semanage", "fcontext", "-d", _cake_rule(site))
        _relabel(site, user)
    if before["network"] != "on":
        _change("setsebool", "-P", BOOLEAN, "off")


def _change(*words: str) -> None:
    done = _run(*words)
    if done.status != 0:
        shown: List[str] = [os.path.basename(words[0]), *words[1:]]
        raise SelinuxError("%s failed: %s" % (" ".join(shown), done.complaint))


def _run(*words: str) -> Finished:
    return programs.run(*words, timeout=BUILD_SECONDS)
