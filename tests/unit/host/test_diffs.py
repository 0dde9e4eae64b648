"""Diffs of files: what changes is shown, and no secret."""

from __future__ import annotations

import hashlib
import time

import pytest

from tasks.host import diffs
from tasks.host.diffs import FileChange

SECRET = "Q7x" * 12


def changed(before: str | None, after: str | None, *secrets: str) -> FileChange:
    old, new = (None if one is None else one.encode() for one in (before, after))
    return diffs.whole("/etc/x.conf", old, new, secrets)


def test_a_new_a_changed_and_a_removed_file() -> None:
    new = changed(None, "a\nb\n")
    assert new.diff == ["--- /dev/null", "+++ /etc/x.conf", "@@ -0,0 +1,2 @@", "+a", "+b"]
    assert (new.before, new.after) == ("", hashlib.sha256(b"a\nb\n").hexdigest())
    assert changed("a\nb\n", "a\nc\n").diff[3:] == [" a", "-b", "+c"]
    gone = changed("a\n", None)
    assert (gone.diff[1], gone.after) == ("+++ /dev/null", "")


@pytest.mark.parametrize(
    "line",
    [
        f"password={SECRET}",
        f"password=of several words, {SECRET}",
        f"password = {{SHA}}{SECRET} ; a comment",
        f"  'redis_password' => '{SECRET}',",
        f'"Authorization: {SECRET}"',
        f"export MISP_API_KEY='{SECRET}'",
        f"* * * * * root curl -H 'Authorization: {SECRET}' https://x; bash start.sh",
        f'environment=A="1",DB_PASSWD="{SECRET}",B=\'2\'',
        f"@reboot x --redis-password {SECRET} bash start.sh",
        f"@reboot x https_proxy=http://user:{SECRET}@proxy bash start.sh",
        f"{'x' * 4000} token={SECRET}",
        f"token: {SECRET * 20}",
    ],
)
def test_what_looks_like_a_secret_is_hidden(line: str) -> None:
    for found in (changed(f"{line}\n", "x\n"), changed("x\n", f"{line}\n")):
        assert SECRET not in str(found)
    assert "***" in str(found) or len(line) > 1000
    for mark in ("# ", ";", ": #misp-workers-migration# "):
        by_line = diffs.line_by_line("/x", f"{line}\n".encode(), f"{mark}{line}\n".encode())
        assert SECRET not in str(by_line)


@pytest.mark.parametrize(
    "line",
    [
        "@reboot x MYSQL_PWD={} bash start.sh",
        "@reboot x REDISCLI_AUTH={} redis-cli flushall; bash start.sh",
        "@reboot x DB_PASS={} start.sh",
        'environment=MISP_DB_PASS="{}",A="b"',
        "@reboot x curl -H 'Authorization: Bearer {}' x; start.sh",
        "@reboot x curl -H Authorization:\\ {} x; start.sh",
        "@reboot x mysql -u misp -p{} -e x; start.sh",
        "@reboot x /usr/bin/mysqldump -BNp{} misp; start.sh",
        "@reboot x redis-cli -a {} ping && start.sh",
        "@reboot x curl -u admin:{} https://x; start.sh",
        "@reboot x curl -sSuadmin:{} https://x; start.sh",
        "@reboot x curl --user admin:{} https://x; start.sh",
        "@reboot x sshpass -p {} ssh x; start.sh",
        "@reboot x --credential {}; start.sh",
        "@reboot x X_PASSWORD=ab,{} start.sh",
        "@reboot x X_PASSWORD='a'\"{}\" start.sh",
        "@reboot x X_PASSWORD=a\\ {} start.sh",
        "@reboot x X_PASSWORD=$(echo {}) start.sh",
        "@reboot x proxy=http://u:a/{}@p start.sh",
        '@reboot x X_TOKEN="' + "w" * 250 + '{}" start.sh',
        "@reboot x " + "p" * 240 + ' X_TOKEN="{0} {0} {0}" start.sh',
        "@reboot x " + "p" * 250 + " http://u:{0}{0}{0}@p start.sh",
    ],
)
def test_secrets_as_shells_and_programs_take_them_are_hidden(line: str) -> None:
    text = line.format("hunter2hunter2")
    found = diffs.line_by_line("/x", text.encode(), b"#" + text.encode())
    assert "hunter2" not in str(found.diff)
    assert "hunter2" not in str(changed(None, text).diff)


@pytest.mark.parametrize("length", [7, 8, 20, 64, 999, 1000, 1001, 5000])
@pytest.mark.parametrize("before", [0, 1, 290, 299, 3000, 4090])
def test_no_half_of_a_known_secret_is_left_at_a_cut(length: int, before: int) -> None:
    secret = ("Q7x" * length)[:length]
    for line in (f"{'p ' * before}{secret} b", f"{'p' * before} {secret} {secret} b"):
        assert "Q7" not in str(diffs.line_by_line("/x", b"#", line.encode(), [secret]).diff)
    many = " ".join([secret] * 2000)
    assert "Q7" not in str(changed(None, many, secret).diff)


def test_a_known_secret_is_hidden_wherever_it_stands() -> None:
    odd = "it's; 50%"
    found = changed(f"run {odd} now\n", f"run misp in /var/www/misp {odd}\n", odd, "misp", "")
    assert found.diff[3:] == [
        "-run *** now",
        "+run *** (another one) in /var/www/misp *** (another one)",
    ]


def test_another_secret_shows_as_another_one_and_the_same_as_no_change() -> None:
    found = changed(f"user=a\npassword={SECRET}\n", "user=a\npassword=another\n")
    assert found.diff[3:] == [" user=a", "-password=***", "+password=*** (another one)"]
    same = changed(f"user=a\npassword={SECRET}\n", f"user=b\npassword={SECRET}\n")
    assert same.diff[3:] == ["-user=a", "+user=b", " password=***"]


def test_words_that_are_no_secrets_stay() -> None:
    line = "; whoever has the password can stop every program; killasgroup=false"
    assert changed(None, f"{line}\n").diff[-1] == f"+{line}"


def test_a_diff_by_lines_shows_these_lines_alone() -> None:
    before = b"secret of others\nbash start.sh\nmore\nbash start.sh"
    after = b"secret of others\n# bash start.sh\nmore\n# bash start.sh"
    found = diffs.line_by_line("/etc/crontab", before, after)
    assert found.diff == [
        "--- /etc/crontab",
        "+++ /etc/crontab",
        "@@ -2 +2 @@",
        "-bash start.sh",
        "+# bash start.sh",
        "@@ -4 +4 @@",
        "-bash start.sh",
        "+# bash start.sh",
    ]
    assert found.after == hashlib.sha256(after).hexdigest()


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"key" * 400,
        b"a-" * 500,
        b"password=" * 100,
        b"://" * 300,
        b"mysql -" * 600,
        b"http://" * 600,
        b"secret" * 700,
    ],
)
def test_a_file_made_to_be_slow_is_not(line: bytes) -> None:
    count = (1 << 20) // (len(line) + 1)
    before, after = (line + b"\n") * count, (b"#" + line + b"\n") * count
    began = time.monotonic()
    found = diffs.line_by_line("/x", before, after, [f"secret{number}" for number in range(9)])
    assert time.monotonic() - began < 10
    assert len(found.diff) <= 403
    assert found.diff[-1] == "... and more"
    assert max(map(len, found.diff)) < 1000
