"""Shards hold what their sources hold, under safe names, and are alike for the same seed."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from latefusion.cli import app
from latefusion.data import shards as module
from latefusion.data.dataset import Decoded, pair_view
from latefusion.data.labels import LabelsWarning
from latefusion.data.members import Encoded, read_encoded
from latefusion.data.prepare import prepare
from latefusion.data.shards import safe_keys, write_shards
from latefusion.data.sources import (
    Pair,
    decode_alpha,
    decode_cutout,
    decode_pair,
    list_line,
    read_cutouts,
    read_images,
    read_pairs,
)
from latefusion.errors import DataError, OutputError

Pixels = NDArray[np.uint8]

RED: Pixels = np.full((20, 30, 3), (200, 30, 10), np.uint8)  # wide, RGB
ALPHA: Pixels = np.zeros((20, 30), np.uint8)  # soft, the subject at the left
ALPHA[:, :8] = 255
ALPHA[:, 8:12] = 100


def save(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def make_pairs(folder: Path, keys: Sequence[str]) -> Path:
    """Pairs no two of which have the same bytes."""
    for number, key in enumerate(keys):
        save(folder / f"{key}.jpg", np.roll(RED, number) - np.uint8(number))
        alpha = ALPHA.copy()
        alpha[0, 0] = number
        save(folder / f"{key}.png", alpha)
    return folder


def contents(pairs: Sequence[Pair]) -> set[tuple[bytes, bytes]]:
    return {(read_encoded(pair.image), read_encoded(pair.alpha)) for pair in pairs}


def names_in(shard: Path) -> list[str]:
    with tarfile.open(shard) as archive:
        return archive.getnames()


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tar")
    }


def test_shards_hold_the_same_bytes(tmp_path: Path) -> None:
    src = make_pairs(tmp_path / "src", [*"abcdefg", "sub/a", "sub/deep/h"])
    written = write_shards([src], tmp_path / "out", per_shard=4)
    assert [path.name for path in written.shards] == [f"shard-0000{i}.tar" for i in range(3)]
    assert [len(names_in(path)) for path in written.shards] == [8, 8, 2]
    assert (written.samples, written.rejected) == (9, ())
    pairs = read_pairs([tmp_path / "out"])
    assert {pair.key for pair in pairs} == {*"abcdefg", "sub/a", "sub/deep/h"}
    assert contents(pairs) == contents(read_pairs([src]))
    assert (tmp_path / "out" / "rejected.txt").read_bytes() == b""


def test_the_same_seed_gives_the_same_bytes_wherever_the_sources_lie(tmp_path: Path) -> None:
    keys = [f"{i:02}" for i in range(20)]
    here, there = make_pairs(tmp_path / "here", keys), make_pairs(tmp_path / "far/there", keys)
    os.utime(there / "00.jpg", (1, 1))
    for out, src, seed in (("a", here, 0), ("b", there, 0), ("c", here, 1)):
        write_shards([src], tmp_path / out, per_shard=7, seed=seed)
    assert digests(tmp_path / "a") == digests(tmp_path / "b") != digests(tmp_path / "c")
    order = names_in(tmp_path / "a" / "shard-00000.tar")
    assert order != sorted(order)
    write_shards([tmp_path / "c"], tmp_path / "d", per_shard=7)  # shards of shards
    assert digests(tmp_path / "d") == digests(tmp_path / "a")


def test_pairs_lie_side_by_side_as_webdataset_wants_them(tmp_path: Path) -> None:
    src = make_pairs(tmp_path / "src", ["a", "a.b", "a.b.c", "d.1/a", "größe 1", "it's"])
    (shard,) = write_shards([src], tmp_path / "out").shards
    names = names_in(shard)
    key_of = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # webdataset's base_plus_ext
    split = [found.groups() for name in names if (found := key_of.match(name))]
    assert [key for key, _ in split[::2]] == [key for key, _ in split[1::2]]
    assert [suffix for _, suffix in split] == ["jpg", "png"] * 6
    assert {key for key, _ in split} == {"a", "a_b", "a_b_c", "d_1/a", "größe_1", "it_s"}
    tar = shutil.which("tar")
    assert tar
    listed = subprocess.run([tar, "--quoting-style=literal", "-tf", shard], capture_output=True)
    assert listed.stdout.decode().splitlines() == names


def test_names_that_become_alike_stay_apart(tmp_path: Path) -> None:
    keys = ["a b", "a_b", "a.b", "A_b", "a_b-2", "one/x", "two/x"]
    src = make_pairs(tmp_path / "src", keys)
    write_shards([src], tmp_path / "out")
    pairs = read_pairs([tmp_path / "out"])
    assert len({pair.key.casefold() for pair in pairs}) == len(keys)
    assert {"one/x", "two/x"} < {pair.key for pair in pairs}
    assert contents(pairs) == contents(read_pairs([src]))


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["a", "A", "a"], ["a", "A-2", "a-3"]),
        (["gro\u0308\u00dfe"], ["größe"]),  # as macOS writes it
        (["/a", "../a", "-", ".a"], ["_/a", "__/a", "-", "_a"]),
        (["\udcf6"], ["_"]),  # a name that is no UTF-8
    ],
)
def test_a_key_is_the_name_but_for_what_is_unsafe(names: list[str], keys: list[str]) -> None:
    assert safe_keys([PurePosixPath(name) for name in names]) == keys


def test_a_name_longer_than_a_header_holds_is_kept(tmp_path: Path) -> None:
    key = "/".join(["größe" * 12] * 4)
    write_shards([make_pairs(tmp_path / "src", ["a", key])], tmp_path / "out")
    assert {pair.key for pair in read_pairs([tmp_path / "out"])} == {"a", key}


PARTS = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda part: part not in (".", "..")
)


@given(st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), unique=True))
def test_keys_are_safe_whatever_the_names(names: list[str]) -> None:
    keys = safe_keys([PurePosixPath(name) for name in names])
    assert len(keys) == len(names) == len({key.casefold() for key in keys})
    for key in keys:
        assert re.fullmatch(r"[\w-]+(/[\w-]+)*", key)
        assert key.encode().decode() == key


def test_a_list_of_files_from_everywhere_becomes_shards(tmp_path: Path) -> None:
    make_pairs(tmp_path / "one", ["x"])
    make_pairs(tmp_path / "two", ["x", "my 'best'"])
    lines = [
        list_line(Path(f"{folder}/{key}.jpg"), Path(f"{folder}/{key}.png"))
        for folder, key in (("../one", "x"), ("../two", "x"), ("../two", "my 'best'"))
    ]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "mine.txt").write_text("\n".join(lines))
    write_shards([tmp_path / "lists" / "mine.txt"], tmp_path / "out")
    keys = [pair.key for pair in read_pairs([tmp_path / "out"])]
    assert keys == ["one/x", "two/my__best_", "two/x"]


def test_what_prepare_made_becomes_shards_without_loss(tmp_path: Path) -> None:
    """A PNG photo cannot lie beside a PNG alpha."""
    noise = np.random.default_rng(0).integers(0, 256, RED.shape, np.uint8)
    for suffix in (".png", ".bmp", ".tif", ".webp", ".jpeg"):
        save(tmp_path / "src" / "images" / f"{suffix[1:]}{suffix}", noise)
        save(tmp_path / "src" / "masks" / f"{suffix[1:]}.png", ALPHA)
    prepare(tmp_path / "src", tmp_path / "pairs", train_ratio=1)
    (shard,) = write_shards([tmp_path / "pairs"], tmp_path / "out").shards
    photos = sorted(name for name in names_in(shard) if not name.endswith(".png"))
    assert photos == ["bmp.webp", "jpeg.jpg", "png.webp", "tif.webp", "webp.webp"]
    before, after = (read_pairs([tmp_path / name]) for name in ("pairs", "out"))
    for old, new in zip(before, after, strict=True):
        for half_before, half_after in zip(decode_pair(old), decode_pair(new), strict=True):
            np.testing.assert_array_equal(half_before, half_after)
    kept = {pair.key: read_encoded(pair.image) for pair in after}
    assert kept["jpeg"] == (tmp_path / "src/images/jpeg.jpeg").read_bytes()
    assert kept["webp"] == (tmp_path / "src/images/webp.webp").read_bytes()


def test_an_alpha_of_another_format_becomes_a_png(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", RED)
    save(tmp_path / "alpha.bmp", ALPHA)
    (tmp_path / "list.txt").write_text("a.jpg alpha.bmp")
    write_shards([tmp_path / "list.txt"], tmp_path / "out")
    (pair,) = read_pairs([tmp_path / "out"])
    assert read_encoded(pair.alpha).startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode_pair(pair)[1], ALPHA)


def test_what_cannot_be_trained_on_is_listed_with_the_reason(tmp_path: Path) -> None:
    src, out = make_pairs(tmp_path / "src", ["cut", "good", "small", "colour", "deep"]), "out"
    cut = src / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[:200])
    save(src / "small.png", ALPHA[:10])
    save(src / "colour.png", RED)
    Image.fromarray(ALPHA.astype(np.uint16)).save(src / "deep.png")
    written = write_shards([src], tmp_path / out)
    assert {pair.key for pair in read_pairs([tmp_path / out])} == {"good"}
    assert written.samples == 1
    lines = (tmp_path / out / "rejected.txt").read_text().splitlines()
    assert lines == [f"{each.path}: {each.reason}" for each in written.rejected]
    expected = {
        "colour": "alpha is not 8-bit grey; `latefusion prepare` makes it so",
        "cut": "photo cannot be decoded; it is damaged or not a picture",
        "deep": "alpha is not 8-bit grey; `latefusion prepare` makes it so",
        "small": "photo is 30x20 but alpha is 30x10; they must be equal",
    }
    assert lines == [f"{src / name}: {reason}" for name, reason in expected.items()]


def test_a_large_photo_that_webp_cannot_hold_is_left_out(tmp_path: Path) -> None:
    long = np.zeros((2, 16384), np.uint8)
    save(tmp_path / "a.bmp", np.dstack([long] * 3))
    save(tmp_path / "alpha.png", long)
    (tmp_path / "list.txt").write_text("a.bmp alpha.png")
    with pytest.raises(DataError, match="over 16383 pixels a side; save it as JPEG"):
        write_shards([tmp_path / "list.txt"], tmp_path / "out")


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    src = make_pairs(tmp_path / "src", ["a"])
    (src / "a.jpg").write_bytes(b"a text")
    with pytest.raises(DataError, match=r"none of 1 pictures.*a: photo cannot be decoded"):
        write_shards([src], tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.tar"))
    with pytest.raises(DataError, match="gone: does not exist"):
        write_shards([tmp_path / "gone"], tmp_path / "new")
    with pytest.raises(DataError, match="0 samples a shard"):
        write_shards([src], tmp_path / "new", per_shard=0)
    assert not (tmp_path / "new").exists()


def test_backgrounds_become_shards_of_photos_alone(tmp_path: Path) -> None:
    rooms = tmp_path / "rooms"
    photos = [save(rooms / name, RED - np.uint8(i)) for i, name in enumerate(("a.jpg", "b/a.jpg"))]
    save(rooms / "a.png", RED)
    (rooms / "cut.jpg").write_bytes(photos[0].read_bytes()[:200])
    written = write_shards([rooms], tmp_path / "out", kind="backgrounds")
    (shard,) = written.shards
    assert sorted(names_in(shard)) == ["a-2.png", "a.jpg", "b/a.jpg"]
    images = [read_encoded(image) for image in read_images([tmp_path / "out"])]
    assert images[0] == (rooms / "a.png").read_bytes()
    assert images[1:] == [photo.read_bytes() for photo in photos]
    assert [f"{each.path}: {each.reason}" for each in written.rejected] == [
        f"{rooms / 'cut.jpg'}: photo cannot be decoded; it is damaged or not a picture"
    ]


def test_cutouts_become_shards_of_rgba_pictures(tmp_path: Path) -> None:
    rgba = np.dstack([RED, ALPHA])
    src = tmp_path / "src"
    kept = save(src / "a.b.png", rgba).read_bytes()
    Image.fromarray(rgba).save(src / "web.webp", lossless=True, exact=True)
    Image.fromarray(rgba).save(src / "named.png", "TIFF")
    for name, pixels in (
        ("photo.png", RED),
        ("opaque.png", np.dstack([RED, np.full_like(ALPHA, 255)])),
        ("nothing.png", np.dstack([RED, 0 * ALPHA])),
    ):
        save(src / name, pixels)
    written = write_shards([src], tmp_path / "out", kind="cutouts")
    assert sorted(names_in(written.shards[0])) == ["a_b.png", "web.webp"]
    found = {cutout.key: cutout for cutout in read_cutouts([tmp_path / "out"])}
    assert read_encoded(found["a_b"].image) == kept
    for cutout in found.values():
        assert np.array_equal(decode_cutout(cutout), rgba)
    reasons = {each.path.name: each.reason for each in written.rejected}
    assert reasons.keys() == {"named.png", "photo.png", "opaque.png", "nothing.png"}
    assert "neither PNG nor WebP" in reasons["named.png"]
    assert "not 8-bit RGBA" in reasons["photo.png"]
    assert "less than 1 % of the cut-out is transparent" in reasons["opaque.png"]
    assert "all of it is transparent" in reasons["nothing.png"]


def test_a_folder_that_holds_shards_or_pictures_is_refused(tmp_path: Path) -> None:
    src, out = make_pairs(tmp_path / "src", ["a", "b"]), tmp_path / "out"
    write_shards([src], out)
    before = digests(out)
    with pytest.raises(DataError, match=r"shard-00000\.tar is there already; remove the shards"):
        write_shards([src], out, seed=1)
    assert digests(out) == before
    with pytest.raises(DataError, match=r"a\.jpg is in the way; name a folder"):
        write_shards([out], src)
    assert not list(src.glob("*.tar"))


def test_a_failure_leaves_whole_shards_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, out = make_pairs(tmp_path / "src", [f"{i:03}" for i in range(200)]), tmp_path / "out"
    checked = []

    def interrupted(source: Encoded, key: str) -> tuple[Pixels, bool]:
        checked.append(key)
        if len(checked) == 25:
            raise KeyboardInterrupt
        return decode_alpha(source, key)

    monkeypatch.setattr(module, "decode_alpha", interrupted)
    out.mkdir()
    (out / ".latefusion-4194305-0.part").touch()  # of a run that was killed
    with pytest.raises(KeyboardInterrupt):
        write_shards([src], out, per_shard=10)
    assert sorted(path.name for path in out.iterdir()) == ["shard-00000.tar", "shard-00001.tar"]
    assert len(read_pairs([out])) == 20
    assert len(checked) < 100


def test_a_full_disk_leaves_no_half_shard(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    src, out = make_pairs(tmp_path / "src", [f"{i:03}" for i in range(30)]), tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    threads = threading.active_count()
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"00\.tar cannot be written: File too") as caught:
            write_shards([src], out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(out.iterdir()) == []
    assert caught.tb  # which holds the frames, and in them what was not closed
    assert threading.active_count() == threads


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_real_interrupt_leaves_whole_shards_only(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    first = save(tmp_path / "rooms" / "0.jpg", noise)
    for number in range(1, 2000):
        (tmp_path / "rooms" / f"{number}.jpg").hardlink_to(first)
    words = ["shard", "rooms", "--backgrounds", "--out", "out", "--pairs", "5"]
    process = subprocess.Popen(
        [sys.executable, "-m", "latefusion", *words],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not list(tmp_path.glob("out/*.tar")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in err
    assert "Traceback" not in err
    left = list((tmp_path / "out").iterdir())
    assert {path.suffix for path in left} == {".tar"}
    assert len(read_images([tmp_path / "out"])) == 5 * len(left) < 2000


def test_worker_processes_read_their_own_samples(tmp_path: Path) -> None:
    write_shards([make_pairs(tmp_path / "src", [*"abcdefgh"])], tmp_path / "out", per_shard=3)
    pairs = read_pairs([tmp_path / "out"])
    data = Decoded(pairs, view, cache=False)
    loader: DataLoader[object] = DataLoader(data, batch_size=None, num_workers=2)
    for found, pair in zip(loader, pairs, strict=True):
        np.testing.assert_array_equal(found, view(pair))


def view(pair: Pair) -> object:
    return pair_view(pair, (64, 64))["image"]


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    src = make_pairs(tmp_path / "src", [*"abc"])
    save(src / "a.png", ALPHA[:10])
    words = ["shard", str(src), "--out", str(tmp_path / "out"), "--pairs", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'out'}: 2 pairs in 2 shards\n"
    assert "1 pairs left out" in done.stderr
    again = CliRunner().invoke(app, words)
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr.count("\n") == 1


def test_a_mask_of_one_label_is_packed_as_its_alpha_and_one_of_several_left_out(
    tmp_path: Path,
) -> None:
    mask = (ALPHA == 255).astype(np.uint8)
    for name, alpha in (("one", mask), ("two", mask + (ALPHA == 100) * np.uint8(7))):
        save(tmp_path / "src" / f"{name}.jpg", RED)
        save(tmp_path / "src" / f"{name}.png", alpha)
    with pytest.warns(LabelsWarning, match="src: masks with 0 and the label 1 are read"):
        written = write_shards([tmp_path / "src"], tmp_path / "out")
    (pair,) = read_pairs([tmp_path / "out"])
    assert np.array_equal(decode_pair(pair)[1], mask * 255)  # without a further word
    (rejected,) = written.rejected
    assert rejected.reason.startswith("alpha is a mask of labels (1 and 7), not an alpha")
