"""Lists, folders and shards become the same pairs, and what does not fit is named."""

import io
import re
import tarfile
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from latefusion.data.labels import LabelsWarning
from latefusion.data.members import read_encoded
from latefusion.data.sources import (
    Cutout,
    Pair,
    decode_alpha,
    decode_cutout,
    decode_image,
    decode_pair,
    list_line,
    read_cutouts,
    read_images,
    read_pairs,
)
from latefusion.errors import DataError

RED = np.zeros((4, 6, 3), np.uint8) + np.array([250, 20, 10], np.uint8)  # wide, RGB
LEFT = np.zeros((4, 6), np.uint8)  # the subject on the left
LEFT[:, :2] = 255


def png(pixels: np.ndarray) -> bytes:
    bgr = pixels[:, :, ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", bgr)[1].tobytes()


def jpg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels[:, :, ::-1])[1].tobytes()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_shard(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as shard:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))
    return path


def contents(pair: Pair) -> tuple[bytes, bytes]:
    return read_encoded(pair.image), read_encoded(pair.alpha)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b", "a", "deep/c.v2"):
        write(tmp_path / "photos" / f"{name}.jpg", jpg(RED))
        write(tmp_path / "photos" / f"{name}.png", png(LEFT))
    return tmp_path / "photos"


def test_a_folder_gives_its_pairs_at_any_depth_in_order(folder: Path) -> None:
    pairs = read_pairs([folder])
    assert [pair.key for pair in pairs] == [str(folder / name) for name in ("a", "b", "deep/c.v2")]
    assert pairs[2] == Pair(
        str(folder / "deep/c.v2"), folder / "deep/c.v2.jpg", folder / "deep/c.v2.png"
    )


@pytest.mark.parametrize("ending", [".JPG", ".jpeg", ".webp"])
def test_a_folder_takes_photos_of_every_ending(tmp_path: Path, ending: str) -> None:
    photo = write(tmp_path / f"a{ending}", cv2.imencode(ending.lower(), RED)[1].tobytes())
    alpha = write(tmp_path / "a.png", png(LEFT))
    assert read_pairs([tmp_path]) == [Pair(str(tmp_path / "a"), photo, alpha)]


def test_hidden_files_and_other_files_are_no_pairs(folder: Path) -> None:
    write(folder / "._a.jpg", b"left by macOS")
    write(folder / ".cache" / "x.jpg", jpg(RED))
    write(folder / "notes.md", b"hello")
    assert len(read_pairs([folder])) == 3


def test_a_list_finds_its_files_beside_it(folder: Path) -> None:
    list_file = write(folder / "mine.txt", b"b.jpg b.png\n\na.jpg a.png\r\n")
    pairs = read_pairs([list_file])
    assert pairs == [
        Pair(str(folder / key), folder / f"{key}.jpg", folder / f"{key}.png") for key in "ab"
    ]


@pytest.mark.parametrize(
    "name", ["my photo", "it's", 'say "x"', "#1", "größe", r"back\slash", " a "]
)
def test_a_line_of_a_list_keeps_any_name(tmp_path: Path, name: str) -> None:
    photo, alpha = write(tmp_path / f"{name}.jpg", b"x"), write(tmp_path / f"{name} a.png", b"x")
    line = list_line(photo, Path(alpha.name))
    list_file = write(tmp_path / "lists.txt", f"{line}\n".encode())
    assert read_pairs([list_file]) == [Pair(str(tmp_path / name), photo, alpha)]


def test_a_path_with_backslashes_is_shown_as_it_is_written(tmp_path: Path) -> None:
    photo, alpha = write(tmp_path / "in" / "a.jpg", b"x"), write(tmp_path / "in" / "a.png", b"x")
    list_file = write(tmp_path / "lists.txt", b"in/a.jpg in/a.png\nC:\\b.jpg in\\b.png\n")
    wanted = r"2 of its files do not exist: line 2: C:\b.jpg in\b.png; a backslash is read as"
    with pytest.raises(DataError, match=re.escape(wanted)):
        read_pairs([list_file])
    write(list_file, rb"C:\two words.jpg in\b.png")
    with pytest.raises(
        DataError, match=re.escape(r"3 fields, not two `image alpha`: C:\two words")
    ):
        read_pairs([list_file])
    write(list_file, b"in/a.jpg in/a.png")
    assert read_pairs([list_file]) == [Pair(str(tmp_path / "in" / "a"), photo, alpha)]


