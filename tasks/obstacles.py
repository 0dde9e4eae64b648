"""Why a host is not migrated, or not brought back: each reason a sentence with its remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

from tasks import facts, misp_rest, parse, render
from tasks.acquaintance import ROOT_IS_NO_WEB_USER
from tasks.parse import Answer
from tasks.target import Target

OLDEST_MISP = (2, 4, 151)
OLDEST_SUPERVISOR = (3, 3, 3)  # CVE-2017-11610
EXTENSIONS = ("redis", "posix", "curl")
# Of an idle worker: what it has for itself (21 of MISP 2.5.1 share the rest), and all that is
# resident, as it is once a worker has run something (MISP #9832).
WORKER_OWN_KB, WORKER_KB = 12_000, 43_000
DISK_KB = 200_000  # room for Composer's packages, their saved copy and logs

Check = Callable[[Target, Answer], Iterator[str]]


def of_migration(target: Target, answer: Answer) -> Iterator[str]:
    """All that keeps a host from being migrated."""
    if not answer.one("root"):
        yield (
            f"{target.settings.misp_root} is no directory here: set misp_root to where MISP is "
            "installed"
        )
        checks: tuple[Check, ...] = (_system, _room, _php)
    elif target.web_user == "root":  # as whom none of MISP's code was run, so little is known
        checks = (_system, _room, _misp, _php, _web_user, _port_holder)
    else:
        checks = (
            *(_system, _room, _misp, _libraries, _php, _web_user),
            *(_settings, _redis, _supervisor, _legacy, _rest),
        )
    for check in checks:
        yield from check(target, answer)


def _system(target: Target, answer: Answer) -> Iterator[str]:
    if answer.one("init") != "systemd":
        yield f"PID 1 is {answer.one('init') or 'unknown'}: supervisor's service needs systemd"
    if answer.one("busy"):
        yield f"{answer.one('busy')}: wait until that run has ended"
    for tool in ("setpriv", "flock"):
        if tool not in answer.all("tool"):
            yield f"{tool} is missing: install util-linux"


def _room(target: Target, answer: Answer) -> Iterator[str]:
    yield from lack_of_memory(target, answer, WORKER_OWN_KB)
    for key, place in (
        ("disk_kb", f"{target.settings.misp_root}/app/tmp"),
        ("disk_var_kb", "/var/log and /var/lib"),
    ):
        free = answer.one(key)
        if free.isdigit() and int(free) < DISK_KB:
            needed_mb, free_mb = DISK_KB // 1024, int(free) // 1024
            yield f"{free_mb} MiB are free in {place}, {needed_mb} are needed: make room"


def lack_of_memory(target: Target, answer: Answer, worker_kb: int) -> Iterator[str]:
    """Whether memory is short, if each worker that does not run yet takes so much of it."""
    memory = answer.one("memory_kb")
    status = parse.supervisor_status(answer.all("status"))
    running = sum(status[name].pid > 0 for name in target.process_names if name in status)
    more = len(target.process_names) - running
    if memory.isdigit() and int(memory) < worker_kb * more:
        yield (
            f"{int(memory) // 1024} MiB of memory are free, {more} more workers take about "
            f"{worker_kb * more // 1024} MiB: lower the counts in misp_workers or add memory"
        )


def _misp(target: Target, answer: Answer) -> Iterator[str]:
    root = target.settings.misp_root
    if not answer.one("version"):
        yield f"{root}/VERSION.json is missing: misp_root does not point to a MISP installation"
    elif target.version == (0, 0, 0):
        yield f"{root}/VERSION.json cannot be read as MISP's: {answer.one('version')[:80]}"
    elif target.version < OLDEST_MISP:
        yield (
            f"MISP is {parse.dotted(target.version)}: SimpleBackgroundJobs came with "
            f"{parse.dotted(OLDEST_MISP)}, so update MISP first"
        )
    if not answer.one("config"):
        yield f"{root}/app/Config/config.php is missing: finish MISP's own installation first"
    if not answer.one("cake"):
        yield f"{root}/app/Console/cake is missing or cannot be executed"
    elif not answer.one("cake_php"):
        yield f"{root}/app/Console/cake.php, which MISP's settings are set by, is missing"
    if target.settings.misp_scheduler and target.version < (2, 5, 18):
        version = parse.dotted(target.version)
        yield f"misp_scheduler needs MISP 2.5.18, this is {version}: leave it out"


def _libraries(target: Target, answer: Answer) -> Iterator[str]:
    if not answer.one("composer") and not parse.has_libraries(answer):
        yield (
            f"Composer is neither {target.settings.misp_root}/app/composer.phar nor on the PATH: "
            "MISP ships it, so check the installation"
        )


def _php(target: Target, answer: Answer) -> Iterator[str]:
    if not answer.one("php"):
        yield "php is missing: MISP's command line cannot run"
        return
    if not answer.one("php_version"):
        yield (
            f"{answer.one('php')} does not say its version or is not where jobs look: a job has "
            "only bash's own PATH, so link it into /usr/bin"
        )
        return
    oldest = (8, 1, 0) if target.version >= (2, 5, 0) else (7, 4, 0)
    version = parse.version(answer.one("php_version"))
    if version < oldest:
        yield (
            f"PHP is {answer.one('php_version')} ({answer.one('php')}): MISP "
            f"{parse.dotted(target.version)} needs {oldest[0]}.{oldest[1]} to run a job"
        )
    present = {name.lower() for name in answer.all("extension")}
    if missing := [name for name in EXTENSIONS if name not in present]:
        yield f"PHP lacks the extension(s) {', '.join(missing)}: install them for the CLI too"


def _web_user(target: Target, answer: Answer) -> Iterator[str]:
    owner = (answer.words("config") or [""])[0]
    if not target.web_user:
        wanted = target.settings.misp_web_user or owner
        if wanted:
            yield f"the web user {wanted} does not exist on this host: set misp_web_user"
        return
    if target.web_user == "root":
        yield ROOT_IS_NO_WEB_USER
        return
    if owner != target.web_user:
        yield (
            f"config.php belongs to {owner}, not to {target.web_user}: MISP must own it to save "
            "its settings (chown), or misp_web_user is wrong"
        )
    serving = {line.split()[0] for line in answer.all("web")} - {"root"}
    if serving and target.web_user not in serving and not target.settings.misp_web_user:
        yield (
            f"PHP serves the web as {', '.join(sorted(serving))}, but config.php belongs to "
            f"{owner}: MISP would call its workers' user wrong. Make them agree or, where only "
            f"MISP's own pool sleeps, set misp_web_user to {target.web_user}"
        )


def _settings(target: Target, answer: Answer) -> Iterator[str]:
    stored = answer.record("settings")
    if answer.one("config") and answer.one("php_version") and "error" in stored:
        yield f"{target.settings.misp_root}/app/Config/config.php {stored['error']}"
        return
    if answer.one("config") and stored.get("savable") is False:
        yield (
            f"MISP cannot save its settings: {target.web_user} may not write config.php or its "
            f"directory, {target.settings.misp_root}/app/Config: mend modes, owners and mounts"
        )
    if problem := parse.impatience(stored):
        yield problem
    if stored.get("background_jobs") is False:
        yield "MISP.background_jobs is false, so MISP queues nothing: set it to true first"
    if stored.get("redis_password_settable") is False:
        yield (
            "Redis's password begins with -, which MISP's command line takes for an option: give "
            "Redis another one"
        )
    if (stored.get("block") or {}) and stored["block"].get("redis_serializer") == "igbinary":
        yield (
            "SimpleBackgroundJobs.redis_serializer is igbinary: the test jobs need JSON, and a "
            "change strands queued jobs, so set it to JSON while the queues are empty"
        )
    if stored.get("database_mode") and stored.get("encrypted"):
        yield (
            "MISP keeps its settings encrypted in the database (Security.encryption_key): workers "
            "may get the passwords encrypted (EncryptedValue.php). Keep the settings in the file"
        )


def _redis(target: Target, answer: Answer) -> Iterator[str]:
    redis, stored = answer.record("redis"), answer.record("settings")
    if "error" in stored or not answer.one("php_version"):
        return  # said already
    if moved := list(other_redis(target, answer)):
        yield from moved
        return
    at = f"{target.redis.get('redis_host')}:{target.redis.get('redis_port')}"
    database = target.redis.get("redis_database")
    if "error" in redis:
        yield (
            f"Redis at {at}, database {database}, cannot be used with the credentials that MISP "
            f"will have: {redis['error']}. Check misp_redis_host, _port, _database and _password"
        )
        return
    namespace = target.redis.get("redis_namespace")
    if foreign := redis.get("foreign_keys"):
        yield (
            f"something else uses database {database} and namespace {namespace} of Redis at {at} "
            f"(keys such as {', '.join(foreign)}): set misp_redis_database or misp_redis_namespace"
        )
    # Of a migrated host whose settings somebody spoiled the workers tell.
    is_migrated = (stored.get("block") or {}).get("enabled") is True or _has_the_group(answer)
    if not is_migrated and redis.get("blocked_clients"):
        yield (
            f"{redis['blocked_clients']} worker(s) of another MISP wait in database {database} of "
            f"Redis at {at}: two instances would run each other's jobs, so set "
            "misp_redis_database or misp_redis_namespace"
        )
    if not is_migrated and redis.get("waiting"):
        yield (
            f"{redis['waiting']} job(s) already wait in database {database}, namespace "
            f"{namespace}, though the new backend is off. If they are this MISP's own, set its "
            "SimpleBackgroundJobs.enabled to true again, and they are done; else choose another one"
        )


def other_redis(target: Target, answer: Answer) -> Iterator[str]:
    """Why a migrated MISP stays in its Redis server, database and namespace."""
    stored = answer.record("settings")
    block, wanted = stored.get("block") or {}, target.redis
    if not _uses_the_new_backend(stored):
        return
    if not block.get("redis_namespace"):
        yield (
            "MISP uses the new backend without SimpleBackgroundJobs.redis_namespace, and jobs that "
            f"wait now would stay behind in namespace {wanted.get('redis_namespace')}: while no "
            "job waits or runs, set it in MISP and restart the workers, then run again"
        )
        return
    differing = [key for key in _PLACE if not _is_same_place(key, block, wanted)]
    if differing:
        has = " and ".join(f"{key} {block.get(key)}" for key in differing)
        gets = " and ".join(f"misp_{key} {wanted[key]}" for key in differing)
        yield (
            f"the queues of this migrated MISP are at {has}, but the inventory says {gets}, and "
            "the deploy does not move them: set the inventory back to MISP's value; to move MISP's "
            "queues to another Redis, run rollback.py, change the inventory, then run deploy.py "
            "again"
        )


_PLACE = ("redis_host", "redis_port", "redis_database", "redis_namespace")
_LOCAL = ("localhost", "127.0.0.1", "::1")


def _uses_the_new_backend(stored: Mapping[str, Any]) -> bool:
    enabled = (stored.get("block") or {}).get("enabled")
    # The database keeps text; of the file MISP takes nothing but true.
    return enabled is True or (bool(stored.get("database_mode")) and enabled in (1, "1", "true"))


def _is_same_place(key: str, block: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    has, gets = block.get(key), wanted.get(key)
    if has in (None, "") or gets is None:
        return True  # MISP gets what it lacks
    if key == "redis_host":
        return has == gets or (has in _LOCAL and gets in _LOCAL)
    is_socket = key == "redis_port" and str(wanted.get("redis_host")).startswith("/")
    return is_socket or str(has) == str(gets)


def _has_the_group(answer: Answer) -> bool:
    status = parse.supervisor_status(answer.all("status"))
    return any(name.startswith(f"{render.GROUP}:") for name in status)


def _supervisor(target: Target, answer: Answer) -> Iterator[str]:
    version = answer.one("supervisor_version")
    if version and parse.version(version) < OLDEST_SUPERVISOR:
        yield (
            f"supervisor is {version}: before {parse.dotted(OLDEST_SUPERVISOR)} an RPC client runs "
            "code as root (CVE-2017-11610), so update it"
        )
    yield from _include_files(target, answer)
    yield from (
        _existing_rpc(target, answer) if target.rpc_elsewhere else _port_holder(target, answer)
    )
    if others := sorted({*answer.words("worker_user")} - {target.web_user}):
        yield (
            f"workers run as {', '.join(others)}, not as {target.web_user}, who could not stop "
            "them without a job in their hands: supervisorctl stop 'misp-workers:*' while no job "
            "runs, then run again"
        )
    old = [line.split()[0] for line in answer.all("old_program")]  # refused by themselves
    foreign = _foreign_programs(answer, old)
    will_restart = target.settings.rotate_password or not speaks_rpc(answer)
    if foreign and will_restart and not target.settings.allow_foreign_restart:
        yield (
            f"supervisord also runs {', '.join(foreign)}, and its RPC takes a restart of all of "
            "them: set allow_foreign_restart to true when that is acceptable"
        )


def _include_files(target: Target, answer: Answer) -> Iterator[str]:
    """Whether supervisord will read our files, and nobody else's under the same names."""
    platform, root = target.platform, target.settings.misp_root
    ours = platform.include_file(render.GROUP)
    folder = PurePosixPath(platform.supervisor_conf).parent
    patterns = [
        str(folder / pattern.replace("%(here)s", str(folder)))
        for pattern in answer.words("include")
    ]
    if answer.one("conf") and not any(fnmatch(ours, pattern) for pattern in patterns):
        yield (
            f"{platform.supervisor_conf} does not include {ours}: add "
            f"{platform.include_file('*')} to its [include] section"
        )
    for file in answer.all("group_elsewhere"):
        # Of two programs with one name supervisord silently takes the one it reads last.
        yield (
            f"{file} has a group misp-workers, or a program named after a queue of MISP's, of its "
            f"own: rename it or take it out, as {ours} will have these names"
        )
    for section in answer.all("group_section"):
        yield (
            f"{ours} also has {section}, which would be lost when this run writes the file: move "
            "it to a file of its own (a scheduler of MISP's own: take it out, as the group gets it)"
        )
    if answer.one("group_root") not in ("", root):
        yield (
            f"{ours} belongs to the MISP in {answer.one('group_root')}: MISP fixes the group's "
            "name, so a second instance needs a supervisord of its own"
        )


