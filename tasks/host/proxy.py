"""The operator's `http_proxy`, for the programs that fetch something: package manager and Composer.

They get it in their environment alone. An argument would show a password to every local user; an
environment shows it to root and to the user whom the program runs as.
"""

from typing import Dict, List

from tasks.host.programs import Finished

_DIRECT = "localhost,127.0.0.1,::1"  # a mirror on the host itself


def environment(url: str) -> Dict[str, str]:
    """Variables for a child; none without a URL, so that the host's own configuration counts."""
    # Composer, curl and apt read these in lower case.
    return {"http_proxy": url, "https_proxy": url, "no_proxy": _DIRECT} if url else {}


def secrets_of(url: str) -> List[str]:
    """User and password of a proxy's URL, as they stand there and decoded; none without a user."""
    from urllib.parse import unquote

    user_info = url.partition("://")[2].rpartition("@")[0]
    password = user_info.partition(":")[2]
    found = [user_info, unquote(user_info), password, unquote(password)]
    return [one for one in dict.fromkeys(found) if one]


def hide(done: Finished, url: str) -> Finished:
    """What a program printed, without the URL's secrets."""
    out, err = done.out, done.err
    for secret in secrets_of(url):
        out = out.replace(secret.encode("utf-8"), b"***")
        err = err.replace(secret.encode("utf-8"), b"***")
    return Finished(done.status, out, err)


def advice(url: str) -> str:
    """What to check about the proxy when something could not be fetched."""
    if url:
        return "It was tried by http_proxy: check that proxy, its user and its password"
    return "If this host reaches the network by a proxy only, give it as http_proxy"