def test_a_line_of_plain_names_is_plain() -> None:
    assert (
        list_line(Path("/data/a-1.jpg"), Path("alphas/a-1.png")) == "/data/a-1.jpg alphas/a-1.png"
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a.jpg", ":2: 1 fields"),
        ("my photo.jpg a.png", ":2: 3 fields"),
        ("it's.jpg a.png", ":2: No closing quotation"),
        ("a.jpg gone.png", "1 of its files do not exist: .*gone.png"),
    ],
)
def test_a_bad_line_is_named(folder: Path, line: str, problem: str) -> None:
    list_file = write(folder / "mine.txt", f"b.jpg b.png\n{line}\n".encode())
    with pytest.raises(DataError, match=f"mine.txt.*{problem}" if ":2" not in problem else problem):
        read_pairs([list_file])


def test_a_list_of_another_encoding_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mine\.txt: cannot be read as a list"):
        read_pairs([write(tmp_path / "mine.txt", "größe.jpg a.png".encode("latin-1"))])


def test_a_prepared_folder_gives_its_training_list_only(folder: Path) -> None:
    write(folder / "train_set.txt", b"a.jpg a.png\n")
    write(folder / "val_set.txt", b"b.jpg b.png\n")
    assert [pair.key for pair in read_pairs([folder])] == [str(folder / "a")]


def test_a_shard_keeps_the_bytes_and_needs_no_order(tmp_path: Path) -> None:
    photo, alpha = jpg(RED), png(LEFT)
    members = [
        ("z.1.png", alpha),
        ("sub/a.jpg", photo),
        ("z.1.jpg", photo),
        ("._z.1.jpg", b"left by macOS"),
        ("sub/a.png", alpha),
        ("sub/a.json", b"{}"),
    ]
    pairs = read_pairs([write_shard(tmp_path / "train.tar", members)])
    assert [pair.key for pair in pairs] == ["sub/a", "z.1"]
    assert [contents(pair) for pair in pairs] == [(photo, alpha)] * 2


def test_a_folder_of_shards_gives_the_pairs_of_all(tmp_path: Path) -> None:
    photo, alpha = jpg(RED), png(LEFT)
    for name, key in (("b.tar", "a"), ("a.tar", "z")):
        write_shard(tmp_path / name, [(f"{key}.jpg", photo), (f"{key}.png", alpha)])
    write(tmp_path / "._a.tar", b"left by macOS")
    write(tmp_path / "rejected.txt", b"")
    assert [pair.key for pair in read_pairs([tmp_path])] == ["z", "a"]
    assert len(read_images([tmp_path])) == 4
    write(tmp_path / "deep" / "b.jpg", photo)
    for read in (read_pairs, read_images):
        with pytest.raises(DataError, match="holds both pictures and shards"):
            read([tmp_path])


def test_sources_come_in_the_order_given(tmp_path: Path, folder: Path) -> None:
    shard = write_shard(tmp_path / "x.tar", [("k.jpg", jpg(RED)), ("k.png", png(LEFT))])
    keys = [Path(pair.key).name for pair in read_pairs([shard, folder])]
    assert keys == ["k", "a", "b", "c.v2"]


def test_half_a_pair_is_named(tmp_path: Path, folder: Path) -> None:
    (folder / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"1 without the other half: \S*b \(no photo\)"):
        read_pairs([folder])
    shard = write_shard(tmp_path / "x.tar", [("k.jpg", jpg(RED))])
    with pytest.raises(DataError, match=r"x\.tar: 1 without the other half: k \(no alpha\)"):
        read_pairs([shard])