def _existing_rpc(target: Target, answer: Answer) -> Iterator[str]:
    section = f"the [inet_http_server] in {target.rpc_elsewhere}"
    words = answer.words("inet_elsewhere")
    if target.settings.rotate_password:
        yield (
            f"rotate_password cannot change {section}, which is yours: change the password there, "
            "restart supervisord, and run without rotate_password"
        )
    if not target.rpc_port or not target.rpc_user:
        yield f"{section} has no port or no username: MISP needs both, so complete or remove it"
        return
    if words[1].rpartition(":")[0] not in ("127.0.0.1", "localhost"):
        yield (
            f"{section} listens on {words[1]}, not on the loopback only: whoever gets there can "
            f"stop every program, so make it port=127.0.0.1:{target.rpc_port} and restart it"
        )
    is_active = answer.words("unit_state")[:1] == ["active"]
    is_answering = answer.one("inet_answer") == f"200 {answer.one('daemon_pid')}"
    # supervisord runs since before the section came, and is to be restarted; see rpc.py.
    is_unread = answer.one("inet_answer").startswith("0 ") and not answer.one("listening")
    if is_active and not is_answering and not is_unread:
        yield (
            f"supervisord does not answer on port {target.rpc_port} with the credentials that MISP "
            f"would have (answer: {answer.one('inet_answer') or 'none'}): if the password in "
            f"{section} is hashed, give it as supervisor_password; if the file was changed, "
            "restart supervisord"
        )


