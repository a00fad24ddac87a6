import base64
import json
import math
import os
import re
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion.evaluation.charts import Point, histogram, linear_axis, log_axis, scatter
from latefusion.evaluation.gallery import HEIGHT, Gallery, Picture, draw, signed_difference
from latefusion.evaluation.report import write_report
from latefusion.evaluation.scores import Bad, Evaluation, Example, Row
from latefusion.evaluation.summary import summarise
from latefusion.evaluation.tables import conventions, text_table
from latefusion.metrics import MEASURES

CHOSEN = {key: MEASURES[key] for key in ("mad", "iou")}


def row(key: str, mad: float, confidence: float | None = 0.9) -> Row:
    return Row(key, key.partition("-")[0], 30, 50, {"mad": mad, "iou": 1 - mad}, confidence, 0.5)


def example() -> Example:
    """A red photo of 50 x 30 with the subject at the left; the prediction lies further right."""
    true, pred = np.zeros((2, 30, 50), np.float32)
    true[:, :20] = 1
    pred[:, 10:30] = 1
    return Example(np.full((30, 50, 3), (200, 20, 10), np.uint8), pred, true)


def evaluation(*rows: Row, bad: tuple[Bad, ...] = ()) -> Evaluation:
    return Evaluation(CHOSEN, list(rows), list(bad))


def report(folder: Path, found: Evaluation, worst: int = 24) -> str:
    gallery = Gallery(CHOSEN["mad"], worst)
    for each in found.rows:
        gallery.add(each, example())
    write_report(folder, found, {"model": "toy"}, gallery.pictures())
    return (folder / "report.html").read_text(encoding="utf-8")


def pixels(picture: Picture) -> NDArray[np.int64]:
    encoded = base64.b64decode(picture.url.partition(",")[2])
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return bgr[:, :, ::-1].astype(np.int64)


def test_the_page_needs_no_other_file(tmp_path: Path) -> None:
    page = report(tmp_path, evaluation(row("a-1", 0.1), row("b-1", 0.2)))
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert page.count('src="data:image/jpeg;base64,') == 10
    assert not {"http", "<script", "@import"} & set(re.findall(r"http|<script|@import", page))


def test_the_worst_photos_have_pictures_and_the_rest_lines(tmp_path: Path) -> None:
    rows = [row(f"a-{i}", mad) for i, mad in enumerate((0.1, 0.4, math.nan, 0.3, 0.2))]
    page = report(tmp_path, evaluation(*rows), worst=2)
    assert re.findall(r"<h3>(\S+)", page) == ["a-1", "a-3"]
    assert re.findall(r"<tr><th>(a-\d)</th>", page) == ["a-4", "a-0", "a-2"]


def test_page_and_json_and_text_show_the_same_means(tmp_path: Path) -> None:
    found = evaluation(row("a-1", 0.1, 0.8), row("a-2", 0.3, 0.9), row("b-1", 0.2, 0.7))
    page = report(tmp_path, found)
    summary = json.loads((tmp_path / "evaluation.json").read_text())["summary"]
    text = text_table(found, summarise(found.rows, CHOSEN), 160)
    for group in summary.values():
        mean, low, high = (group["mad"][name] for name in ("mean", "low", "high"))
        if group["photos"] == 1:  # no interval from one photo
            assert (low, high) == (None, None)
            assert f"<b>{mean:.4f}</b><small>-</small>" in page
            assert f"{mean:.4f} -" in text
            continue
        assert f"<b>{mean:.4f}</b><small>{low:.4f} … {high:.4f}</small>" in page
        assert f"{mean:.4f} [{low:.4f}, {high:.4f}]" in text
    assert [float(f"{group['mad']['mean']:.9f}") for group in summary.values()] == [0.2, 0.2, 0.2]


def test_every_convention_is_on_the_page(tmp_path: Path) -> None:
    found = evaluation(row("a-1", 0.1))
    page = report(tmp_path, found)
    assert len(conventions(found)) == 4
    for line in conventions(found):
        assert f"<li>{escape(line)}</li>" in page


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    name = "<b>&\"'-" + os.fsdecode(b"\xff")
    page = report(tmp_path, evaluation(row(name, 0.1), bad=(Bad("x", "<i>reason</i>"),)))
    assert "<b>&" not in page
    assert "&lt;i&gt;reason" in page
    assert json.loads((tmp_path / "evaluation.json").read_text())["photos"][0]["key"] == name