def test_a_key_that_occurs_twice_is_named(tmp_path: Path, folder: Path) -> None:
    write(folder / "a.jpeg", jpg(RED))
    with pytest.raises(DataError, match=r"a key occurs twice: \S*a\.jpg"):
        read_pairs([folder])
    members = [("k.jpg", jpg(RED)), ("k.png", png(LEFT))]
    shards = [write_shard(tmp_path / name, members) for name in ("x.tar", "y.tar")]
    with pytest.raises(DataError, match=r"x\.tar, \S*y\.tar: a pair occurs twice: k;"):
        read_pairs(shards)


@pytest.mark.parametrize("name", ["gone", "empty", "photo.jpg", "empty.txt"])
def test_what_is_no_source_of_pairs_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "photo.jpg", jpg(RED))
    write(tmp_path / "empty.txt", b"\n")
    with pytest.raises(DataError, match=name):
        read_pairs([tmp_path / name])


@pytest.mark.parametrize("kept", [0, 100, 700])
def test_a_shard_cut_short_is_an_error(tmp_path: Path, kept: int) -> None:
    shard = write_shard(tmp_path / "x.tar", [("k.jpg", jpg(RED)), ("k.png", png(LEFT))])
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"x\.tar"):
        read_pairs([shard])


@pytest.mark.parametrize("damage", ["cut at a member", "cut in a header", "garbage"])
def test_a_shard_that_ends_between_whole_pairs_is_an_error(tmp_path: Path, damage: str) -> None:
    """Python's tarfile takes each of these for the end of the archive."""
    names = ("a.jpg", "a.png", "b.jpg", "b.png")
    members = [(name, png(LEFT) if name.endswith("png") else jpg(RED)) for name in names]
    shard = write_shard(tmp_path / "x.tar", members)
    with tarfile.open(shard) as whole:
        third = whole.getmembers()[2].offset
    data = shard.read_bytes()
    kept = {
        "cut at a member": data[:third],
        "cut in a header": data[: third + 100],
        "garbage": data[:third] + b"x" * 512 + data[third + 512 :],
    }
    shard.write_bytes(kept[damage])
    with pytest.raises(DataError, match=r"x\.tar: not a complete tar file"):
        read_pairs([shard])


