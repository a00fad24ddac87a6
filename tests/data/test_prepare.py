"""Every layout gives its pairs, and every picture is in a pair or in the list of the rejected."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from latefusion.data import prepare as module
from latefusion.data.labels import ANY, LabelsWarning
from latefusion.data.layouts import LAYOUTS, Folders, layouts_in_words
from latefusion.data.prepare import Report, prepare, read_matte
from latefusion.data.sources import Cutout, decode_cutout, decode_pair, read_cutouts, read_pairs
from latefusion.errors import DataError, OutputError

Pixels = NDArray[np.uint8]

RED: Pixels = np.full((20, 30, 3), (200, 30, 10), np.uint8)  # wide, RGB
ALPHA: Pixels = np.zeros((20, 30), np.uint8)  # soft, the subject at the left
ALPHA[:, :8] = 255
ALPHA[:, 8:12] = 100
RGBA: Pixels = np.dstack([RED, ALPHA])


def save(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def listed(out: Path) -> dict[str, Pixels]:
    """Name of the photo -> alpha, for all pairs in both lists."""
    pairs = [
        pair
        for name in ("train_set.txt", "val_set.txt")
        if (out / name).read_text()
        for pair in read_pairs([out / name])
    ]
    return {Path(pair.key).name: decode_pair(pair)[1] for pair in pairs}


def reasons(report: Report) -> dict[str, str]:
    return {each.path.name: each.reason for each in report.rejected}


@pytest.mark.parametrize(
    ("photo", "matte"),
    [
        *((each.photo, each.matte) for each in LAYOUTS if each.name != "foregrounds"),
        ("images/deep/X.jpg", "alphas/deep/X.png"),
        ("images/X.jpg", "alpha/X.png"),
        ("Images/X.JPG", "Masks/X.PNG"),
        ("images/X.png", "mattes/X.png"),
        ("train/images/X.jpg", "train/masks/X_mask.png"),
        ("images/X_mask.jpg", "masks/X_mask.png"),
        ("X.jpg", "masks/X.png"),
        ("X.png", "masks/X.bmp"),
        ("deep/X.jpg", "deep/X.png"),
        ("X.webp", "X.png"),
        ("X.jpg", "X_alpha.png"),
        ("X.jpg", "X-alpha.png"),
        ("X.png", "X_mask.png"),
        ("my X, it's.jpg", "my X, it's_matte.png"),
        ("train/blurred_image/X.jpg", "train/mask/X.png"),
        ("Images/X.jpg", "Labels/X.png"),
        ("ds/img/X.png", "ds/masks_machine/X.png"),
        (
            "clip_img/1803151818/clip_00000000/1803151818-00000003.jpg",
            "matting/1803151818/matting_00000000/1803151818-00000003.png",
        ),
    ],
)
def test_a_layout_is_understood(tmp_path: Path, photo: str, matte: str) -> None:
    save(tmp_path / "src" / photo, RED)
    save(tmp_path / "src" / matte, ALPHA)
    report = prepare(tmp_path / "src", tmp_path / "out", train_ratio=1)
    assert (report.train, report.val, report.rejected) == (1, 0, ())
    (pair,) = read_pairs([tmp_path / "out"])
    image, alpha = decode_pair(pair)
    assert pair.image == (tmp_path / "src" / photo).resolve()
    assert np.abs(image.astype(int) - RED).max() < 8
    assert np.array_equal(alpha, ALPHA)


@pytest.mark.parametrize("folders", [("fg", "alpha"), ("FG", "GT"), ("fgr", "pha")])
def test_foregrounds_with_their_mattes_become_cutouts(
    tmp_path: Path, folders: tuple[str, str]
) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    save(src / folders[0] / "X.png", RED)
    save(src / folders[1] / "X.png", ALPHA)
    report = prepare(src, out)
    assert (report.train, report.val, report.cutouts, report.rejected) == (0, 0, 1, ())
    (cutout,) = read_cutouts([out / "cutouts"])
    assert np.array_equal(decode_cutout(cutout), RGBA)
    save(src / "original" / "X.png", RED)
    report = prepare(src, out)
    assert (report.train, report.cutouts) == (1, 0)
    assert "its foreground is not needed" in report.rejected[0].reason


def test_photos_and_mattes_may_lie_in_two_folders(tmp_path: Path) -> None:
    one, other = tmp_path / "mine" / "shots", tmp_path / "theirs" / "binary"
    for name in ("a.jpg", "deep/b.png", "X_mask.jpg", "alone.jpg"):
        save(one / name, RED)
    for name in ("a.png", "deep/b_alpha.tif", "X_mask.png", "other.png"):
        save(other / name, ALPHA)
    report = prepare(Folders(one, other), tmp_path / "out", train_ratio=1)
    assert listed(tmp_path / "out").keys() == {"a", "b", "X_mask"}
    assert reasons(report) == {
        "alone.jpg": "no matte of this name",
        "other.png": "no photo of this name",
    }


@pytest.mark.parametrize("inner", ["images", "mattes"])
def test_one_of_two_folders_may_lie_in_the_other(tmp_path: Path, inner: str) -> None:
    whole, part = tmp_path / "all", tmp_path / "all" / "part"
    folders = Folders(part, whole) if inner == "images" else Folders(whole, part)
    save(folders.images / "a.png", RED)
    save(folders.mattes / "a.png", ALPHA)
    report = prepare(folders, tmp_path / "out")
    assert (report.train, report.rejected) == (1, ())
    with pytest.raises(DataError, match="all holds photos and mattes alike; give it as SRC alone"):
        prepare(Folders(whole, whole), tmp_path / "out")
    with pytest.raises(DataError, match="gone is not a folder"):
        prepare(Folders(whole, tmp_path / "gone"), tmp_path / "out")


def test_the_layouts_are_named_where_none_fits(tmp_path: Path) -> None:
    save(tmp_path / "src" / "left" / "a.jpg", RED)
    save(tmp_path / "src" / "right" / "b.png", ALPHA)
    with pytest.raises(DataError, match=r"known layouts: images/a/X\.jpg with .*give --images"):
        prepare(tmp_path / "src", tmp_path / "out")
    assert layouts_in_words().count(" with ") == len(LAYOUTS)
    save(tmp_path / "src" / "left" / "a.png", ALPHA * 0)  # the layout fits, the matte does not
    with pytest.raises(DataError) as caught:
        prepare(tmp_path / "src", tmp_path / "out")
    assert "known layouts" not in str(caught.value)


def test_the_layouts_are_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    for each in LAYOUTS:
        assert f"| `{each.photo}` | `{each.matte}` | {each.found_in} |" in page


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_no_list_of_few_pairs_is_empty(tmp_path: Path, count: int, ratio: float) -> None:
    make_pairs(tmp_path / "src", range(count))
    report = prepare(tmp_path / "src", tmp_path / "out", ratio)
    assert report.train + report.val == count
    assert min(report.train, report.val) >= 1
    for name in ("train_set.txt", "val_set.txt"):
        assert read_pairs([tmp_path / "out" / name])


@pytest.mark.parametrize("ratio", [0.01, 0.9, 1])
def test_a_single_pair_is_trained_on(tmp_path: Path, ratio: float) -> None:
    make_pairs(tmp_path / "src", range(1))
    report = prepare(tmp_path / "src", tmp_path / "out", ratio)
    assert (report.train, report.val) == (1, 0)


def test_aisegment_folders_with_the_same_names_stay_apart(tmp_path: Path) -> None:
    for batch in ("00000000", "00000001"):
        save(tmp_path / "src" / "clip_img" / "18" / f"clip_{batch}" / "X.jpg", RED)
        save(tmp_path / "src" / "matting" / "18" / f"matting_{batch}" / "X.png", RGBA)
    assert prepare(tmp_path / "src", tmp_path / "out", train_ratio=1).train == 2
    assert sorted(path.parent.name for path in (tmp_path / "out").rglob("X.png")) == [
        "00000000",
        "00000001",
    ]


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(RGBA, id="RGBA"),
        pytest.param(np.dstack([ALPHA, ALPHA, ALPHA]), id="grey in RGB"),
        pytest.param(np.dstack([ALPHA, ALPHA, ALPHA, np.full_like(ALPHA, 255)]), id="opaque RGBA"),
        pytest.param(ALPHA.astype(np.uint16) * 257, id="16 bits"),
    ],
)
def test_an_alpha_is_read_from_every_form(tmp_path: Path, pixels: Pixels) -> None:
    assert np.array_equal(read_matte(save(tmp_path / "a.png", pixels)), ALPHA)


def test_masks_of_labels_and_of_one_bit_are_read(tmp_path: Path) -> None:
    labels = (ALPHA == 255).astype(np.uint8)
    Image.fromarray(labels * 255).convert("1").save(tmp_path / "bits.png")
    assert np.array_equal(read_matte(tmp_path / "bits.png"), labels * 255)
    with pytest.warns(LabelsWarning, match="0 and the label 1 are read as alphas"):
        assert np.array_equal(read_matte(save(tmp_path / "a.png", labels)), labels * 255)
    deep = save(tmp_path / "deep.png", labels.astype(np.uint16) * 2)
    with pytest.warns(LabelsWarning, match="0 and the label 2 are read as alphas"):
        assert np.array_equal(read_matte(deep), labels * 255)
    opacity = save(tmp_path / "opacity.png", np.dstack([RED, labels]))
    with pytest.warns(LabelsWarning, match="0 and the label 1 are read as alphas"):
        assert np.array_equal(read_matte(opacity), labels * 255)


def save_voc(path: Path, mask: Pixels) -> None:
    """A mask as VOC has it: the labels are indices of a palette of colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("P", mask.shape[::-1])
    picture.putdata(mask.ravel().tolist())
    picture.putpalette([value for i in range(256) for value in (i, 255 - i, i // 2)])
    picture.save(path)


def test_a_tree_of_voc_is_prepared_by_its_label(tmp_path: Path) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    person, cat = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    person[:, :8], person[:, 8:10], cat[:, 20:] = 15, 255, 8
    for name, mask in (("both", person + cat), ("cat", cat)):
        save(src / "JPEGImages" / f"{name}.jpg", RED)
        save_voc(src / "SegmentationClass" / f"{name}.png", mask)
        save_voc(src / "SegmentationObject" / f"{name}.png", np.minimum(mask, 2))
    save(src / "JPEGImages" / "unmarked.jpg", RED)
    report = prepare(src, out, label=[15])
    assert (report.train, report.val) == (1, 0)
    alpha = listed(out)["both"]
    assert (alpha[:, :9] == 255).all()
    assert (alpha[:, 9:] == 0).all()
    assert "cat.png has no label 15; its labels are 0 and 8" in reasons(report)["cat.jpg"]
    assert "both.png is taken in its place" in reasons(report)["both.png"]
    assert reasons(report)["unmarked.jpg"] == "no matte of this name"
    assert prepare(src, tmp_path / "any", label=ANY).train == 1
    with pytest.warns(LabelsWarning, match="the label 8"):
        found = reasons(prepare(src, tmp_path / "plain"))
    assert "both.png is a mask of labels (8, 15 and 255)" in found["both.jpg"]
    assert "prepare --label N" in found["both.jpg"]


def test_what_does_not_fit_is_listed_with_the_reason(tmp_path: Path) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    for name in ("good", "cut", "text", "small", "turned", "empty", "full", "colour", "gone"):
        save(src / "images" / f"{name}.jpg", RED)
        save(src / "masks" / f"{name}.png", ALPHA)
    cut = src / "images" / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    (src / "masks" / "text.png").write_text("hello")
    save(src / "masks" / "small.png", ALPHA[:10])
    save(src / "masks" / "turned.png", ALPHA.T)
    save(src / "masks" / "empty.png", ALPHA * 0)
    save(src / "masks" / "full.png", np.full_like(ALPHA, 255))
    save(src / "masks" / "colour.png", RED)
    (src / "masks" / "gone.png").unlink()
    save(src / "masks" / "lonely.png", ALPHA)
    save(src / "plain.png", RED)
    save(src / "opaque.png", np.dstack([RED, np.full_like(ALPHA, 255)]))
    (src / "phone.HEIC").write_bytes(b"x")
    save(src / "twice.jpg", RED)
    save(src / "twice.jpeg", RED)
    save(src / "twice.png", ALPHA)

    report = prepare(src, out, train_ratio=1)

    expected = {
        "cut.jpg": "cannot be decoded",
        "text.jpg": "text.png is not an image",
        "small.jpg": "the photo is 30x20 but its matte 30x10",
        "turned.jpg": "as if one of them were turned",
        "empty.jpg": "empty matte",
        "full.jpg": "full matte",
        "colour.jpg": "is in colour",
        "gone.jpg": "no matte of this name",
        "lonely.png": "no photo of this name",
        "plain.png": "no matte of this name, and it is no cut-out",
        "opaque.png": "less than 1 % of the cut-out is transparent",
        "phone.HEIC": "is not read here",
        "twice.jpg": "2 photos and 1 mattes",
        "twice.jpeg": "2 photos and 1 mattes",
        "twice.png": "2 photos and 1 mattes",
    }
    found = reasons(report)
    assert found.keys() == expected.keys()
    assert [name for name, reason in expected.items() if reason not in found[name]] == []
    lines = (out / "rejected.txt").read_text().splitlines()
    assert lines == [f"{each.path}: {each.reason}" for each in report.rejected]
    assert report.train == 1
    assert listed(out).keys() == {"good"}
    assert [path.name for path in (out / "alphas").iterdir()] == ["good.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_rgba_pictures_without_a_photo_become_cutouts(tmp_path: Path) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    save(src / "pair.jpg", RED)
    save(src / "pair.png", RGBA)
    original = save(src / "deep" / "a.b.png", RGBA)
    report = prepare(src, out, train_ratio=1)
    assert (report.train, report.val, report.cutouts, report.rejected) == (1, 0, 1, ())
    (cutout,) = read_cutouts([out / "cutouts"])
    assert cutout == Cutout(str(out / "cutouts/deep/a.b"), out / "cutouts/deep/a.b.png")
    assert (out / "cutouts/deep/a.b.png").read_bytes() == original.read_bytes()
    assert listed(out).keys() == {"pair"}


def test_a_folder_of_cutouts_alone_is_prepared(tmp_path: Path) -> None:
    save(tmp_path / "src" / "a.png", RGBA)
    save(tmp_path / "src" / "b.webp", RGBA)
    report = prepare(tmp_path / "src", tmp_path / "out")
    assert (report.train, report.val, report.cutouts) == (0, 0, 2)
    assert len(read_cutouts([tmp_path / "out" / "cutouts"])) == 2


def test_names_that_no_list_can_hold_are_rejected(tmp_path: Path) -> None:
    src = tmp_path / "src"
    save(src / "good.jpg", RED)
    save(src / "good.png", ALPHA)
    for name in ("a\nb", "a\u2028b"):
        save(src / f"{name}.jpg", RED)
        save(src / f"{name}.png", ALPHA)
    (src / os.fsdecode(b"gr\xf6.jpg")).write_bytes(b"x")
    report = prepare(src, tmp_path / "out", train_ratio=1)
    assert len(report.rejected) == 5
    assert listed(tmp_path / "out").keys() == {"good"}


def make_pairs(src: Path, names: range) -> None:
    for name in names:
        save(src / f"{name:03}.jpg", RED)
        save(src / f"{name:03}.png", ALPHA)


def test_the_seed_decides_the_split_and_new_photos_move_no_others(tmp_path: Path) -> None:
    src = tmp_path / "src"
    make_pairs(src, range(60))
    lists = {}
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        report = prepare(src, tmp_path / out, train_ratio=0.7, seed=seed)
        assert report.train + report.val == 60
        assert 0.5 < report.train / 60 < 0.9
        lists[out] = (tmp_path / out / "val_set.txt").read_text()
    assert lists["a"] == lists["b"] != lists["c"]
    make_pairs(src, range(60, 70))
    prepare(src, tmp_path / "a", train_ratio=0.7, seed=0)
    assert set(lists["a"].splitlines()) <= set(
        (tmp_path / "a/val_set.txt").read_text().splitlines()
    )


def test_a_second_run_leaves_out_its_own_output(tmp_path: Path) -> None:
    make_pairs(tmp_path, range(3))
    out = tmp_path / "prepared"
    first = prepare(tmp_path, out)
    assert prepare(tmp_path, out) == first
    assert not list(out.rglob(".*"))


def test_ctrl_c_leaves_the_old_lists_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    make_pairs(src, range(20))
    prepare(src, out)
    before = (out / "train_set.txt").read_text()
    make_pairs(src, range(20, 60))
    opened = []

    def interrupted(path: Path, label: None) -> Pixels:
        opened.append(path)
        if path.stem == "005":
            raise KeyboardInterrupt
        return read_matte(path, label)

    monkeypatch.setattr(module, "read_matte", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(src, out)
    assert (out / "train_set.txt").read_text() == before
    assert len(opened) < 60
    assert not list(out.rglob(".*"))


def test_binary_masks_are_refined_and_soft_mattes_kept(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:60, :90]
    alpha = np.clip((20 - np.hypot(rows - 30, columns - 30)) / 4 + 0.5, 0, 1)[:, :, None]
    photo = np.rint(alpha * (200, 30, 10) + (1 - alpha) * (20, 90, 160)).astype(np.uint8)
    soft = np.rint(alpha[:, :, 0] * 255).astype(np.uint8)
    for name, matte in (("hard", np.where(soft > 127, 255, 0).astype(np.uint8)), ("soft", soft)):
        save(tmp_path / "src" / f"{name}.png", photo)
        save(tmp_path / "src" / f"{name}_mask.png", matte)
    assert prepare(tmp_path / "src", tmp_path / "plain").refined == 0
    assert prepare(tmp_path / "src", tmp_path / "out", refine=True).refined == 1
    alphas = listed(tmp_path / "out")
    assert np.array_equal(alphas["soft"], soft)
    assert ((alphas["hard"] > 20) & (alphas["hard"] < 235)).sum() > 50
    assert set(np.unique(listed(tmp_path / "plain")["hard"])) == {0, 255}


@pytest.mark.parametrize("ratio", [0, -0.1, 1.5, float("nan")])
def test_a_ratio_outside_its_range_is_an_error(tmp_path: Path, ratio: float) -> None:
    with pytest.raises(DataError, match="train ratio"):
        prepare(tmp_path, tmp_path / "out", train_ratio=ratio)


def test_a_source_without_pairs_is_an_error(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match="gone is not a folder"):
        prepare(tmp_path / "gone", out)
    (tmp_path / "src").mkdir()
    with pytest.raises(DataError, match="src: no pictures in it"):
        prepare(tmp_path / "src", out)
    assert not out.exists()
    save(tmp_path / "src" / "a.jpg", RED)
    with pytest.raises(DataError, match=r"none of its 1 pictures.*a\.jpg: no matte of this name"):
        prepare(tmp_path / "src", out)
    with pytest.raises(DataError, match="is the source itself"):
        prepare(tmp_path / "src", tmp_path / "src")


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    make_pairs(tmp_path / "src", range(3))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        prepare(tmp_path / "src", tmp_path / "file")
    (tmp_path / "out" / "train_set.txt").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"train_set\.txt cannot be written"):
        prepare(tmp_path / "src", tmp_path / "out")


def test_a_photo_with_exif_rotation_fits_the_upright_matte(tmp_path: Path) -> None:
    save(tmp_path / "src" / "a.png", ALPHA)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(cv2.rotate(RED, cv2.ROTATE_90_COUNTERCLOCKWISE)).save(
        tmp_path / "src" / "a.jpg", exif=exif
    )
    assert prepare(tmp_path / "src", tmp_path / "out", train_ratio=1).train == 1
    (pair,) = read_pairs([tmp_path / "out"])
    assert decode_pair(pair)[0].shape == (20, 30, 3)
