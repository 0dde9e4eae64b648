"""One MISP as the functions of this package work on it: its web user, its PHP, its two Redis."""

import itertools
import json
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from tasks.host import files, gate, places, web_user
from tasks.host.bridge import Bridge, BridgeRedis, whole
from tasks.host.errors import WebUserError
from tasks.host.places import Place
from tasks.host.queues import Backend
from tasks.host.redis import RedisError, RedisGoneError
from tasks.host.site import CRON, NATIVE, SCHEDULER_SINCE, Desired, Site, is_on
from tasks.host.versions import Version

_STARTS = 20  # lines that are tried


class Stored(NamedTuple):
    """MISP's settings where they count: config.php, or the database over it. Holds passwords."""

    block: Dict[str, Any]  # SimpleBackgroundJobs
    misp: Dict[str, Any]
    is_in_database: bool
    is_encrypted: bool

    @property
    def is_on(self) -> bool:
        """Whether MISP uses the new backend."""
        return is_on(self.block, self.is_in_database)


class Misp:
    """A context manager: its PHP ends with it.

    Raises:
        WebUserError: who the web user is cannot be told, or he is one that must not be.
    """

    def __init__(self, site: Site, desired: Desired) -> None:
        self.site = site
        self.desired = desired
        self.user = web_user.web_user(site)
        self.bridge = Bridge(self.user, site.misp_root)
        self._stored: Optional[Stored] = None

    def __enter__(self) -> "Misp":
        return self

    def __exit__(self, _kind: Any, error: Any, _trace: Any) -> None:
        self.bridge.close()
        if isinstance(error, (RedisError, RedisGoneError)) and error.at:
            does = "does not answer" if isinstance(error, RedisGoneError) else "refuses a command"
            error.args = (
                "Redis at %s %s: %s. See that it runs and that MISP's settings of it are right, "
                "then run again" % (error.at, does, error),
            )

    def stored(self) -> Stored:
        """MISP's settings, read once: with a database it takes a run of `cake`."""
        if self._stored is None:
            config = self.bridge.config()
            in_database = bool(config.misp.get("system_setting_db"))
            found = Stored(config.block, config.misp, in_database, config.encrypted)
            self._stored = self._from_database(found) if in_database else found
        return self._stored

    def forget(self) -> None:
        """The settings have changed."""
        self._stored = None
        self.bridge.forget()

    def _from_database(self, stored: Stored) -> Stored:
        """`Admin getSetting all` shows the default of an unset key: that one counts as absent."""
        block, misp = dict(stored.block), dict(stored.misp)
        for name, setting in self.all_settings().items():
            if not isinstance(setting, dict) or "value" not in setting:
                continue
            section, _, key = str(setting.get("setting", name)).partition(".")
            target = {"SimpleBackgroundJobs": block, "MISP": misp}.get(section)
            if target is None or not key:
                continue
            if setting.get("errorMessage") == "Value not set.":
                target.pop(key, None)
            else:
                target[key] = setting["value"]
        return stored._replace(block=block, misp=misp)

    def all_settings(self) -> Dict[str, Any]:
        """What MISP's own CLI says of its settings, by name or number."""
        cake = self.site.app + "/Console/cake"
        done = gate.run(
            self.user, [cake, "Admin", "getSetting", "all"], self.site.misp_root, limit=8 << 20
        )
        settings = first_json(done.out)
        if isinstance(settings, list):
            settings = {str(number): one for number, one in enumerate(settings)}
        if done.status != 0 or not _are_settings(settings):
            raise WebUserError(
                "config.php is overruled by the database, and `cake Admin getSetting all` failed"
            )
        return dict(settings)

    def status_of(self, path: str) -> Tuple[Any, str]:
        """`((mode, uid, gid) or None, SHA-256)` of a file or folder of the web user's.

        Raises:
            WebUserError: it cannot be looked at, or the web user's word is no such thing.
        """
        from tasks.host import tree

        answer = gate.ask(self.user, tree.status_and_digest, path, timeout=300.0)
        if isinstance(answer, list) and len(answer) == 2 and isinstance(answer[1], str):
            status = answer[0]
            is_whole = isinstance(status, list) and [type(part) for part in status] == [int] * 3
            if status is None or is_whole:
                return (tuple(status) if status else None), answer[1][:64]
        raise WebUserError("%s cannot be looked at" % path)

    @property
    def tasks_owner(self) -> str:
        """Who gets the scheduled tasks that the old backend has: `cron`, `native` or `leave`."""
        from tasks.host import tree

        if self.site.scheduled_tasks:
            return self.site.scheduled_tasks
        found = gate.ask(self.user, tree.look, self.site.misp_root)
        text = str(found.get("version", ""))[:200] if isinstance(found, dict) else ""
        return NATIVE if misp_version(text) >= SCHEDULER_SINCE else CRON

    def wanted(self) -> Place:
        """Where the new backend shall be."""
        stored = self.stored()
        return places.wanted_place(self.desired._asdict(), stored.block, stored.misp)

    def new(self) -> Backend:
        """The new backend at `new_at`."""
        return self.at(self.new_at())

    def new_at(self) -> Place:
        """Where MISP has the new backend, else where it was, else where it shall be."""
        stored = self.stored()
        if stored.is_on:
            return places.stored_place(stored.block, stored.misp)
        return self._remembered() or self.wanted()

    def remember_new(self) -> None:
        """Keep where the new backend is, before MISP forgets it: jobs of it are yet to move."""
        files.make_folder(self.site.state_dir)
        files.write(self._memory, json.dumps(self.new_at()._asdict()).encode())

    @property
    def _memory(self) -> str:
        return self.site.state_dir + "/new-backend"

    def _remembered(self) -> Optional[Place]:
        data = files.read(self._memory)
        return Place(**json.loads(data.decode())) if data else None

    def old(self) -> Optional[Backend]:
        """The old backend; `None`: this MISP has no CakeResque."""
        place = self.old_place()
        return None if place is None else self.at(place)

    def old_place(self) -> Optional[Place]:
        """Where CakeResque says that the old backend is; `None`: this MISP has no CakeResque.

        Raises:
            WebUserError: nobody can tell, as where the web user may not look into its folder.
        """
        config = self.bridge.once("resque")
        if config is None:
            self._prove_absent(self.site.app + "/Plugin/CakeResque/Config/config.php")
            return None
        if not isinstance(config, dict):
            raise WebUserError("CakeResque's configuration does not say where its Redis is")
        return places.old_place(config)

    def left_place(self) -> Place:
        """Where a CakeResque that is gone had its queues: jobs may have stayed behind there."""
        stored = self.stored()
        return places.left_place(self.desired._asdict(), stored.block, stored.misp)

    def _prove_absent(self, path: str) -> None:
        """PHP takes a file that it may not look at for one that is not there."""
        from tasks.host import tree

        if gate.ask(self.user, tree.is_absent, path) is not True:
            raise WebUserError("%s cannot be looked at by %s" % (path, self.user.name))

    def at(self, place: Place) -> Backend:
        """A backend at a place."""
        at = {
            "host": place.host,
            "port": place.port,
            "database": place.database,
            "password": place.password,
        }
        return Backend(BridgeRedis(self.bridge, at), place.prefix, place.history_ttl)