def test_backgrounds_come_from_folders_and_shards(tmp_path: Path) -> None:
    last = write(tmp_path / "rooms" / "z" / "b.PNG", png(RED))
    first = write(tmp_path / "rooms" / "a.jpg", jpg(RED))
    shard = write_shard(tmp_path / "bg.tar", [("d.webp", b"d"), ("c.jpg", b"c"), ("n.txt", b"n")])
    images = read_images([tmp_path / "rooms", shard])
    assert images[:2] == [first, last]
    assert [read_encoded(image) for image in images[2:]] == [b"c", b"d"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no pictures"):
        read_images([tmp_path / "empty"])
    with pytest.raises(DataError, match=r"a\.jpg: backgrounds and cut-outs come from"):
        read_images([first])


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_pair_is_decoded_to_rgb_and_grey(tmp_path: Path, as_bytes: bool) -> None:
    photo, alpha = png(RED), png(LEFT)
    files = write(tmp_path / "a.png", photo), write(tmp_path / "b.png", alpha)
    image, matte = decode_pair(Pair("k", *((photo, alpha) if as_bytes else files)))
    assert np.array_equal(image, RED)
    assert np.array_equal(matte, LEFT)


def test_a_photo_is_turned_upright() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = jpg(RED)
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    assert decode_image(data).shape == (4, 6, 3)
    assert decode_image(turned).shape == (6, 4, 3)


@pytest.mark.parametrize(
    ("photo", "alpha", "problem"),
    [
        (b"", png(LEFT), "k: photo cannot be decoded"),
        (b"a text", png(LEFT), "k: photo cannot be decoded"),
        (png(RED), png(LEFT)[:40], "k: alpha cannot be decoded"),
        (png(RED), png(RED), "k: alpha is not 8-bit grey"),
        (png(RED), png(LEFT.astype(np.uint16)), "k: alpha is not 8-bit grey"),
        (png(RED), png(LEFT.T), "k: photo is 6x4 but alpha is 4x6"),
        (Path("gone.jpg"), png(LEFT), "k: photo cannot be read: No such file"),
    ],
)
def test_a_pair_that_does_not_fit_is_named(photo: bytes, alpha: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        decode_pair(Pair("k", photo, alpha))


def test_a_mask_of_one_label_is_decoded_as_its_alpha() -> None:
    with pytest.warns(LabelsWarning, match="set: masks with 0 and the label 1 are read"):
        _, alpha = decode_pair(Pair("set/k", png(RED), png(LEFT // 255)))
    assert np.array_equal(alpha, LEFT)


def test_the_word_on_labels_comes_once_for_a_folder() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for key in ("once/a", "once/b", "other/a"):
            decode_alpha(png(LEFT // 255), key)
    assert [str(each.message).partition(":")[0] for each in caught] == ["once", "other"]


def test_labels_of_a_palette_are_decoded_and_several_refused() -> None:
    def with_palette(mask: np.ndarray) -> bytes:
        picture = Image.new("P", mask.shape[::-1])
        picture.putdata(mask.ravel().tolist())
        picture.putpalette([0, 0, 0] * 15 + [192, 128, 128])
        file = io.BytesIO()
        picture.save(file, "PNG")
        return file.getvalue()

    with pytest.warns(LabelsWarning, match="the label 15"):
        alpha, mended = decode_alpha(with_palette(LEFT // 17), "k")
    assert mended
    assert np.array_equal(alpha, LEFT)
    two = LEFT // 17
    two[:, 4:] = 7
    with pytest.raises(DataError, match=r"k: alpha is a mask of labels \(7 and 15\)"):
        decode_pair(Pair("k", png(RED), with_palette(two)))


def test_a_cutout_whose_alpha_is_a_mask_of_labels_is_refused() -> None:
    bgra = np.dstack([RED[:, :, ::-1], LEFT // 255])
    picture = cv2.imencode(".png", bgra)[1].tobytes()
    with pytest.raises(DataError, match="k: the cut-out's alpha is a mask of labels"):
        decode_cutout(Cutout("k", picture))


def rgba_png(depth: type = np.uint8) -> bytes:
    bgra = np.dstack([RED[:, :, ::-1], LEFT])
    return cv2.imencode(".png", bgra.astype(depth))[1].tobytes()


def test_cutouts_come_from_folders_and_shards(tmp_path: Path) -> None:
    deep = write(tmp_path / "people" / "deep" / "b.v2.PNG", rgba_png())
    first = write(tmp_path / "people" / "a.png", rgba_png())
    shard = write_shard(tmp_path / "cut.tar", [("z.webp", b"z"), ("c.png", b"c")])
    cutouts = read_cutouts([tmp_path / "people", shard])
    assert cutouts[:2] == [
        Cutout(str(first.with_suffix("")), first),
        Cutout(str(deep.with_suffix("")), deep),
    ]
    assert [(cutout.key, read_encoded(cutout.image)) for cutout in cutouts[2:]] == [
        ("c", b"c"),
        ("z", b"z"),
    ]
    with pytest.raises(DataError, match="gone: does not exist"):
        read_cutouts([tmp_path / "gone"])


def test_a_cutout_is_decoded_to_straight_rgba() -> None:
    rgba = decode_cutout(Cutout("k", rgba_png()))
    assert np.array_equal(rgba[:, :, :3], RED)  # also where it is transparent
    assert np.array_equal(rgba[:, :, 3], LEFT)


@pytest.mark.parametrize(
    ("picture", "problem"),
    [
        (png(RED), "k: the cut-out is not 8-bit RGBA; save it with transparency"),
        (png(LEFT), "k: the cut-out is not 8-bit RGBA"),
        (rgba_png(np.uint16), "k: the cut-out is not 8-bit RGBA"),
        (b"a text", "k: cut-out cannot be decoded"),
        (Path("gone.png"), "k: cut-out cannot be read: No such file"),
    ],
)
def test_a_picture_that_is_no_cutout_is_named(picture: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        decode_cutout(Cutout("k", picture))
