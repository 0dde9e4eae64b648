"""The only way to act as the web user: who that is, and what a child of the gate has."""

import json
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.host import gate, web_user
from tasks.host.errors import WebUserError
from tasks.host.programs import ProgramError
from tasks.host.web_user import WebUser

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NAME = "www-data"


@pytest.fixture
def user() -> WebUser:
    return web_user._web_user(pwd.getpwnam(NAME))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A MISP tree of the web user's, every folder above it root's."""
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_mode & 0o005 != 0o005 and folder != Path("/"):
            folder.chmod(0o755)
    (tmp_path / "MISP/app/Config").mkdir(parents=True)
    (tmp_path / "MISP/app/Config/config.php").write_text("<?php")
    uid = pwd.getpwnam(NAME).pw_uid
    for path in [tmp_path / "MISP", *(tmp_path / "MISP").rglob("*")]:
        os.chown(path, uid, uid)
    yield tmp_path / "MISP"


def config(root: Path) -> Path:
    return root / "app/Config/config.php"


def test_the_owner_of_config_php_is_the_web_user(root: Path) -> None:
    assert web_user.identify(str(root), "", "deploy").name == NAME


def test_the_operator_may_name_the_web_user(root: Path) -> None:
    assert web_user.identify(str(root), NAME, "").name == NAME


def test_a_link_above_misp_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert web_user.identify(str(tmp_path / "link"), "", "").name == NAME


def hard_link(root: Path) -> None:
    other = root.parent / "secret"
    other.write_text("x")
    config(root).unlink()
    os.link(other, config(root))


def link_to_another_users_file(root: Path) -> None:
    other = root.parent / "bashrc"
    other.write_text("x")
    os.chown(other, pwd.getpwnam("nobody").pw_uid, -1)
    config(root).unlink()
    config(root).symlink_to(other)


def link_of_a_folder(root: Path) -> None:
    (root / "app/Config").rename(root / "app/Real")
    (root / "app/Config").symlink_to("Real")


def fifo(root: Path) -> None:
    config(root).unlink()
    os.mkfifo(config(root))


def of_root(root: Path) -> None:
    os.chown(config(root), 0, 0)


def of_a_stranger(root: Path) -> None:
    os.chown(root / "app", pwd.getpwnam("nobody").pw_uid, -1)


def writable_by_all(root: Path) -> None:
    (root / "app").chmod(0o777)


def writable_by_all_and_roots(root: Path) -> None:
    writable_by_all(root)
    os.chown(root / "app", 0, 0)


def absent(root: Path) -> None:
    config(root).unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (link_to_another_users_file, "is a link or no plain file"),
        (link_of_a_folder, "no plain folder.*\\(rm, then mv, by `setsid -w runuser -u WEB_USER"),
        (hard_link, "hard link"),
        (fifo, "no plain file"),
        (of_root, "belongs to root.*`find -H [^`]*/MISP -xdev .* -execdir chown -h WEB_USER "),
        (of_a_stranger, "belongs to neither root nor www-data"),
        (
            writable_by_all,
            "every user may write in [^ ]*/MISP/app: .*`setsid -w runuser -u www-data -- chmod o-w",
        ),
        (
            writable_by_all_and_roots,
            r'away \(`\(cd -P ([^ ]*/MISP/app) && \[ "\$\(pwd -P\)" = \1 \] && chmod o-w \.\)`\)',
        ),
        (absent, "No such file"),
    ],
)
def test_whose_code_is_there_has_to_be_certain(root: Path, spoil: object, words: str) -> None:
    assert callable(spoil)
    spoil(root)
    with pytest.raises(WebUserError, match=words):
        web_user.identify(str(root), "", "deploy")


def test_the_user_who_logs_in_is_not_the_web_user(root: Path) -> None:
    with pytest.raises(WebUserError, match="log in as"):
        web_user.identify(str(root), "", NAME)


def test_a_member_of_a_privileged_group_is_not_the_web_user(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_user, "PRIVILEGED", frozenset((NAME,)))
    with pytest.raises(WebUserError, match="in the group www-data"):
        web_user.identify(str(root), NAME, "")


def test_an_account_for_people_has_to_be_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_user, "NO_LOGIN", ())
    with pytest.raises(WebUserError, match=r"for people.*find -H.*config.php .* -execdir chown"):
        web_user.identify(str(root), "", "")
    assert web_user.identify(str(root), NAME, "").name == NAME


def test_an_unknown_web_user_is_named(root: Path) -> None:
    with pytest.raises(WebUserError, match="the web user nobody-knows does not exist"):
        web_user.identify(str(root), "nobody-knows", "")


_STATE = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), os.getcwd(),
    sorted(map(int, os.listdir("/proc/self/fd"))), status["NoNewPrivs"].strip(),
    status["CapEff"].strip(), sorted(os.environ), os.getsid(0) == os.getpid()]))
"""


