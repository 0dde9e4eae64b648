"""A run's page in headless Chromium: at desktop and phone width, without a request to anybody.

The screenshots of the last run are in reports/page/.
"""

from __future__ import annotations

import html
import http.server
import json
import re
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tasks.report import page, record
from tasks.report.record import Step
from tests import runs

pytestmark = pytest.mark.resilience

SEEN = Path(__file__).resolve().parents[2] / "reports" / "page"
WIDTHS = {"desktop": 1280, "phone": 390}
HEIGHT = 2400
# The browser's own questions, such as for updates of itself.
BROWSERS_OWN = re.compile(r"[a-z0-9.]+\.(google|googleapis|gstatic)\.com(:443)?$")
MEASURE = """<script>
if (%s) document.querySelectorAll("details").forEach(one => one.open = true);
const wide = [...document.querySelectorAll("body *")].filter(
  one => one.getBoundingClientRect().right > innerWidth + 1 || one.scrollWidth > one.clientWidth + 1
    && getComputedStyle(one).display !== "inline" && one.clientWidth > 0);
parent.postMessage(JSON.stringify({
  width: innerWidth, content: document.documentElement.scrollWidth,
  wide: wide.map(one => one.tagName + "." + one.className + ": " + one.textContent.slice(0, 60)),
  font: getComputedStyle(document.body).fontSize,
}), "*");
</script></body>"""
# A window of Chromium's is at least 500 wide, a frame may be narrower.
FRAME = """<iframe src="measured.html" style="border: 0; width: %dpx; height: 2400px"></iframe>
<script>onmessage = said => { document.body.dataset.measured = said.data; }</script>"""


class Proxy(http.server.BaseHTTPRequestHandler):
    """Lets nothing through, and notes who was asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        name = re.sub(r"^http://", "", self.path).partition("/")[0]
        if not BROWSERS_OWN.match(name):
            self.asked.append(self.path)
        self.send_response(502)
        self.end_headers()

    do_CONNECT = do_POST = do_GET  # noqa: N815 - as the standard library names them

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def proxy() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Browser:
    """Chromium, each time anew; all that it asks for goes to the proxy."""

    def __init__(self, folder: Path, proxy: str) -> None:
        self.folder, self.proxy = folder, proxy

    def open(self, file: Path, *flags: str, width: int = 1280) -> str:
        program = shutil.which("chromium")
        assert program, "chromium is missing: python -m lab.programs --browser --install-engine"
        Proxy.asked.clear()
        done = subprocess.run(
            [
                *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                f"--proxy-server={self.proxy}",
                "--proxy-bypass-list=<-loopback>",
                f"--user-data-dir={self.folder / 'profile'}",
                f"--window-size={width},{HEIGHT}",
                "--virtual-time-budget=3000",
                *flags,
                file.as_uri(),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout


@pytest.fixture
def browser(tmp_path: Path, proxy: str) -> Browser:
    return Browser(tmp_path, proxy)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The page of a run with a host of each outcome, and one with texts that have no blank."""
    long = Step("x" * 90, runs.at(0), runs.at(9), 9, "failed", ["y" * 300], ["z" * 300])
    odd = replace(runs.sample()[1], host="h" * 120, cause="c" * 500, steps=[long])
    for report in (*runs.sample(), odd):
        record.write(tmp_path, report)
    page.write(tmp_path)
    return tmp_path / page.FILE


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_it_is_drawn(browser: Browser, file: Path, width: int, scheme: str) -> None:
    SEEN.mkdir(parents=True, exist_ok=True)
    image = SEEN / f"{width}-{scheme}.png"
    image.unlink(missing_ok=True)
    dark = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    browser.open(file, dark, f"--screenshot={image}", width=width)
    data = image.read_bytes()
    assert struct.unpack(">II", data[16:24]) == (width, HEIGHT)
    assert len(data) > 50_000  # a blank one has 10 KB
    assert Proxy.asked == []


@pytest.mark.parametrize("is_open", ["false", "true"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_nothing_is_wider_than_the_window(
    browser: Browser, file: Path, width: int, is_open: str
) -> None:
    found = measured(browser, file, width, is_open)
    assert found["width"] == width
    assert found["wide"] == []
    assert found["content"] <= width
    assert found["font"] == "15px"


def measured(browser: Browser, file: Path, width: int, is_open: str) -> dict[str, Any]:
    """What a copy of the page says of itself: the page has no script."""
    text = re.sub(r"<meta http-equiv[^>]*>", "", file.read_text())
    file.with_name("measured.html").write_text(text.replace("</body>", MEASURE % is_open))
    frame = file.with_name("frame.html")
    frame.write_text(FRAME % width)
    dom = browser.open(frame, "--dump-dom")
    attribute = re.search(r'data-measured="([^"]*)"', dom)
    assert attribute, dom[:2000]
    found: dict[str, Any] = json.loads(html.unescape(attribute[1]))
    return found


def test_it_asks_nobody_and_would_not_if_a_host_had_brought_something(
    browser: Browser, file: Path
) -> None:
    browser.open(file, "--dump-dom")
    assert Proxy.asked == []
    foreign = (
        '<img src="http://canary.example/a"><link rel=stylesheet href="http://canary.example/b">'
    )
    text = file.read_text().replace("</body>", f"{foreign}</body>")
    copy = file.with_name("foreign.html")
    copy.write_text(text)
    browser.open(copy, "--dump-dom")
    assert Proxy.asked == []
    # And so that the test would see it:
    copy.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text))
    browser.open(copy, "--dump-dom")
    assert sorted(Proxy.asked) == ["http://canary.example/a", "http://canary.example/b"]