def speaks_rpc(answer: Answer) -> bool:
    """Whether supervisord itself listens on the RPC port, so that no restart opens it."""
    pid = answer.one("daemon_pid")
    return any(line.split()[0] == pid for line in answer.all("listener"))


def _port_holder(target: Target, answer: Answer) -> Iterator[str]:
    if target.rpc_elsewhere or target.settings.supervisor_transport != "tcp":
        return
    if not answer.one("listening") or speaks_rpc(answer):
        return
    holders = [" ".join(line.split()[1:]) for line in answer.all("listener")]
    yield (
        f"port {target.rpc_port} is taken by {', '.join(holders) or 'another system'}: "
        "set supervisor_port to a free one, or supervisor_transport to unix"
    )


def _legacy(target: Target, answer: Answer) -> Iterator[str]:
    for launcher in answer.all("unfit_launcher"):
        yield (
            f"the old workers are also started by {launcher}: take that out by hand (a running "
            "worker goes on), so that they do not come back after the migration"
        )
    for unit in answer.all("no_unit"):
        yield f"there is no unit {unit}: correct legacy_service, or leave it out"
    supervisor = f"{target.platform.supervisor_unit}.service"
    if (target.settings.legacy_service or "").removesuffix(".service") + ".service" == supervisor:
        yield ("legacy_service is supervisord's own unit, which the new workers need: leave it out")
    yield from old_programs(answer)
    unknown = _odd_units(target, answer)
    if supervisor in unknown:
        unknown.remove(supervisor)
        if not answer.all("old_program"):
            yield f"a program of supervisord's runs the old workers: {_PROGRAM_REMEDY}"
    if unknown:
        yield (
            f"old workers run in {', '.join(unknown)}, which does not start them by a command of "
            "MISP's: name it with legacy_service, so that the migration can stop and restore them"
        )
    if hidden := answer.all("hidden_process"):
        yield (
            f"processes {', '.join(hidden)} look like old workers, but root may not read "
            f"/proc/{hidden[0]}/cwd here to tell whose they are: this system keeps SYS_PTRACE from "
            "root, so give it that capability"
        )
    legacy = answer.record("legacy")
    if answer.all("process") and legacy.get("installed") is False:
        yield (
            f"old workers live, but {target.settings.misp_root}/app/Plugin/CakeResque/Config/"
            "config.php is missing, which says in which Redis their jobs wait: put it back (MISP "
            "has one in INSTALL/setup/config.php), with the Redis that they use"
        )
    if answer.all("process") and "error" in legacy:
        yield (
            f"the old workers' Redis cannot be asked how many jobs wait: {legacy['error']}. See "
            f"{target.settings.misp_root}/app/Plugin/CakeResque/Config/config.php"
        )


