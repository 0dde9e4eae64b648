"""The receiving end of a call: runs one host function and answers with its result, or an error.

`tasks/remote.py` sends this text together with the modules that the function needs; nothing is
left on the host. The answer is one line: a mark, a digest, and JSON. Without the right digest it is
no answer.
"""

import hashlib
import json
import os
import resource
import signal
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import Any, Dict

MARK = "misp-workers"
CPU_SECONDS = 300  # of one look; it takes a few
_LONGEST = 400  # characters of an error that nobody expected


class EndlessError(BaseException):
    """A look takes for ever. It is no Exception, since parts of a look go on after these."""


def main(call: Dict[str, Any]) -> None:
    """Run `call["function"]` with `call["arguments"]`."""
    # What a child prints must not pass for an answer, so standard output is ours alone.
    answer = os.dup(1)
    empty = os.open(os.devnull, os.O_RDWR)
    os.dup2(empty, 0)
    os.dup2(empty, 1)
    # With sudo's use_pty a lost connection hangs up; a step goes on to its end all the same.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o022)
    os.chdir("/")
    try:
        result = {"value": plain(_run(call))}
    except (Exception, EndlessError) as error:
        result = {"error": _described(error)}
    text = json.dumps(result)
    line = "%s %s %s\n" % (MARK, hashlib.sha256(text.encode()).hexdigest(), text)
    view = memoryview(line.encode())
    try:
        while view:
            view = view[os.write(answer, view) :]
    except BrokenPipeError:
        pass  # nobody listens any more


def _run(call: Dict[str, Any]) -> Any:
    if os.geteuid() != 0:
        raise PermissionError("not root")
    sys.meta_path.insert(0, Sources(dict(call["modules"])))
    if call["lock"] != "hold":
        _limit_cpu()
    module_name, _, function_name = call["function"].rpartition(".")
    lock = import_module("tasks.host.lock")
    take = getattr(lock, call["lock"])
    take(call["run"], call["owner"], call["takes_over"], call["has_held"])
    function = getattr(import_module("tasks.host." + module_name), function_name)
    hints = function.__annotations__
    return function(**{key: typed(hints[key], value) for key, value in call["arguments"].items()})


def _limit_cpu() -> None:
    """What a call that changes nothing reads may be made to be slow, as by the web user.

    Waiting does not count. The programs that it starts have the limit as well, each for itself.
    """

    def end(_: int, frame: Any) -> None:
        raise EndlessError("%s:%d" % (frame.f_code.co_filename, frame.f_lineno))

    if resource.getrlimit(resource.RLIMIT_CPU)[1] != resource.RLIM_INFINITY:
        return  # the host has a limit of its own
    signal.signal(signal.SIGXCPU, end)
    # The kernel ends what comes to no line of Python's any more.
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 30))


class Sources:
    """Imports from the texts that came with the call; each is compiled when it is needed first."""

    def __init__(self, texts: Dict[str, str]) -> None:
        self._texts = dict(texts, **{"tasks": "", "tasks.host": ""})

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """See importlib.abc.MetaPathFinder."""
        loader: Any = self
        is_package = name in ("tasks", "tasks.host")
        return ModuleSpec(name, loader, is_package=is_package) if name in self._texts else None

    def create_module(self, spec: Any) -> None:
        """See importlib.abc.Loader: the usual kind of module."""

    def exec_module(self, module: Any) -> None:
        """See importlib.abc.Loader."""
        name = module.__name__
        code = compile(self._texts[name], name.replace(".", "/") + ".py", "exec")
        exec(code, module.__dict__)  # noqa: S102


def typed(hint: Any, value: Any) -> Any:
    """A NamedTuple where one is due, and JSON's own values elsewhere."""
    if isinstance(value, dict) and hasattr(hint, "_fields"):
        hints = hint.__annotations__
        return hint(**{key: typed(hints[key], one) for key, one in value.items()})
    return value


def plain(value: Any) -> Any:
    """The value as JSON has it; a NamedTuple becomes an object."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if hasattr(value, "_asdict"):
        return {key: plain(one) for key, one in zip(value._fields, value)}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def _described(error: BaseException) -> Dict[str, Any]:
    kinds = [one.__name__ for one in type(error).__mro__]
    if "HostError" in kinds:
        return {"kind": kinds[0], "text": str(error), "details": getattr(error, "details", ())}
    if isinstance(error, EndlessError):
        return {
            "kind": kinds[0],
            "text": "this look took %d s of processor time and was ended (%s). It changes nothing. "
            "Something that it reads is far bigger than usual, or was made to be slow: see the web "
            "user's crontab, config.php and supervisor's files, then run again"
            % (CPU_SECONDS, error),
        }
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = "%s:%d" % (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else ""
    # Its words may be the web user's, so they have no backticks: commands of ours stand in these.
    words = "".join(one if one.isprintable() else " " for one in str(error)[:_LONGEST])
    text = "%s: %s (%s)" % (kinds[0], words.replace("`", "'"), place)
    return {"kind": "Exception", "text": text}
