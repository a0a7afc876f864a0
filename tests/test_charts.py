"""Charts that the server makes: whole as XML, with the same figures as text, whatever the names are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from indicia.web.portal import charts
from indicia.web.portal.charts import Bar, Column, Series

SERIES = (Series("Low", "low"), Series("High", "high"))
HOSTILE = "</title><script>alert(1)</script>\"'&\x1b[31m\u202e"
NAMESPACED = re.compile(r"\{.*\}")


def parsed(markup: str) -> ElementTree.Element:
    """As XML, which HTML of this kind is; the escape character, which XML knows not, aside."""
    return ElementTree.fromstring(markup.replace("\x1b", "?"))


def heights(found: ElementTree.Element, kind: str) -> list[float]:
    return [float(one.get("height", "")) for one in found.iter("rect") if one.get("class") == kind]


def test_columns_are_stacked_and_linked() -> None:
    found = [
        Column("1", "1 March", (2, 2), "/portal/alerts?day=1"),
        Column("2", "2 March", (0, 8), "/x?a=1&b=2"),
    ]
    drawn = parsed(charts.columns("c", "Alerts", SERIES, found))
    assert heights(drawn, "low") == [40.0]
    assert heights(drawn, "high") == [40.0, 160.0]
    links = [one.get("href") for one in drawn.iter("a")]
    assert links == ["/portal/alerts?day=1", "/x?a=1&b=2"] * 2  # in the drawing, and in the table
    assert [one.get("tabindex") for one in drawn.iter("a")] == ["-1", "-1", None, None]
    label = next(one for one in drawn.iter("a")).get("aria-label")
    assert label == "1 March: 2 Low, 2 High"


def test_a_drawing_is_told_in_words_and_as_a_table() -> None:
    drawn = parsed(charts.columns("c", "Alerts", SERIES, [Column("1", "1 March", (1, 1234), "/x")]))
    svg = next(drawn.iter("svg"))
    ids = {one.get("id") for one in drawn.iter() if one.get("id")}
    assert set(str(svg.get("aria-labelledby")).split()) <= ids
    described = next(drawn.iter("desc")).text
    assert described == "1,235 in all: 1 Low, 1,234 High. Most in 1 March, 1,235."
    cells = [one.text for one in drawn.iter("td")]
    assert cells == ["1", "1,234"]
    assert [one.text for one in drawn.iter("th")][1:3] == ["Low", "High"]


@pytest.mark.parametrize("found", [[], [Column("1", "1 March", (0, 0), "/x")]])
def test_nothing_is_drawn_of_nothing(found: list[Column]) -> None:
    drawn = parsed(charts.columns("c", "Alerts", SERIES, found))
    assert next(drawn.iter("desc")).text == "There is nothing in this period."
    assert not heights(drawn, "low") + heights(drawn, "high")
    assert not list(drawn.iter("a"))


def test_beside_a_huge_value_the_small_ones_are_seen() -> None:
    found = [Column("1", "1", (1, 0)), Column("2", "2", (0, 987_654_321))]
    drawn = parsed(charts.columns("c", "Alerts", SERIES, found))
    assert heights(drawn, "low") == [2.0]
    assert 150 < heights(drawn, "high")[0] <= charts.HEIGHT
    assert next(one for one in drawn.iter("span") if one.get("class") == "most").text == "1,000,000,000"


def test_no_shape_leaves_the_drawing() -> None:
    found = [Column(str(at), str(at), (at % 3, 10_000 * (at % 2))) for at in range(31)]
    drawn = parsed(charts.columns("c", "Alerts", SERIES, found))
    for one in drawn.iter("rect"):
        left, top, width, height = (float(one.get(name, "")) for name in ("x", "y", "width", "height"))
        assert left >= 0
        assert top >= 0
        assert left + width <= charts.WIDTH + 0.01
        assert top + height <= charts.HEIGHT + charts._LEAST


def test_names_of_attackers_stay_text() -> None:
    found = [Column(HOSTILE, HOSTILE, (1, 1), "/x?" + HOSTILE)]
    whole = [
        charts.columns("c", HOSTILE, [Series(HOSTILE, "a"), Series("b", "b")], found),
        charts.bars([Bar(HOSTILE, 3, "/x?" + HOSTILE, HOSTILE)], HOSTILE),
        charts.sparkline(HOSTILE, [1, 2]),
    ]
    for markup in whole:
        assert "<script" not in markup
        texts = "".join(
            text for one in parsed(markup).iter() for text in (one.text or "", *one.attrib.values())
        )
        assert HOSTILE.replace("\x1b", "?") in texts


def test_no_style_and_no_script_is_in_a_chart() -> None:
    markup = charts.columns("c", "Alerts", SERIES, [Column("1", "1", (1, 2), "/x")]) + charts.sparkline(
        "s", [1]
    )
    names = {one.tag for one in parsed(f"<div>{markup}</div>").iter()}
    attributes = {name for one in parsed(f"<div>{markup}</div>").iter() for name in one.attrib}
    assert not names & {"style", "script"}
    assert not {name for name in attributes if name == "style" or name.startswith("on")}


def test_bars_are_as_long_as_their_numbers() -> None:
    drawn = parsed(charts.bars([Bar("a", 200, "/a"), Bar("b", 50, mono=True), Bar("c", 0)], "alerts"))
    widths = [float(one.get("width", "")) for one in drawn.iter("rect") if one.get("class") == "plain"]
    assert widths == [100.0, 25.0, 0.0]
    assert [one.text for one in drawn.iter("span") if one.get("class") == "count"] == ["200", "50", "0"]
    assert parsed(charts.bars([], "alerts")).tag == "ol"


def test_lines_keep_inside_whatever_the_numbers() -> None:
    for counts in ([], [0], [0, 0, 0], [5], [0, 10**12, 1]):
        line = next(parsed(charts.sparkline("s", counts)).iter("polyline")).get("points", "")
        for pair in line.split():
            across, down = map(float, pair.split(","))
            assert 0 <= across <= 100
            assert 2 <= down <= 22


@pytest.mark.parametrize(
    ("most", "top"), [(0, 1), (1, 1), (2, 2), (3, 4), (5, 5), (7, 8), (9, 10), (11, 20), (41, 50), (99, 100)]
)
def test_the_axis_ends_at_a_round_number(most: int, top: int) -> None:
    assert charts._nice(most) == top
