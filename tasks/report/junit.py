"""A run as JUnit's XML, which CI systems show: a suite for the run, a case for a host's step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from tasks.report import record
from tasks.report.record import DONE, FAILED, INTERRUPTED, Report

FILE = "junit.xml"
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(directory: Path) -> None:
    """Write the file beside the run's reports.

    Raises:
        OSError: it cannot be written.
    """
    record.write_text(directory / FILE, text(directory.name, record.read(directory)))


def text(name: str, reports: Sequence[Report]) -> str:
    """The file's content."""
    suite = Element("testsuite", name=name)
    for report in reports:
        _add(suite, report)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in suite):.3f}")
    starts = [report.started for report in reports if report.started]
    suite.set("timestamp", min(starts, default="").partition(".")[0])
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(suite, encoding="unicode")}\n'


def _add(suite: Element, report: Report) -> None:
    """A case for each step that began. A host's end that no step shows has one of its own."""
    host = _fit(report.host)
    is_told = report.outcome == DONE
    for step in report.steps:
        case = SubElement(suite, "testcase", classname=host, name=_fit(step.step))
        case.set("time", f"{step.seconds:.3f}")
        if step.outcome == FAILED or (report.outcome == INTERRUPTED and not step.ended):
            _fail(case, report)
            is_told = True
        if step.says:
            SubElement(case, "system-out").text = _fit("\n".join(step.says))
    if not is_told or not report.steps:
        case = SubElement(suite, "testcase", classname=host, name=report.deploy or "report")
        if not is_told:
            _fail(case, report)


def _fail(case: Element, report: Report) -> None:
    kind = "error" if report.outcome == INTERRUPTED else "failure"
    SubElement(case, kind, type=report.outcome, message=_fit(report.reason))


def _fit(value: str) -> str:
    """A text without what XML cannot have."""
    return _NO_XML.sub("?", value)
