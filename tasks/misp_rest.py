"""MISP's REST view of its workers, asked from the operator's machine: what an admin would see."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks import parse
from tasks.errors import MigrationError
from tasks.host import parts
from tasks.host.remedies import quoted
from tasks.secret import Secret
from tasks.target import Target
from tasks.untrusted import from_json, printable

if TYPE_CHECKING:
    import requests

TIMEOUT = 20  # seconds
MAX_BYTES = 4 << 20
OVER_REST = "over REST, "  # begins what the view shows, and not why there is none


@dataclass(frozen=True)
class View:
    """What `GET /servers/getWorkers` showed, or why it showed nothing."""

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
        return View(_get(url, key, settings.misp_ca_bundle))
    except _NoViewError as error:
        return View(problem=f"{url} {error}", is_server_error=error.is_server_error)


def faults(target: Target, seen: View | None) -> list[str]:
    """Where the view differs from the wanted set; empty where none was asked for."""
    if seen is None:
        return []
    if seen.problem:
        return [seen.problem]
    view = parts.View(error="", workers=dict(seen.workers))
    return [f"{OVER_REST}{fault}" for fault in parse.wrong_misp_view(view, target.worker_counts)]


def access_problem(seen: View | None) -> str | None:
    """Why the URL or the key will not do for the proof; `None`: they will, or there are none.

    A server error passes: an unfinished migration shows as one, and the run mends it.
    """
    if seen is None or not seen.problem or seen.is_server_error:
        return None
    return f"{seen.problem}. Check misp_url and misp_api_key"


class _NoViewError(MigrationError):
    """MISP gave no view of its workers; the text says what it gave instead."""

    is_server_error = False


def _get(url: str, key: Secret, ca_bundle: str | None) -> dict[str, Any]:
    import requests  # noqa: PLC0415  # a twentieth of a run on a converged host, where not needed

    try:
        response = requests.get(
            url,
            headers={"Accept": "application/json"},
            # Not a header: requests lets a ~/.netrc entry for the host replace that.
            auth=_with_key(key),
            timeout=TIMEOUT,
            verify=ca_bundle or True,
            allow_redirects=False,  # the key must not follow to another host
            stream=True,
        )
        with response:
            body = _body(response)
    except (requests.RequestException, OSError) as error:  # OSError: no such CA bundle
        raise _NoViewError(_reason_of(error)) from None
    if response.status_code != requests.codes.ok:
        reason = quoted(printable(_reason(body, response.reason)), 200)
        refusal = _NoViewError(f"answers {response.status_code}: {reason}")
        refusal.is_server_error = response.status_code >= requests.codes.server_error
        raise refusal
    try:
        view = from_json(body)
    except ValueError:
        raise _NoViewError("does not answer with JSON") from None
    if not isinstance(view, dict):  # MISP.background_jobs off: a list with one sentence
        raise _NoViewError(f"answers: {quoted(str(view), 200)}")
    return view


def _body(response: requests.Response) -> str:
    """The whole answer, of bounded size and within the time limit, however slowly it drips."""
    end, data = time.monotonic() + TIMEOUT, b""
    for chunk in response.iter_content(65536):
        data += chunk
        if len(data) > MAX_BYTES:
            raise _NoViewError(f"answers more than {MAX_BYTES >> 20} MiB")
        if time.monotonic() > end:
            raise _NoViewError(f"does not end its answer within {TIMEOUT} s")
    return data.decode("utf-8", "replace")


def _with_key(key: Secret) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    def add(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = key.unmask()
        return request

    return add


def _reason_of(error: Exception) -> str:
    """Why there is no answer, in words that do not speak of this program's libraries."""
    import http.client  # noqa: PLC0415  # as requests is: late
    import ssl  # noqa: PLC0415

    import requests  # noqa: PLC0415

    inner = _innermost(error)
    words = _words(inner)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not trusted ({words}): see misp_ca_bundle"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"cannot be reached through the proxy that the environment names: {words}"
    if isinstance(error, requests.exceptions.Timeout):
        return f"cannot be reached: no answer within {TIMEOUT:g} s"
    if isinstance(inner, ssl.SSLEOFError | http.client.RemoteDisconnected | ConnectionResetError):
        return "cannot be reached: the connection is closed at once, so start the web server there"
    if isinstance(inner, ssl.SSLError):
        return f"does not speak TLS ({words}): correct its port, or use http://"
    return f"cannot be reached: {words}"


def _innermost(error: BaseException) -> BaseException:
    """Return the reason behind requests' and urllib3's wrappings."""
    inner = error
    for _ in range(10):
        deeper = getattr(inner, "reason", None), *inner.args, inner.__cause__, inner.__context__
        found = next((one for one in deeper if isinstance(one, BaseException)), None)
        if found is None or found is error:
            break
        inner = found
    return inner


def _words(error: BaseException) -> str:
    found = str(getattr(error, "verify_message", "") or getattr(error, "strerror", "") or error)
    return quoted(printable(found.partition("\n")[0]), 200) or type(error).__name__


def _reason(body: str, otherwise: str) -> str:
    try:
        found = from_json(body)
    except ValueError:
        return otherwise
    return str(found.get("message", otherwise)) if isinstance(found, dict) else str(found)
