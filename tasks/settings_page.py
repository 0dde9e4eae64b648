"""The tables of docs/settings.md, made of the model. The text around them is the page's own.

python -m tasks.settings_page             ends with 1 if the page is not what the model says
python -m tasks.settings_page --write     has the page say it
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks import places
from tasks.errors import MigrationError
from tasks.setting_types import Means
from tasks.settings import Settings, known_keys

PAGE = places.ROOT / "docs" / "settings.md"
_TABLE = re.compile(
    r"(?P<begin><!-- settings: from (?P<first>\w+) to (?P<last>\w+) -->\n)"
    r".*?"
    r"(?P<end><!-- settings: end -->)",
    re.DOTALL,
)
_HEAD = ("| key | value | default | meaning |", "| --- | --- | --- | --- |")


class PageError(MigrationError):
    """The page's tables do not have each key once, in the model's order."""


def filled(text: str) -> str:
    """The page with its tables as the model has them.

    Raises:
        PageError: naming the keys.
    """
    shown: list[str] = []

    def table(found: re.Match[str]) -> str:
        keys = _between(found["first"], found["last"])
        shown.extend(keys)
        lines = [*_HEAD, *map(row, keys)]
        return found["begin"] + "".join(f"{line}\n" for line in lines) + found["end"]

    made = _TABLE.sub(table, text)
    if shown != [*known_keys()]:
        wrong = [key for key in known_keys() if shown.count(key) != 1] or shown
        raise PageError(f"the tables do not have each of these once, in order: {', '.join(wrong)}")
    return made


def _between(first: str, last: str) -> list[str]:
    keys = known_keys()
    if first not in keys or last not in keys:
        raise PageError(f"there is no key {first if first not in keys else last}")
    return [*keys[keys.index(first) : keys.index(last) + 1]]


def row(key: str) -> str:
    """One key's line in its table."""
    schema = Settings.model_json_schema()
    values = _values(schema["properties"][key])
    return f"| `{key}` | {values} | {default(key)} | {_means(key).text} |"


def default(key: str) -> str:
    """The value of a key that is not given, in Markdown."""
    value = Settings.model_fields[key].default
    if value is None:
        return _means(key).unset
    if isinstance(value, bool | int):
        return json.dumps(value)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _means(key: str) -> Means:
    (found,) = (one for one in Settings.model_fields[key].metadata if isinstance(one, Means))
    return found


def _values(schema: Mapping[str, Any]) -> str:
    """What a JSON schema lets through, in Markdown."""
    if words := schema.get("values"):
        return str(words)
    if "anyOf" in schema:  # of a setting that may be left out
        (given,) = (one for one in schema["anyOf"] if one.get("type") != "null")
        return _values(given)
    if "enum" in schema:
        *others, last = (f"`{one}`" for one in schema["enum"])
        return f"{', '.join(others)} or {last}"
    if "$ref" in schema:
        return "a [secret](#secrets)"
    if schema["type"] == "boolean":
        return "true or false"
    least, most = schema["minimum"], schema.get("maximum")
    return f"{least} or more" if most is None else f"{least} to {most}"


def _differences(old: str, new: str) -> Iterator[str]:
    pairs = zip(old.splitlines(), new.splitlines(), strict=False)
    return (f"the page:  {one}\nthe model: {other}" for one, other in pairs if one != other)


def main(arguments: Sequence[str]) -> int:
    """Check the page, or write it; gives the exit status."""
    if [*arguments] not in ([], ["--write"]):
        print("usage: python -m tasks.settings_page [--write]", file=sys.stderr)
        return 1
    try:
        text = PAGE.read_text(encoding="utf-8")
        made = filled(text)
    except (OSError, PageError) as error:
        print(f"{PAGE}: {error}", file=sys.stderr)
        return 1
    if arguments:
        PAGE.write_text(made, encoding="utf-8")
    elif made != text:
        print("docs/settings.md is not what the model says; write it by --write", file=sys.stderr)
        print("\n".join(_differences(text, made)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
