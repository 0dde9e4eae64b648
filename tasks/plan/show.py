"""Plans as lines for people: hosts with the same plan once, 80 columns but for what a diff has."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.host.diffs import LATER
from tasks.plan.document import Change, Document, Step

_WIDTH = 80


def lines(documents: Mapping[str, Any], *, diffs: bool = True) -> list[str]:
    """What will be done, step by step.

    Args:
        documents: by host, as JSON has them.
        diffs: with the content of files; else just which files change.
    """
    groups: dict[object, list[Document]] = {}
    for one in documents.values():
        document = Document.model_validate(one)
        groups.setdefault(_same(document), []).append(document)
    return [line for group in groups.values() for line in _group(group, diffs)]


def _same(document: Document) -> object:
    """Equal for plans that read the same and change the same."""
    return tuple(
        (step.step, step.limit, tuple(_seen(one) for one in step.changes if not one.volatile))
        for step in document.steps
    )


def _seen(change: Change) -> object:
    """A file counts by its diff, which shows no secret.

    One without a diff counts by its content, or by the words that stand for it: what MISP and
    Composer write differs from host to host.
    """
    is_shown = change.kind == "file" and (change.diff or not _is_content(change))
    ends = () if is_shown else (change.before, change.after)
    return _words(change), ends, tuple(change.diff)


def _group(group: list[Document], diffs: bool) -> Iterator[str]:
    yield from _wrapped(", ".join(document.host for document in group), "", "")
    if not group[0].steps:
        yield "  nothing to do"
    for number, step in enumerate(group[0].steps):
        yield f"  {step.step} (at most {duration(step.limit)})"
        for change in step.changes:
            if not change.volatile:
                yield from _change(change, diffs)
        yield from _volatile([(document.host, document.steps[number]) for document in group], diffs)
    yield ""


def _change(change: Change, diffs: bool) -> Iterator[str]:
    yield from _wrapped(_words(change), "    - ", "      ")
    if diffs:
        yield from (f"      {line}" for line in change.diff)


def _volatile(steps: list[tuple[str, Step]], diffs: bool) -> Iterator[str]:
    """What differs from host to host and from minute to minute."""
    found: dict[str, list[str]] = {}
    shown: dict[str, Change] = {}
    for host, step in steps:
        for change in step.changes:
            if change.volatile:
                found.setdefault(_words(change), []).append(host)
                shown[_words(change)] = change
    for words, hosts in found.items():
        where = "" if len(hosts) == len(steps) else f" ({', '.join(hosts)})"
        yield from _wrapped(f"now: {words}{where}", "    - ", "      ")
        if diffs:
            yield from (f"      {line}" for line in shown[words].diff)


def _words(change: Change) -> str:
    plain = ("note", "jobs", "process")
    what = change.name if change.kind in plain else f"{change.kind} {change.name}"
    if change.kind == "file":
        return f"{what}: {_file(change)}"
    if change.before and change.after:
        return f"{what}: {change.before} -> {change.after}"
    return f"{what}: {change.after or change.before}"


def _file(change: Change) -> str:
    if change.after == LATER:
        return f"{'changed' if change.before else 'new'}, a part of it {LATER}"
    if change.after and not _is_content(change):
        return change.after
    if not change.after:
        return "removed"
    if change.before == change.after:
        return "owner and mode"
    return "changed" if change.before else "new"


def _is_content(change: Change) -> bool:
    """Whether a file's `after` is its content's SHA-256 and not in words."""
    return len(change.after) == 64 or bool(change.diff)


def duration(seconds: int) -> str:
    """Seconds as people say them."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{-(-seconds // size)} {unit}"
    return f"{seconds} s"


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
