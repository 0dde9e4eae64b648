"""A plot of figures against their targets, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from lab.bench.verdict import Figure

ROW, TEXT, BAR, AFTER = 22, 380, 300, 170
WIDTH = TEXT + BAR + AFTER
MOST = 1.5
"""The share of the target at which the plot ends; a longer bar is cut there and marked."""

_COLOURS = {True: "#2da44e", False: "#cf222e"}
_STYLE = "font: 12px sans-serif; fill: #24292f"


def svg(figures: Sequence[Figure]) -> str:
    """Draw a bar for each figure that has a target: its share of the target, whose line is 1."""
    judged = [figure for figure in figures if figure.target]
    height = ROW * (len(judged) + 2)
    limit = TEXT + BAR / MOST
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" style="{_STYLE}">',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            f'<text x="{limit:g}" y="15" text-anchor="middle">limit</text>',
            *(line for number, figure in enumerate(judged, 1) for line in _bar(figure, number)),
            f'<line x1="{limit:g}" x2="{limit:g}" y1="{ROW}" y2="{height - ROW // 2}" '
            'stroke="#24292f" stroke-dasharray="4 3"/>',
            "</svg>",
            "",
        ]
    )


def _bar(figure: Figure, number: int) -> list[str]:
    assert figure.target  # noqa: S101 # chosen by the caller
    share = figure.value / figure.target
    length = BAR * min(share, MOST) / MOST
    top, base = ROW * number, ROW * number + 15
    _, value, target, _, _ = figure.cells
    is_cut = " →" if share > MOST else ""
    return [
        f'<text x="{TEXT - 8}" y="{base}" text-anchor="end">{escape(figure.name)}</text>',
        f'<rect x="{TEXT}" y="{top + 3}" width="{length:.1f}" height="{ROW - 6}" '
        f'fill="{_COLOURS[bool(figure.met)]}"/>',
        f'<text x="{TEXT + BAR + 8}" y="{base}">{escape(f"{value} of {target}{is_cut}")}</text>',
    ]
