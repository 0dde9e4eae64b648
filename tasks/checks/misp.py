"""Whether MISP itself is fit: its files, its web user, its libraries and settings."""

from __future__ import annotations

from collections.abc import Iterator

from tasks import parse
from tasks.checks.seen import Seen, SeenToMigrate
from tasks.host.parts import Settings
from tasks.host.remedies import as_web_user, give_back, open_folder, quoted, word
from tasks.target import Target

OLDEST_MISP = (2, 4, 151)
OLDEST_NATIVE_SCHEDULER = (2, 5, 18)
_CAKE = "app/Console/cake"
_HERE = ("127.0.0.1", "localhost", "::1", "[::1]")


def root(target: Target, seen: Seen) -> str:
    """Say that misp_root is no directory; empty: it is one."""
    if seen.tree.root_exists:
        return ""
    return f"{target.settings.misp_root} is no directory: set misp_root to where MISP is installed"


def files(target: Target, seen: Seen) -> Iterator[str]:
    """Check MISP's version and the files that the migration works with."""
    at, tree = target.settings.misp_root, seen.tree
    if not tree.version_text:
        yield f"{at}/VERSION.json is missing: set misp_root to where MISP is installed"
    elif tree.version == (0, 0, 0):
        yield f"{at}/VERSION.json holds no version of MISP's, but: {quoted(tree.version_text, 80)}"
    elif tree.version < OLDEST_MISP:
        yield (
            f"MISP is {parse.dotted(tree.version)}, but SimpleBackgroundJobs came with "
            f"{parse.dotted(OLDEST_MISP)}: update MISP first"
        )
    if tree.config_mode < 0:
        yield f"{at}/app/Config/config.php is missing: finish MISP's own installation first"
    if problem := cake(target, seen):
        yield problem
    elif not tree.has_cake_php:
        yield f"{at}/app/Console/cake.php is missing: restore it, since it sets MISP's settings"
    if target.settings.misp_scheduler and tree.version < OLDEST_NATIVE_SCHEDULER:
        yield (
            f"misp_scheduler needs MISP {parse.dotted(OLDEST_NATIVE_SCHEDULER)}, but this is "
            f"{parse.dotted(tree.version)}: leave misp_scheduler out"
        )


def cake(target: Target, seen: Seen) -> str:
    """Say why the web user cannot execute `cake`, as workers and jobs do; empty: he can."""
    access = seen.tree.cake
    if not access.fault:
        return ""
    root_folder, user = target.settings.misp_root, seen.tree.web_user
    at, rights = quoted(access.place), quoted(access.rights, 80)
    path = f"{root_folder}/{_CAKE}"
    forbidden = f"{user} may not execute {path}"
    cannot_run = f"so workers and jobs cannot run {path}"
    opened = open_folder(root_folder, user, access.place, _CAKE)
    sentences = {
        "missing": f"{path} is missing: restore it, since workers and jobs start by it",
        "link": (
            f"{forbidden}, and {at} is a link: have the web user, not root, put the real one in "
            "its place"
        ),
        "closed": (f"{user} may not enter {at} ({rights}), {cannot_run}: {opened}"),
        "noexec": (
            f"{at} is mounted noexec, {cannot_run}: "
            f"{_executable(root_folder, access.place)}, and take noexec out of /etc/fstab or its "
            "mount unit"
        ),
        # He can have mounted it himself (FUSE), and a remount may take away its nosuid.
        "noexec-below": (
            f"{at}, in MISP's own folder, is mounted noexec, {cannot_run}: unmount it, and have it "
            "mounted without noexec if it is yours"
        ),
        "mode": (
            f"{forbidden} ({rights}), and workers and jobs run it as {user}: run "
            f"`{give_back(root_folder, f'{user}:{seen.tree.web_group}', _CAKE)}`, then "
            f"`{as_web_user(user, 'chmod', '750', path)}`"
        ),
    }
    return sentences.get(
        access.fault,
        f"{forbidden}, though its mode allows it ({rights or 'unknown'}): see its ACL "
        "(getfacl) and the log of SELinux or AppArmor (journalctl -k)",
    )


def _is_above(folder: str, root: str) -> bool:
    """Whether it is MISP's folder or one above it. The web user's answer may name any other."""
    return f"{root}/".startswith(f"{folder.rstrip('/')}/")


def _executable(root: str, mount: str) -> str:
    if _is_above(mount, root):
        return f"run `mount -o remount,exec {word(mount)}`"
    return f"if {root} is a link that leads there, mount it again with exec"


