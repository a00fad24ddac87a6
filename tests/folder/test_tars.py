"""Tars that claim more than they are, in both readers: of training, and of a cluster."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from latefusion.cluster.shards import tar_members
from latefusion.data.members import shard_members
from latefusion.errors import DataError
from latefusion.folder.tars import LARGEST_PICTURE

Read = Callable[[Path], Iterable[object]]


def in_training(path: Path) -> Iterable[object]:
    return shard_members(path, (".jpg", ".png"))


def in_cluster(path: Path) -> Iterable[object]:
    with path.open("rb") as file:
        yield from tar_members(file, str(path))


def zstd_head(data: bytes) -> bytes:
    return b"\x28\xb5\x2f\xfd" + data[:100]


readers = pytest.mark.parametrize("read", [in_training, in_cluster])


def assert_refused(read: Read, path: Path, problem: str) -> None:
    """Reading raises one line, and takes no more memory than a small file may."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=problem) as caught:
            list(read(path))
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def member(name: str, data: bytes, size: int | None = None, **more: object) -> bytes:
    """A header that claims a size, and the data that follow it."""
    header = tarfile.TarInfo(name)
    header.size = len(data) if size is None else size
    for key, value in more.items():
        setattr(header, key, value)
    return header.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


@readers
@pytest.mark.parametrize("form", ["gnu", "pax 0.0", "pax 0.1", "pax 1.0"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_sparse_members_are_refused_by_name_of_the_option(
    tmp_path: Path, read: Read, form: str, pack: Callable[[bytes], bytes]
) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.write(b"begin")
        file.truncate(15 * 10**8)
    tar = shutil.which("tar")
    assert tar
    format, _, version = form.partition(" ")
    words = [f"--format={format}", *([f"--sparse-version={version}"] if version else [])]
    subprocess.run([tar, "--sparse", *words, "-cf", "x.tar", "a.png"], cwd=tmp_path, check=True)
    data = (tmp_path / "x.tar").read_bytes()
    assert len(data) < 20_000
    (tmp_path / "x.tar").write_bytes(pack(data))
    assert_refused(read, tmp_path / "x.tar", "has sparse members; pack the files without --sparse")


@readers
@pytest.mark.parametrize("name", ["a.jpg", "notes.txt"])
def test_a_compressed_member_is_refused_before_it_is_unpacked(
    tmp_path: Path, read: Read, name: str
) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(member(name, bytes(2**25)) + bytes(1024)))
    assert path.stat().st_size < 40_000
    assert_refused(read, path, "claims to hold over 100 times its size")


@readers
@pytest.mark.parametrize(
    ("pack", "name"), [(bz2.compress, "bzip2"), (lzma.compress, "xz"), (zstd_head, "zstd")]
)
def test_what_packs_a_gigabyte_into_a_kilobyte_is_refused_unread(
    tmp_path: Path, read: Read, pack: Callable[[bytes], bytes], name: str
) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(pack(member("a.jpg", bytes(2**26)) + bytes(1024)))
    assert_refused(read, path, f"is packed by {name}; pack it with gzip")


@readers
def test_many_small_members_are_refused_together(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(member("a.jpg", bytes(2**20)) * 40 + bytes(1024)))
    assert_refused(read, path, "claims to hold over 100 times its size")


@readers
def test_a_picture_larger_than_any_is_refused_where_it_is_not_packed(
    tmp_path: Path, read: Read
) -> None:
    path = tmp_path / "x.tar"
    with path.open("wb") as file:  # the data are a hole in the file
        file.write(member("a.jpg", b"", LARGEST_PICTURE + 1))
        file.truncate(LARGEST_PICTURE + 4096)
    assert_refused(read, path, "a.jpg has 537 MB; a picture may have 537 MB")


@readers
@pytest.mark.parametrize(
    ("kind", "data", "times"),
    [
        (tarfile.GNUTYPE_LONGNAME, b"a" * 2**21, 1),
        (tarfile.XHDTYPE, b"9" * 2**21, 1),
        (tarfile.GNUTYPE_LONGLINK, b"a", 5000),  # a call inside of a call for each
        (tarfile.XGLTYPE, b"12 aaaa=bbb\n", 5000),
    ],
)
def test_headers_without_end_are_refused(
    tmp_path: Path, read: Read, kind: bytes, data: bytes, times: int
) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(member("x", data, type=kind) * times + member("a.jpg", b"1") + bytes(1024))
    assert_refused(read, path, "has an endless header")


@readers
def test_entries_for_all_members_do_not_add_up(tmp_path: Path, read: Read) -> None:
    parts = [
        member("x", b"".join(b"18 key%07d=bbb\n" % (n * 9 + k) for k in range(9)), type=b"g")
        + member(f"{n}.jpg", b"1")
        for n in range(50)
    ]
    path = tmp_path / "x.tar"
    path.write_bytes(b"".join(parts) + bytes(1024))
    assert_refused(read, path, "has an endless header")


@readers
def test_a_number_of_thousands_of_digits_is_damage(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(member("x", b"9" * 5000 + b" a=b\n", type=b"x") + member("a.jpg", b"1"))
    assert_refused(read, path, "not a complete tar file")


@readers
def test_alphas_that_pack_well_are_read(tmp_path: Path, read: Read) -> None:
    """Empty alphas of a few bytes pack better than any others, 20 times."""
    data = b"".join(member(f"{n}.png", bytes([n % 256]) * 90) for n in range(3000))
    path = tmp_path / "x.tar.gz"
    packed = io.BytesIO(gzip.compress(data + bytes(1024)))
    path.write_bytes(packed.getvalue())
    assert len(list(read(path))) == 3000


def test_a_tar_that_cannot_be_read_twice_is_refused() -> None:
    reading, writing = os.pipe()  # as a web server without lengths
    os.close(writing)
    with (
        os.fdopen(reading, "rb") as file,
        pytest.raises(DataError, match=r"a\.tar is not a complete"),
    ):
        list(tar_members(file, "a.tar"))