def old_programs(answer: Answer) -> Iterator[str]:
    """Programs of supervisord's that run this MISP's old workers: the operator takes them out."""
    for program in answer.all("old_program"):
        name, _, file = program.partition(" ")
        yield f"supervisord's program {name} in {file} runs the old workers: {_PROGRAM_REMEDY}"


_PROGRAM_REMEDY = (
    "stop the program while no job runs, remove it from supervisord's files (supervisorctl "
    "update), start app/Console/worker/start.sh as the web user or through MISP's unit, then run "
    "again"
)


def _odd_units(target: Target, answer: Answer) -> list[str]:
    """Units with old workers in them that may start these again, in a way nobody here knows.

    Not those where somebody's shell ran start.sh, nor the web tier, where MISP's page did.
    """
    by_hand = r"(sshd?|sshd?@.*|user@.*|crond?|atd|rc-local|.*getty@.*)\.service"
    known = {line.split()[0] for line in answer.all("unit")}
    known.update(line.split()[-1] for line in answer.all("web"))
    return [
        unit
        for unit in answer.all("started_in")
        if unit not in known and not re.fullmatch(by_hand, unit)
    ]


def _rest(target: Target, answer: Answer) -> Iterator[str]:
    if "error" in answer.record("settings") or "error" in answer.record("legacy"):
        return  # a MISP without its configuration or its Redis answers nothing, or after minutes
    if problem := misp_rest.access_problem(facts.rest_view(target)):
        yield problem