def web_user(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    """Check that MISP's files, its web tier and the operator's data agree on the web user."""
    at, tree = target.settings.misp_root, seen.tree
    if not tree.web_user:
        wanted = target.settings.misp_web_user or tree.config_owner
        if wanted:
            yield f"the web user {wanted} does not exist on this host: set misp_web_user"
        elif tree.config_mode >= 0:
            yield "MISP's web user is not known: set misp_web_user"
        return
    if tree.config_owner and tree.config_owner != tree.web_user:
        yield (
            f"config.php belongs to {tree.config_owner}, not to {tree.web_user}, so MISP cannot "
            f"save its settings: run `{give_back(at, tree.web_user, 'app/Config/config.php')}`, or "
            "correct misp_web_user"
        )
    serving = set(seen.web.users) - {"root"}
    if serving and tree.web_user not in serving and not target.settings.misp_web_user:
        yield (
            f"PHP serves the web as {', '.join(sorted(serving))}, but config.php belongs to "
            f"{tree.config_owner}, so MISP would call its workers' user wrong: make both the "
            f"same. If only MISP's own PHP pool is idle, set misp_web_user to {tree.web_user}"
        )


def libraries(target: Target, seen: Seen) -> Iterator[str]:
    """Check that missing PHP libraries can be installed, and old workers known by their folder."""
    at, tree = f"{target.settings.misp_root}/app", seen.tree
    if not seen.libraries.are_in_place:
        for name in (*tree.links, *tree.mounts):
            yield (
                f"{at}/{name} is a {'link' if name in tree.links else 'mount'}, which cannot be "
                "exchanged, so a failure of Composer could not be undone: unmount it, or have the "
                "web user, not root, put the real one in the link's place (rm, then mv), and run "
                "again"
            )
    elif "Vendor" in tree.links:
        yield (
            f"{at}/Vendor is a link, and old workers run from where it leads to, so they are not "
            "known as MISP's: have the web user, not root, put the real folder in its place (rm "
            "the link, then mv)"
        )
    if not seen.tree.composer and not seen.libraries.are_in_place:
        yield (
            f"Composer is neither at {target.settings.misp_root}/app/composer.phar nor on the "
            "PATH: MISP ships it, so check MISP's installation"
        )


def unsavable(target: Target, seen: Seen) -> Iterator[str]:
    """Say that MISP cannot write what it has to; for its settings it exchanges config.php."""
    at, tree = f"{target.settings.misp_root}/app/Config", seen.tree
    if not tree.is_tmp_writable:
        yield (
            f"{tree.web_user} may not write {target.settings.misp_root}/app/tmp or its folder "
            "cache, so jobs fail: correct owners and modes, and the mount (findmnt -T)"
        )
    if tree.config_mode >= 0 and not tree.is_savable:
        yield (
            f"{tree.web_user} may not write {at} or exchange config.php in it, so MISP cannot save "
            "its settings: correct their modes and owners (also lsattr), and the mounts (findmnt "
            f"-T {at}/config.php): read-only, or config.php itself is one"
        )


def settings(target: Target, seen: Seen) -> Iterator[str]:
    """Check MISP's stored settings and whether MISP can save others."""
    at, stored = target.settings.misp_root, seen.settings
    has_config = seen.tree.config_mode >= 0
    if stored.error:
        if has_config and seen.php.version != (0, 0, 0):  # else there is a sentence already
            yield f"{at}/app/Config/config.php {stored.error}"
        return
    yield from unsavable(target, seen)
    yield from workers_on_another_host(stored)
    if problem := parse.impatience(stored):
        yield problem
    if not stored.has_background_jobs:
        yield "MISP.background_jobs is false, so MISP queues no jobs: set it to true first"
    if not stored.is_redis_password_settable:
        yield (
            "Redis's password begins with -, which MISP's command line takes for an option: give "
            "Redis another password"
        )
    if stored.block.get("redis_serializer") == "igbinary":
        yield (
            "SimpleBackgroundJobs.redis_serializer is igbinary, but the test jobs need JSON: set "
            "it to JSON while the queues are empty, since a change strands queued jobs"
        )
    if stored.is_in_database and stored.is_encrypted:
        yield (
            "MISP keeps its settings encrypted in the database (Security.encryption_key), and "
            "workers may get the passwords encrypted (EncryptedValue.php): keep the settings in "
            "config.php"
        )


def workers_on_another_host(stored: Settings) -> Iterator[str]:
    """Say that MISP's workers are to be on another host than MISP itself."""
    asked = str(stored.block.get("supervisor_host") or "127.0.0.1")
    is_here = asked in _HERE or asked.startswith("unix:")
    if stored.is_on and not is_here:  # else it is what somebody has left there
        yield (
            f"MISP's setting SimpleBackgroundJobs.supervisor_host is {quoted(asked, 80)}, and this "
            "deploy runs workers on MISP's own host alone. If that is this host, set it to "
            "127.0.0.1, then run again. Else leave this host out of the inventory"
        )