def test_a_program_has_the_web_users_identity_and_nothing_of_roots(user: WebUser) -> None:
    secret = os.open("/etc/shadow", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        done = gate.run(user, ["/usr/bin/python3", "-I", "-c", _STATE], cwd="/var")
    finally:
        os.close(secret)
    uids, gids, groups, cwd, descriptors, no_new, capabilities, names, leads = json.loads(done.out)
    assert (uids, gids, groups) == ([user.uid] * 3, [user.gid] * 3, list(user.groups))
    assert cwd == "/var"
    assert [number for number in descriptors if number > 2] == [3]  # of the listing itself
    assert (no_new, int(capabilities, 16), leads) == ("1", 0, True)
    assert set(names) <= {"PATH", "LC_ALL", "LC_CTYPE", "HOME", "USER", "LOGNAME"}


def test_the_working_directory_is_entered_with_the_web_users_rights(
    user: WebUser, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(ProgramError, match="cannot be run"):
        gate.run(user, ["/bin/pwd"], cwd=str(private))


@pytest.mark.parametrize(
    ("words", "limits", "message"),
    [
        (["sleep", "60"], {"timeout": 0.3}, "did not end"),
        (["yes"], {"limit": 100_000}, "printed more than"),
        # Its child keeps the pipe open and outlives it.
        (["sh", "-c", "sleep 60 & exec yes"], {"limit": 100_000}, "printed more than"),
        (["no-such-program"], {}, "cannot be run as www-data"),
    ],
)
def test_a_program_is_limited(
    user: WebUser, words: list[str], limits: dict[str, float], message: str
) -> None:
    began = time.monotonic()
    with pytest.raises(ProgramError, match=message):
        gate.run(user, words, **limits)  # type: ignore[arg-type]
    assert time.monotonic() - began < 10


def test_a_descendant_that_keeps_the_pipes_does_not_delay_the_end(user: WebUser) -> None:
    began = time.monotonic()
    done = gate.run(user, ["sh", "-c", "sleep 60 & echo done"], timeout=20)
    assert (done.status, done.text.strip()) == (0, "done")
    assert time.monotonic() - began < 10


def test_standard_input_reaches_the_program_and_one_that_does_not_read_it_is_no_fault(
    user: WebUser,
) -> None:
    data = b"x" * 1_000_000
    assert gate.run(user, ["wc", "-c"], data=data).text.strip() == "1000000"
    assert gate.run(user, ["true"], data=data).status == 0


def test_memory_is_limited(user: WebUser) -> None:
    words = ["/usr/bin/python3", "-c", "b'x' * (5 << 30)"]
    assert gate.run(user, words).status != 0


def _identity() -> list[object]:
    return [
        os.getuid(),
        os.getgid(),
        sorted(int(one.name) for one in Path("/proc/self/fd").iterdir()),
    ]


def _fail() -> None:
    raise OSError("no such `luck`")


def _sleep() -> None:
    time.sleep(60)


def _much() -> str:
    return "x" * 2_000_000


def _read(path: str) -> str:
    return Path(path).read_text()


def test_a_function_of_ours_runs_with_the_web_users_identity(user: WebUser) -> None:
    uid, gid, descriptors = gate.ask(user, _identity)
    assert (uid, gid, descriptors) == (user.uid, user.gid, [0, 1, 2, 3])
    with pytest.raises(WebUserError, match="Permission denied"):
        gate.ask(user, _read, "/etc/shadow")


def test_a_functions_failure_and_limits_are_errors(user: WebUser) -> None:
    with pytest.raises(WebUserError, match="no such 'luck'"):
        gate.ask(user, _fail)
    with pytest.raises(WebUserError, match="did not end in time"):
        gate.ask(user, _sleep, timeout=0.3)
    with pytest.raises(WebUserError, match="more than 1024 KiB"):
        gate.ask(user, _much)


def _stdin() -> str:
    data = os.read(0, 1000)
    try:
        with open("/proc/self/fd/0", "wb"):  # noqa: PTH123
            return "writable"
    except OSError:
        return data.decode()


def _to_stdout(text: str) -> None:
    os.write(1, text.encode())


def test_streams_of_roots_can_be_read_by_the_child_and_not_written(
    user: WebUser, tmp_path: Path
) -> None:
    stored = tmp_path / "stored"
    gate.save(user, _to_stdout, str(stored), "what the child said")
    assert (stored.read_text(), stored.stat().st_uid) == ("what the child said", 0)
    stored.chmod(0o600)
    assert gate.feed(user, _stdin, str(stored)) == "what the child said"
    assert gate.feed_bytes(user, _stdin, b"bytes") == "bytes"
    with pytest.raises(WebUserError, match="no such 'luck'"):
        gate.save(user, _fail, str(stored))


def test_a_signal_hits_nobody_else_than_the_web_users_processes(user: WebUser) -> None:
    mine = subprocess.Popen(["sleep", "60"])
    theirs = gate.start(user, ["sleep", "60"])
    try:
        assert gate.signal_as(user, [mine.pid, theirs.pid], signal.SIGTERM) == [theirs.pid]
        assert theirs.wait(10) == -signal.SIGTERM
        assert mine.poll() is None
    finally:
        mine.kill()
        mine.wait()
