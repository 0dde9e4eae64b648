"""The proxy of the operator's data: what a child is given, and what nobody may see."""

from __future__ import annotations

import pytest

from tasks.host import proxy
from tasks.host.programs import Finished


def test_without_a_url_a_child_is_given_nothing() -> None:
    assert proxy.environment("") == {}


def test_with_a_url_both_schemes_use_it_and_the_host_itself_is_reached_directly() -> None:
    assert proxy.environment("http://proxy:3128") == {
        "http_proxy": "http://proxy:3128",
        "https_proxy": "http://proxy:3128",
        "no_proxy": "localhost,127.0.0.1,::1",
    }


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("", []),
        ("http://proxy:3128", []),
        ("http://token@proxy:3128", ["token"]),
        ("http://user:pass@proxy:3128", ["user:pass", "pass"]),
        ("https://u:p%3A%40s@[::1]:8", ["u:p%3A%40s", "u:p:@s", "p%3A%40s", "p:@s"]),
    ],
)
def test_user_and_password_are_secret_in_every_form(url: str, secrets: list[str]) -> None:
    assert proxy.secrets_of(url) == secrets


def test_what_a_program_printed_is_shown_without_them() -> None:
    long = b"x" * 380 + b" of u:p%40s@proxy, p@s " + b"y" * 380  # cut in two for a complaint
    done = proxy.hide(Finished(1, b"p@s", long), "http://u:p%40s@proxy:3128")
    assert (done.status, done.out) == (1, b"***")
    assert b" of ***@proxy, *** " in done.err