def test_a_number_that_does_not_exist_is_null_and_empty(tmp_path: Path) -> None:
    report(tmp_path, evaluation(row("a-1", math.nan, None)))
    found = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert found["photos"][0]["mad"] is found["photos"][0]["confidence"] is None
    line = (tmp_path / "evaluation.csv").read_text().splitlines()[1]
    assert line == "a-1,a,30,50,,,,0.5"


def test_an_evaluation_without_photos_is_a_page_too(tmp_path: Path) -> None:
    assert "1 not scored" in report(tmp_path, evaluation(bad=(Bad("x", "x is damaged"),)))


def test_too_many_sources_do_not_fill_the_tables() -> None:
    found = evaluation(*(row(f"{i}-1", 0.1) for i in range(21)))
    text = text_table(found, summarise(found.rows, CHOSEN), 160)
    assert text.splitlines()[0].split() == ["all", "(21)"]


def test_a_narrow_table_goes_on_below() -> None:
    found = evaluation(*(row(f"source{i}-1", 0.1) for i in range(5)))
    text = text_table(found, summarise(found.rows, CHOSEN), 80)
    assert max(map(len, text.splitlines())) <= 80
    for i in range(5):
        assert f"source{i} (1)" in text


def test_the_pictures_of_a_photo() -> None:
    views = {picture.caption: picture for picture in draw(example())}
    assert list(views) == ["photo", "truth", "prediction", "difference", "cut-out"]
    for picture in views.values():
        assert pixels(picture).shape == (HEIGHT, round(50 * HEIGHT / 30), 3)
    colours = {
        "photo": ((20, 200, 20, 10), (400, 200, 20, 10)),
        "difference": ((40, 31, 90, 200), (130, 255, 255, 255), (220, 214, 39, 40)),
        "cut-out": ((130, 200, 20, 10), (400, 0, 177, 64)),
    }
    for caption, points in colours.items():
        for x, *colour in points:
            assert pixels(views[caption])[HEIGHT // 2, x] == pytest.approx(colour, abs=8), caption


def test_without_a_photo_there_is_no_cutout() -> None:
    pictures = draw(example()._replace(image=None))
    assert [picture.caption for picture in pictures] == ["truth", "prediction", "difference"]


def test_a_small_difference_is_faint() -> None:
    pred, true = np.array([[[0.1, 0]], [[0, 0.1]]], np.float32)
    ((too_much, missing),) = signed_difference(pred, true).astype(int)
    assert too_much[0] > too_much[2] > 220
    assert missing[2] > missing[0] > 220


def test_the_gallery_keeps_the_worst_and_of_equals_the_first() -> None:
    gallery = Gallery(MEASURES["iou"], 2)
    for key, mad in (("a", 0.2), ("b", math.nan), ("c", 0.5), ("d", 0.2), ("e", 0.1)):
        gallery.add(row(key, mad), example())
    assert list(gallery.pictures()) == ["c", "a"]


@pytest.mark.parametrize(
    "values", [[0.0], [0.0, 0.0], [3.0], [0.0, 1e-9, 0.2], [1e-3, 0.5], [7, 9]]
)
def test_axes_hold_every_value_and_have_marks(values: list[float]) -> None:
    for axis in (linear_axis(values), log_axis(values)):
        places = [axis.place(value) for value in (*values, *axis.ticks)]
        assert min(places) >= -1e-9
        assert max(places) <= 1 + 1e-9
        assert 1 <= len(axis.ticks) <= 12
    assert len(linear_axis(values).ticks) >= 2


def test_the_bars_count_every_photo() -> None:
    values, groups = [0.01, 0.011, 0.3, 0.0], ["a", "b", "b", "<c>"]
    svg = ElementTree.fromstring(histogram(values, groups, log_axis(values), "MAD"))
    titles = [bar[0].text or "" for bar in svg.iter("rect")]
    assert sum(int(title.rpartition(" ")[2]) for title in titles) == 4
    assert "<c>: 1" in titles


def test_a_dot_lies_where_its_values_say() -> None:
    points = [Point(0.8, 0.1, "a", "a-1"), Point(0.9, 0.4, "b", "b-1"), Point(0.9, 0.1, "b", "b-2")]
    x, y = linear_axis([0.8, 0.9]), log_axis([0.1, 0.4])
    svg = ElementTree.fromstring(scatter(points, x, y, "confidence", "MAD"))
    dots = [dot.attrib for dot in svg.iter("circle") if len(dot)]
    assert float(dots[0]["cx"]) < float(dots[1]["cx"]) == float(dots[2]["cx"])
    assert float(dots[1]["cy"]) < float(dots[0]["cy"]) == float(dots[2]["cy"])
    assert dots[0]["fill"] != dots[1]["fill"] == dots[2]["fill"]
