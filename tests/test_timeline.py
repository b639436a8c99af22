"""The picture of a reboot's timeline says what was measured; no virtual machine is needed for that."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.vm.picture import COLOURS, MARGIN, WIDTH, Way, svg
from tests.vm.timeline import draw

DOCS = Path(__file__).resolve().parents[1] / "docs"
SVG = "{http://www.w3.org/2000/svg}"

LONG = Way(
    "the long one",
    ("shutdown", "GRUB", "kernel"),
    ((1.0, 2.0, 9.0), (2.0, 2.5, 3.0), (3.0, 6.0, 5.5)),
)
SHORT = Way("the <short> one", ("shutdown", "kernel"), ((2.0, 3.0), (2.0, 3.0), (2.0, 3.5)))


def drawn() -> ElementTree.Element:
    return ElementTree.fromstring(svg("a & b", [LONG, SHORT], ["said <below>"]))


def bars(picture: ElementTree.Element) -> list[tuple[str, float, float]]:
    """Part, left, width; the pieces have titles, and nothing else among the rectangles has."""
    return [
        (title.text or "", float(rect.attrib["x"]), float(rect.attrib["width"]))
        for rect in picture.iter(f"{SVG}rect")
        for title in rect.findall(f"{SVG}title")
    ]


def said(picture: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]


def test_each_part_is_as_long_as_its_median_and_begins_where_the_one_before_ends() -> None:
    # medians 2, 2.5, 5.5: 10 seconds from margin to margin
    second = (WIDTH - 2 * MARGIN) / 10
    wanted = [
        ("shutdown: 2.00 s", 0.0, 2.0),
        ("GRUB: 2.50 s", 2.0, 2.5),
        ("kernel: 5.50 s", 4.5, 5.5),
        ("shutdown: 2.00 s", 0.0, 2.0),
        ("kernel: 3.00 s", 2.0, 3.0),
    ]
    found = bars(drawn())
    assert [part for part, _, _ in found] == [part for part, _, _ in wanted]
    for (_, left, width), (_, begin, seconds) in zip(found, wanted):
        assert left == pytest.approx(MARGIN + begin * second, abs=0.06)
        assert width == pytest.approx(seconds * second, abs=0.06)


def test_total_is_the_median_of_the_runs_beside_their_range() -> None:
    texts = said(drawn())
    assert "12.0 s (7.5 to 14.5 s in 3 runs)" in texts
    assert "5.0 s (5.0 to 5.5 s in 3 runs)" in texts


def test_words_are_text_and_no_markup() -> None:
    picture = drawn()
    assert picture.findtext(f"{SVG}title") == "a & b"
    assert {"a & b", "the <short> one", "said <below>"} <= set(said(picture))


def test_legend_has_each_part_once() -> None:
    texts = said(drawn())
    assert [texts.count(part) for part in COLOURS] == [1, 0, 1, 0, 1, 0]


# What is in docs.


def test_drawing_in_the_documentation_is_of_the_numbers_there() -> None:
    measured = json.loads((DOCS / "timeline.json").read_text())
    assert (DOCS / "timeline.svg").read_text() == draw(measured)


@pytest.mark.parametrize("way", ["ordinary", "jump"])
def test_numbers_in_the_documentation_are_of_five_runs_or_more(way: str) -> None:
    described = json.loads((DOCS / "timeline.json").read_text())[way]
    runs = described["runs"]
    assert len(runs) >= 5
    for number in range(len(described["parts"])):
        ordered = sorted(run[number] for run in runs)
        below, above = ordered[(len(runs) - 1) // 2], ordered[len(runs) // 2]
        assert described["medians"][number] == pytest.approx((below + above) / 2, abs=0.001)
