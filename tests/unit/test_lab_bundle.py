"""No secret leaves a lab in the bundle of a failed run."""

from __future__ import annotations

import pytest

from lab.bundle import MASK, mask


@pytest.mark.parametrize(
    "line",
    [
        "password = s3cret",
        "password=s3cret ; comment",
        "requirepass s3cret",
        "  'redis_password' => 's3cret',",
        '  "api_key": "s3cret",',
        "REDIS_PASSWORD='s3cret' php",
        "'salt' => 's3cret',",
        "http://supervisor:s3cret@127.0.0.1:9001",
        "a value known to the lab: s3cret",
    ],
)
def test_secrets_are_masked(line: str) -> None:
    known = ["s3cret"] if "known" in line else []
    assert "s3cret" not in mask(line, known)
    assert MASK in mask(line, known)


def test_a_hash_is_masked() -> None:
    assert mask("password={SHA}0123456789abcdef0123").count("0123") == 0


@pytest.mark.parametrize(
    "line",
    [
        "'supervisor_password' => '',",
        "port = 127.0.0.1:9001",
        "'redis_host' => 'redis',",
        "misp-workers:prio_00   RUNNING   pid 12, uptime 0:00:05",
        "https://127.0.0.1:8443/servers/getWorkers",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert mask(line) == line


def test_a_name_at_the_end_of_a_line_leaves_the_next_line_alone() -> None:
    assert mask("no password\nuser = misp") == "no password\nuser = misp"
