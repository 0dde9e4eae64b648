"""The receiving end of a call: runs one host function and answers with its result, or an error.

`tasks/remote.py` sends this text together with the modules that the function needs; nothing is
left on the host. The answer is one line: a mark, a digest, and JSON. Without the right digest it is
no answer.
"""

import hashlib
import json
import os
import signal
import sys
from typing import Any, Dict

MARK = "misp-workers"


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
    except Exception as error:
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
    for name in ("tasks", "tasks.host"):
        sys.modules[name] = type(sys)(name)
    for name, source in call["modules"]:
        module = type(sys)(name)
        sys.modules[name] = module
        parent, _, last = name.rpartition(".")
        setattr(sys.modules[parent], last, module)
        exec(compile(source, name.replace(".", "/") + ".py", "exec"), module.__dict__)  # noqa: S102
    module_name, _, function_name = call["function"].rpartition(".")
    function = getattr(sys.modules["tasks.host." + module_name], function_name)
    lock = sys.modules["tasks.host.lock"]
    getattr(lock, call["lock"])(call["run"], call["owner"], call["takes_over"])
    hints = function.__annotations__
    return function(**{key: typed(hints[key], value) for key, value in call["arguments"].items()})


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


def _described(error: Exception) -> Dict[str, str]:
    kinds = [one.__name__ for one in type(error).__mro__]
    if "HostError" in kinds:
        return {"kind": kinds[0], "text": str(error)}
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = "%s:%d" % (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else ""
    return {"kind": "Exception", "text": "%s: %s (%s)" % (kinds[0], error, place)}