def _are_settings(found: Any) -> bool:
    """Whether at least one is one: no answer must not read as "nothing is set"."""
    return isinstance(found, dict) and any(
        isinstance(one, dict) and "value" in one for one in found.values()
    )


def first_json(data: bytes) -> Any:
    """The JSON in what `cake` prints: PHP may put a warning around it. `None`: there is none."""
    text = data.decode("utf-8", "replace")
    decoder = json.JSONDecoder(parse_int=whole)
    for start in _starts(text):
        try:
            return _bounded(decoder.raw_decode(text, start)[0], 0)
        except (ValueError, RecursionError):
            continue
    return None


def _starts(text: str) -> List[int]:
    """Where JSON may begin: with a line, or else anywhere. A warning has brackets, too."""
    lines = itertools.islice(re.finditer(r"^[ \t]*([{\[])", text, re.MULTILINE), _STARTS)
    anywhere = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    return [found.start(1) for found in lines] + sorted(anywhere)


def misp_version(text: str) -> Version:
    """MISP's VERSION.json as (major, minor, hotfix); (0, 0, 0) when it is not that."""
    found = first_json(text.encode("utf-8", "replace"))
    if not isinstance(found, dict):
        return (0, 0, 0)
    numbers = [found.get(key) for key in ("major", "minor", "hotfix")]
    if all(type(one) is int and 0 <= one < 100000 for one in numbers):
        return (numbers[0], numbers[1], numbers[2])  # type: ignore[return-value]
    return (0, 0, 0)


def _bounded(value: Any, depth: int) -> Any:
    """The value, if JSON to us is what it is to PHP: no NaN, no endless number, not too deep."""
    if depth > 12:
        raise ValueError("depth")
    if isinstance(value, dict):
        return {key: _bounded(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_bounded(one, depth + 1) for one in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ValueError("number")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError("number")
    return value
