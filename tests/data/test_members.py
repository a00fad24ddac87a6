"""A shard's headers say where its pictures lie, and what is no whole tar is named."""

import gzip
import io
import os
import pickle
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from latefusion.data.members import Member, read_encoded, shard_members
from latefusion.errors import DataError

LONG = "folder/" * 20 + "größe.png"  # longer than the field for it in a tar's header
FILES = {"a.jpg": b"first" * 300, "empty.png": b"", LONG: bytes(range(256)) * 8, "z.JPG": b"last"}


def write_tar(path: Path, format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as shard:
        for name, data in FILES.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            shard.addfile(header, io.BytesIO(data))
    return path


def members_of(path: Path) -> dict[str, Member | bytes]:
    return dict(shard_members(path, (".jpg", ".png")))


def test_members_are_places_and_hold_their_bytes(tmp_path: Path) -> None:
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        found = members_of(write_tar(tmp_path / "x.tar", format))
        assert list(found) == list(FILES)
        assert all(isinstance(member, Member) for member in found.values())
        assert {name: read_encoded(member) for name, member in found.items()} == FILES


def test_what_gnu_tar_writes_is_read(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    tar = shutil.which("tar")
    assert tar
    for format in ("gnu", "ustar", "pax"):
        words = [tar, f"--format={format}", "-cf", "x.tar", "-C", "in", "."]
        subprocess.run(words, cwd=tmp_path, check=True)
        found = members_of(tmp_path / "x.tar")
        assert {name: read_encoded(member) for name, member in found.items()} == FILES


def test_indexing_reads_no_contents(tmp_path: Path) -> None:
    """A shard of a terabyte, nearly all of it a hole in the file."""
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        for number in range(2**11):
            header = tarfile.TarInfo(f"{number}.jpg")
            header.size = 2**29
            file.write(header.tobuf(tarfile.GNU_FORMAT))
            file.seek(header.size, os.SEEK_CUR)
        file.write(bytes(1024))
    found = members_of(path)
    assert [member.offset for member in found.values() if isinstance(member, Member)] == [
        512 + number * (512 + 2**29) for number in range(2**11)
    ]


def test_a_compressed_shard_is_read_whatever_its_ending(tmp_path: Path) -> None:
    data = write_tar(tmp_path / "x.tar").read_bytes()
    for name in ("y.tar.gz", "y.tar"):
        (tmp_path / name).write_bytes(gzip.compress(data))
        assert members_of(tmp_path / name) == FILES


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_a_picture_that_is_a_link_is_named(tmp_path: Path, kind: bytes) -> None:
    """GNU tar packs the second name of a file as one; it would be missing without a word."""
    with tarfile.open(tmp_path / "x.tar", "w") as shard:
        shard.addfile(tarfile.TarInfo("a.jpg"))
        for name in ("._b.jpg", "notes.txt", "b.jpg"):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "a.jpg"
            shard.addfile(header)
    with pytest.raises(DataError, match=r"x\.tar: b\.jpg is a link in it; pack .*--dereference"):
        members_of(tmp_path / "x.tar")


def test_a_member_can_be_pickled_and_is_small(tmp_path: Path) -> None:
    members = list(members_of(write_tar(tmp_path / "x.tar")).values())
    assert pickle.loads(pickle.dumps(members)) == members
    assert len({id(member.shard) for member in members if isinstance(member, Member)}) == 1


def test_a_shard_that_changed_or_vanished_is_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar")
    member = members_of(path)["a.jpg"]
    data = path.read_bytes()
    before = path.stat()
    path.write_bytes(data[:-512])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match=r"x\.tar has changed since"):
        read_encoded(member)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(DataError, match=r"x\.tar has changed since"):
        read_encoded(member)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read_encoded(member) == FILES["a.jpg"]
    path.unlink()
    with pytest.raises(DataError, match=r"x\.tar can no longer be read: No such file"):
        read_encoded(member)


def test_a_shard_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    data = write_tar(tmp_path / "x.tar").read_bytes()
    with tarfile.open(tmp_path / "x.tar") as archive:
        end = max(header.offset_data + header.size for header in archive)
    cuts = np.random.default_rng(0).integers(0, end, 200)
    for cut in (*cuts.tolist(), *range(0, end, 512)):
        (tmp_path / "y.tar").write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"y\.tar: not a complete tar file"):
            members_of(tmp_path / "y.tar")


def test_a_size_that_leads_back_is_an_error(tmp_path: Path) -> None:
    """Python's tarfile may read the same member again for ever."""
    header = tarfile.TarInfo("a.jpg")
    header.pax_headers = {"size": "-1536"}
    first = tarfile.TarInfo("0.jpg").tobuf()
    (tmp_path / "x.tar").write_bytes(first + header.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match=r"x\.tar: not a complete tar file"):
        members_of(tmp_path / "x.tar")
