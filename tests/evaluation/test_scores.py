import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from latefusion import Matte
from latefusion.cli import app
from latefusion.data.alphas import read_alpha
from latefusion.data.labels import LabelsWarning
from latefusion.data.sources import read_pairs
from latefusion.errors import DataError, ImageError
from latefusion.evaluation.scores import (
    Evaluation,
    Row,
    doubtful_share,
    evaluate_folders,
    evaluate_model,
    score,
    source_of,
)
from latefusion.images.framing import Letterbox
from latefusion.metrics import MEASURES, Alpha
from latefusion.runtime.planes import Planes

MAD_AND_IOU = {key: MEASURES[key] for key in ("mad", "iou")}


def plane(value: float, height: int = 4, width: int = 10) -> Alpha:
    return np.full((height, width), value, np.float32)


def row(key: str, mad: float, confidence: float | None = None) -> Row:
    scores = {"mad": mad, "iou": 1 - mad}
    return Row(key, source_of(key), 4, 10, scores, confidence, None if confidence is None else 0.5)


def write(path: Path, pixels: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path


def levels(level: int, height: int = 4, width: int = 10) -> NDArray[np.uint8]:
    return np.full((height, width), level, np.uint8)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three wide photos, subject at the left as the toy model sees it; b-1's truth is all zero."""
    folder = tmp_path / "pairs"
    alpha = np.zeros((30, 50), np.uint8)
    alpha[:, :20] = 255
    bgr = np.where(alpha[:, :, None] > 0, (30, 255, 255), (90, 0, 10))
    for key in ("a-1", "a-2", "b-1"):
        write(folder / f"{key}.jpg", bgr.astype(np.uint8))
        write(folder / f"{key}.png", alpha if key != "b-1" else np.zeros_like(alpha))
    return folder


@pytest.mark.parametrize(
    ("key", "source"),
    [
        ("shard/eg1800-001-x", "eg1800"),
        ("a-b/photo", "a-b"),
        ("photo", "photos"),
        ("-x", "photos"),
        ("all-1", "all-"),
    ],
)
def test_the_source_is_what_stands_before_the_first_dash(key: str, source: str) -> None:
    assert source_of(key) == source


def test_a_row_holds_every_measure_and_the_size() -> None:
    found = score("a-1", plane(0.25), plane(1), MAD_AND_IOU)
    assert found == Row("a-1", "a", 4, 10, {"mad": 0.75, "iou": 0.0})


def test_a_matte_brings_its_confidence_and_its_doubt() -> None:
    fg = plane(1)
    fg[0, 0] = 0.5
    alpha = plane(1)
    alpha[0, 0], alpha[0, 9] = 0.5, 0
    planes = Planes(alpha, fg, plane(0), plane(1))
    frame = Letterbox((4, 10), (4, 10), (4, 10))
    matte = Matte(np.zeros((4, 10, 3), np.uint8), alpha, planes, frame)
    found = score("a-1", matte, plane(1), MAD_AND_IOU)
    assert found.scores["mad"] == pytest.approx(1.5 / 40)
    # 4 of the 40 pixels are wanted: the one doubtful, and 3/39 of the rest.
    assert found.doubt_share == pytest.approx((0.5 + 1 * 3 / 39) / 1.5)
    assert found.confidence is not None
    assert 0 < found.confidence < 1


def test_sizes_that_differ_are_named() -> None:
    with pytest.raises(DataError, match="a-1: prediction is 10x4 but truth is 12x4"):
        score("a-1", plane(0), plane(0, width=12))


@pytest.mark.parametrize(("value", "text"), [(255, "0 to 255"), (-0.5, "-0.5"), (np.nan, "nan")])
def test_a_prediction_outside_0_to_1_is_refused(value: float, text: str) -> None:
    pred = plane(0)
    pred[1, 1] = value
    with pytest.raises(DataError, match=f"a-1: prediction ranges from .*{text}"):
        score("a-1", pred, plane(0))


def test_the_doubtful_tenth_is_counted_by_hand() -> None:
    doubt = np.arange(20, dtype=np.float32).reshape(2, 10)
    error = plane(0, 2)
    error[1, 9], error[1, 8], error[1, 7] = 0.5, 0.25, 0.25  # 19 and 18 are the tenth
    assert doubtful_share(error, doubt) == pytest.approx(0.75)


def test_without_any_doubt_a_tenth_of_the_error_is_in_a_tenth_of_the_pixels() -> None:
    error = plane(0)
    error[0, 0] = 1
    assert doubtful_share(error, plane(0.3)) == pytest.approx(0.1)


def test_where_there_is_no_error_there_is_no_share_of_it() -> None:
    assert doubtful_share(plane(0), plane(0.3)) is None


@pytest.mark.parametrize(
    ("pixels", "value"),
    [
        (levels(51), 0.2),
        (np.full((4, 10), 13107, np.uint16), 0.2),
        (np.dstack([levels(51)] * 3), 0.2),
        (np.dstack([levels(0), levels(9), levels(255), levels(51)]), 0.2),
        (np.full((4, 10, 4), 13107, np.uint16), 0.2),
    ],
)
def test_any_alpha_is_read(tmp_path: Path, pixels: NDArray[Any], value: float) -> None:
    alpha = read_alpha(write(tmp_path / "a.png", pixels))
    assert alpha.shape == (4, 10)
    assert alpha.dtype == np.float32
    assert alpha == pytest.approx(value)


def test_a_colour_picture_is_no_alpha(tmp_path: Path) -> None:
    pixels = np.dstack([levels(0), levels(9), levels(255)])
    with pytest.raises(DataError, match=r"a\.png is a colour picture"):
        read_alpha(write(tmp_path / "a.png", pixels))


def test_a_grey_mask_saved_opaque_is_not_taken_for_a_full_matte(tmp_path: Path) -> None:
    mask = np.dstack([np.tile(np.arange(10, dtype=np.uint8) * 20, (4, 1))] * 3)
    opaque = np.dstack([mask, np.full((4, 10), 255, np.uint8)])
    with pytest.raises(DataError, match=r"opaque\.png is a grey mask saved opaque"):
        read_alpha(write(tmp_path / "opaque.png", opaque))


def test_masks_of_labels_are_scored_as_the_alphas_they_stand_for(tmp_path: Path) -> None:
    """The truth of a data set for segmentation, and a prediction in its manner."""
    case = Path(__file__).parents[1] / "data" / "files" / "label-masks" / "a.png"
    mask = np.asarray(cv2.imread(str(case), cv2.IMREAD_UNCHANGED), np.uint8)
    for name, labels in (("a", mask), ("b", mask * 15), ("c", mask * 255), ("d", mask * 0)):
        write(tmp_path / "true" / f"{name}.png", labels)
        write(tmp_path / "pred" / f"{name}.png", np.uint8(255) * (labels > 0))
    with pytest.warns(LabelsWarning) as caught:
        found = evaluate_folders(tmp_path / "pred", tmp_path / "true", MAD_AND_IOU)
    assert [each.scores["mad"] for each in found.rows] == [0, 0, 0, 0]
    assert found.bad == []
    assert [str(each.message).split()[7] for each in caught] == ["1", "15"]
    write(tmp_path / "labelled" / "c.png", mask)
    write(tmp_path / "alone" / "c.png", mask * 255)
    with pytest.warns(LabelsWarning, match="labelled: masks with 0 and the label 1 "):
        (row,) = evaluate_folders(tmp_path / "labelled", tmp_path / "alone", MAD_AND_IOU).rows
    assert row.scores["mad"] == 0


def blob(radius: float, level: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:40, :70]
    return np.uint8(level) * (np.hypot(x - 25, y - 22) < radius)


def scored(folder: Path, preds: dict[str, Any], trues: dict[str, Any]) -> Evaluation:
    for name in preds:
        write(folder / "pred" / f"{name}.png", preds[name])
        write(folder / "true" / f"{name}.png", trues[name])
    return evaluate_folders(folder / "pred", folder / "true", MAD_AND_IOU)


@pytest.mark.parametrize("level", [1, 2, 15])
def test_a_faint_prediction_of_nobody_is_scored_as_it_is(tmp_path: Path, level: int) -> None:
    found = scored(tmp_path, {"a": blob(15, level)}, {"a": blob(0, 0)})
    assert found.bad == []
    assert found.rows[0].scores == pytest.approx(
        {"mad": blob(15, level).mean() / 255, "iou": 1}, abs=1e-6
    )


def test_nested_faint_levels_of_predictions_are_scored_as_they_are(tmp_path: Path) -> None:
    nested = blob(15, 1) + blob(10, 1)
    found = scored(
        tmp_path, {"a": nested, "b": np.flip(nested)}, {"a": blob(0, 0), "b": nested * 0}
    )
    assert found.bad == []


@pytest.mark.parametrize("other", [blob(14, 255), cv2.blur(blob(14, 255), (5, 5)), blob(14, 3)])
def test_predictions_are_labels_only_where_all_are_masks_of_the_same(
    tmp_path: Path, other: NDArray[np.uint8]
) -> None:
    preds = {"a": blob(15, 15), "b": other, "c": blob(0, 0)}
    found = scored(tmp_path, preds, dict.fromkeys("abc", blob(15, 255)))
    assert found.bad == []
    assert found.rows[0].scores["mad"] == pytest.approx((blob(15, 240) / 255).mean(), abs=1e-6)


def test_predictions_that_mark_the_subject_by_one_label_are_mended(tmp_path: Path) -> None:
    preds = {"a": blob(15, 1), "b": blob(12, 1), "c": blob(0, 0)}
    for name in "de":  # a missing and a damaged prediction decide nothing
        write(tmp_path / "true" / f"{name}.png", blob(15, 255))
    (tmp_path / "pred").mkdir()
    (tmp_path / "pred" / "e.png").write_bytes(b"no picture")
    with pytest.warns(LabelsWarning, match="pred: masks with 0 and the label 1 "):
        found = scored(tmp_path, preds, {name: pred * 255 for name, pred in preds.items()})
    assert [row.scores["mad"] for row in found.rows] == [0, 0, 0]
    assert [bad.key for bad in found.bad] == ["d", "e"]


def test_predictions_of_several_labels_are_refused_where_all_are(tmp_path: Path) -> None:
    two = blob(15, 15)
    two[:, 50:] = 3
    found = scored(tmp_path, {"a": two}, {"a": blob(15, 255)})
    assert "a.png is a mask of labels (3 and 15)" in found.bad[0].reason


def test_masks_of_several_labels_are_not_scored(tmp_path: Path, pairs: Path) -> None:
    mask = np.zeros((30, 50), np.uint8)
    mask[:, :20], mask[:, 30:] = 15, 3
    write(pairs / "a-1.png", mask)
    found = evaluate_model(lambda image: np.asarray(image[:, :, 0] > 127, np.float32),
                           read_pairs([pairs]), MAD_AND_IOU)  # fmt: skip
    (bad,) = found.bad
    assert "a-1: alpha is a mask of labels (3 and 15), not an alpha" in bad.reason
    with pytest.raises(DataError, match=r"a-1\.png is a mask of labels \(3 and 15\)"):
        read_alpha(pairs / "a-1.png")


def test_labels_of_a_palette_are_read(tmp_path: Path) -> None:
    picture = Image.new("P", (12, 6))
    picture.paste(15, (0, 0, 5, 6))
    picture.putpalette([0, 0, 0] * 15 + [192, 128, 128])
    picture.save(tmp_path / "a.png")
    with pytest.warns(LabelsWarning, match="the label 15"):
        alpha = read_alpha(tmp_path / "a.png")
    assert alpha.mean() == pytest.approx(5 / 12)


def test_photos_of_other_names_are_refused(tmp_path: Path) -> None:
    for folder, name in (("pred", "a"), ("true", "a"), ("photos", "b")):
        write(tmp_path / folder / f"{name}.png", levels(9))
    with pytest.raises(DataError, match="no photo has the name of a truth; right would be a"):
        evaluate_folders(tmp_path / "pred", tmp_path / "true", images=tmp_path / "photos")


def test_folders_are_matched_by_their_names(tmp_path: Path) -> None:
    preds, trues, images = tmp_path / "preds", tmp_path / "trues", tmp_path / "images"
    for name in ("x/a-1.png", "x/a-2-alpha.png", "b.c-3.tif"):
        write(preds / name, levels(51))
    write(preds / "x/a-2-cutout.png", levels(0))
    write(preds / "no-truth.png", levels(0))
    for name in ("x/a-1.png", "x/a-2.png", "b.c-3.png"):
        write(trues / name, levels(0))
    write(trues / "x/a-1.jpg", levels(255))  # the photo beside its alpha is not the truth
    write(images / "x/a-1.jpg", np.full((4, 10, 3), 77, np.uint8))
    seen: dict[str, Any] = {}
    found = evaluate_folders(
        preds, trues, MAD_AND_IOU, watch=lambda row, example: seen.update({row.key: example}),
        images=images,
    )  # fmt: skip
    assert found.bad == []
    assert [each.key for each in found.rows] == ["b.c-3", "x/a-1", "x/a-2"]
    assert [each.scores["mad"] for each in found.rows] == pytest.approx([0.2] * 3)
    assert seen["x/a-1"].image.shape == (4, 10, 3)
    assert seen["x/a-2"].image is None


def test_bad_pairs_are_named_and_the_rest_is_scored(tmp_path: Path) -> None:
    preds, trues = tmp_path / "preds", tmp_path / "trues"
    for name in ("a-1.png", "a-2.png", "a-3.png", "a-4.png"):
        write(trues / name, levels(0))
    write(preds / "a-1.png", levels(51, width=12))
    (preds / "a-2.png").write_bytes(b"no picture")
    write(preds / "a-4.png", levels(51))
    found = evaluate_folders(preds, trues, MAD_AND_IOU)
    assert [each.key for each in found.rows] == ["a-4"]
    assert [bad.key for bad in found.bad] == ["a-1", "a-2", "a-3"]
    for bad, text in zip(found.bad, ("12x4 but truth is 10x4", "damaged", "no pred"), strict=True):
        assert text in bad.reason
        assert bad.key in bad.reason


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none is not a folder"):
        evaluate_folders(tmp_path / "none", tmp_path)
    with pytest.raises(DataError, match="no pictures in it"):
        evaluate_folders(tmp_path, tmp_path)


def test_any_function_from_image_to_alpha_can_be_scored(pairs: Path) -> None:
    def red_is_subject(image: NDArray[np.uint8]) -> Alpha:
        return np.asarray(image[:, :, 0] > 127, np.float32)

    found = evaluate_model(red_is_subject, read_pairs([pairs]), MAD_AND_IOU)
    assert [each.scores["mad"] for each in found.rows] == pytest.approx([0, 0, 0.4])
    assert [each.confidence for each in found.rows] == [None] * 3


def test_a_model_that_refuses_a_photo_costs_that_photo(pairs: Path) -> None:
    def refuse(image: NDArray[np.uint8]) -> Alpha:
        raise ImageError("too dark")

    found = evaluate_model(refuse, read_pairs([pairs]))
    assert found.rows == []
    assert len(found.bad) == 3


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Result:
        result = CliRunner().invoke(app, ["evaluate", *map(str, words)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_a_model_is_scored_and_table_json_and_csv_agree(
    run: Run, pairs: Path, toy_model: Path
) -> None:
    result = run("--model", toy_model, "--data", pairs, "--out", "out")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    found = json.loads(Path("out/evaluation.json").read_text())
    assert found["about"]["longer side"] == 64
    assert len(found["about"]["sha256"]) == 64
    assert list(found["summary"]) == ["a", "b", "all"]
    assert found["summary"]["b"]["mad"]["mean"] == pytest.approx(0.4, abs=0.02)
    assert found["summary"]["b"]["mad_band10"]["mean"] is None  # its truth has no outline
    lines = list(csv.DictReader(Path("out/evaluation.csv").read_text().splitlines()))
    assert [line["key"] for line in lines] == [photo["key"] for photo in found["photos"]]
    for line, photo in zip(lines, found["photos"], strict=True):
        assert float(line["mad"]) == photo["mad"]
        assert line["source"] == photo["source"]
    mean, low, high = (found["summary"]["all"]["mad"][name] for name in ("mean", "low", "high"))
    assert f"{mean:.4f} [{low:.4f}, {high:.4f}]" in result.stdout
    for measure in MEASURES.values():
        assert str(measure) in result.stdout
        assert found["conventions"][measure.key]["convention"] == measure.convention


def test_a_bad_pair_makes_the_exit_code_1(run: Run, pairs: Path, toy_model: Path) -> None:
    write(pairs / "a-2.png", levels(0))
    result = run("--model", toy_model, "--data", pairs, "--measures", "sad,mad", "--out", "out")
    assert result.exit_code == 1
    sizes = "a-2: photo is 50x30 but alpha is 10x4; they must be equal"
    assert result.stderr.splitlines()[-1] == "1 of 3 photos not scored"
    assert result.stderr.splitlines()[-2].endswith(sizes)
    found = json.loads(Path("out/evaluation.json").read_text())
    assert found["summary"]["all"]["photos"] == len(found["photos"]) == 2
    assert found["bad"][0]["reason"].endswith(sizes)
    assert sizes in Path("out/report.html").read_text()


def test_where_nothing_could_be_scored_the_report_says_so(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "true/a.png", levels(0))
    write(tmp_path / "pred/b.png", levels(0))
    result = run("--pred", "pred", "--true", "true", "--out", "out")
    assert result.exit_code == 1
    assert "1 of 1 photos not scored" in result.stderr
    assert "no prediction" in Path("out/report.html").read_text()


def test_results_of_latefusion_matte_are_scored_as_they_are(
    run: Run, pairs: Path, toy_model: Path
) -> None:
    photos = [str(path) for path in sorted(pairs.glob("*.jpg"))]
    words = ["--model", str(toy_model), "--save", "alpha", "-o", "mine", "--framing", "whole"]
    CliRunner().invoke(app, ["matte", *photos, *words])
    given = run("--pred", "mine", "--true", pairs, "--out", "out")
    assert given.exit_code == 0, given.output
    run("--model", toy_model, "--data", pairs, "--out", "direct")
    ready, direct = (
        json.loads(Path(f"{at}/evaluation.json").read_text()) for at in ("out", "direct")
    )
    for one, other in zip(ready["photos"], direct["photos"], strict=True):
        assert one["mad"] == pytest.approx(other["mad"], abs=1 / 255)
        assert one["confidence"] is None


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "give either --data PATH"),
        (["--pred", "p"], "give either --data PATH"),
        (["--data", "d", "--pred", "p", "--true", "t"], "give either --data PATH"),
        (["--pred", "p", "--true", "t", "--size", "64"], "give either --data PATH"),
        (
            ["--data", "d", "--measures", "mad,psnr"],
            "unknown measure 'psnr'; choose from sad, mse, mad,",
        ),
        (["--data", "d", "--size", "65"], "use 96"),
    ],
)
def test_a_usage_error_exits_with_2(run: Run, words: list[str], problem: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.replace("│", " ").split())
