"""MISP's REST view of its workers, asked from the operator's machine: what an admin would see."""

from __future__ import annotations

import http
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks import parse, render
from tasks.secret import Secret
from tasks.target import Target

TIMEOUT = 20  # seconds


@dataclass(frozen=True)
class View:
    """What `GET /servers/getWorkers` showed, or why it showed nothing."""

    url: str
    workers: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    is_server_error: bool = False


def view(target: Target) -> View | None:
    """Ask MISP's web tier for its workers; `None` without URL and key.

    The CLI runs as the web user but outside the web server: SELinux, hidepid, open_basedir or a
    PHP-FPM pool of another user show only here.
    """
    settings, key = target.settings, target.secrets.api_key
    if not settings.misp_url or key is None:
        return None
    url = f"{settings.misp_url.rstrip('/')}/servers/getWorkers"
    try:
        return View(url, _get(url, key, settings.misp_ca_bundle))
    except _NoViewError as error:
        return View(url, problem=f"{url} {error}", is_server_error=error.is_server_error)


def faults(target: Target, seen: View | None) -> list[str]:
    """Where the view differs from the wanted set; empty where none was asked for."""
    if seen is None:
        return []
    if seen.problem:
        return [seen.problem]
    counts = {p.name: p.count for p in target.programs if p.name != render.SCHEDULER}
    return [f"over REST, {fault}" for fault in parse.wrong_misp_view(seen.workers, counts)]


def access_problem(seen: View | None) -> str | None:
    """Why the URL or the key will not do for the proof; `None`: they will, or there are none.

    A server error passes: an unfinished migration shows as one, and the run mends it.
    """
    if seen is None or not seen.problem or seen.is_server_error:
        return None
    return f"{seen.problem}. Check misp_url and misp_api_key"


class _NoViewError(Exception):
    """MISP gave no view of its workers; the text says what it gave instead."""

    is_server_error = False


def _get(url: str, key: Secret, ca_bundle: str | None) -> dict[str, Any]:
    try:
        status, body = _fetch(url, key, ca_bundle)
    except ssl.SSLCertVerificationError as error:
        raise _NoViewError(
            f"shows a certificate that is not trusted ({error.verify_message}): see misp_ca_bundle"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _NoViewError(f"cannot be reached: {error}") from None
    view = _parsed(body)
    if status != http.HTTPStatus.OK:
        refusal = _NoViewError(f"answers {status}: {_reason(status, view)}")
        refusal.is_server_error = status >= http.HTTPStatus.INTERNAL_SERVER_ERROR
        raise refusal
    if view is None:
        raise _NoViewError("does not answer with JSON")
    if not isinstance(view, dict):  # MISP.background_jobs off: a list with one sentence
        raise _NoViewError(f"answers: {view}")
    return view


def _fetch(url: str, key: Secret, ca_bundle: str | None) -> tuple[int, bytes]:
    # urllib, since to import requests takes longer than all that is asked here.
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - http or https, see settings.py
    request.add_unredirected_header("Authorization", key.unmask())
    trust = urllib.request.HTTPSHandler(context=_trust(ca_bundle))
    try:
        with urllib.request.build_opener(_NoRedirect, trust).open(request, None, TIMEOUT) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else error from None


def _trust(ca_bundle: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except OSError as error:
        raise OSError(f"{ca_bundle} is no bundle of certificates ({error})") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer like any other: the key must not follow to another host."""

    def redirect_request(self, *_: object) -> None:
        """Ask nothing further."""


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _reason(status: int, view: Any) -> str:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "no status of HTTP's"
    if view is None:
        return phrase
    return str(view.get("message", phrase)) if isinstance(view, dict) else str(view)