def of_rollback(target: Target, answer: Answer) -> Iterator[str]:
    """What keeps a host from going back to its old workers."""
    if _was_never_on_the_old_one(answer):
        yield (
            "MISP used the new backend already when the migration first ran here, and no old "
            "workers ran: there is nothing to go back to, so all stays as it is. What the "
            f"migration replaced is kept in {target.state_dir}/originals/saved"
        )
        return
    if target.web_user == "root":
        yield ROOT_IS_NO_WEB_USER
        return
    for check in (_system, _legacy_to_go_back_to, _restart_to_go_back):
        yield from check(target, answer)
    if not answer.one("kept"):
        yield (
            f"{target.state_dir} holds no record of this host's old state: it was migrated by "
            "other means, so the way back is by hand"
        )


def _was_never_on_the_old_one(answer: Answer) -> bool:
    recorded = answer.all("unit_before") or answer.one("launchers")
    return (
        answer.one("backend_before") == "on" and not recorded and not parse.old_workers_live(answer)
    )


def _legacy_to_go_back_to(target: Target, answer: Answer) -> Iterator[str]:
    legacy = answer.record("legacy")
    if legacy.get("installed") is False:
        yield (
            f"MISP {parse.dotted(target.version)} here no longer has CakeResque "
            "(app/Plugin/CakeResque): there are no old workers to go back to"
        )
    elif "error" in legacy:
        yield f"the old workers' Redis cannot be used: {legacy['error']}"


def _restart_to_go_back(target: Target, answer: Answer) -> Iterator[str]:
    """Another program under supervisord may have come, or consent gone, since the migration."""
    was_active = answer.words("daemon_before")[:1] == ["active"]
    foreign = _foreign_programs(answer)
    will_restart = was_active and bool(answer.one("rpc_kept"))
    if foreign and will_restart and not target.settings.allow_foreign_restart:
        yield (
            f"supervisord also runs {', '.join(foreign)}, and taking its RPC back takes a restart "
            "of all of them: set allow_foreign_restart to true when that is acceptable"
        )


def _foreign_programs(answer: Answer, old: Iterable[str] = ()) -> list[str]:
    status = parse.supervisor_status(answer.all("status"))
    return parse.foreign_programs(status, render.GROUP, old)
