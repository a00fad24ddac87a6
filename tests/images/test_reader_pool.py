import errno
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latefusion.errors import ImageError, LatefusionError, SizeError
from latefusion.images import reader_pool
from latefusion.images.reader_pool import ReaderError, ReaderPool
from latefusion.images.reading import Photo, read_photo

PIXELS = np.random.default_rng(3).integers(0, 255, (600, 40, 4), np.uint8)
PATIENCE = 60
# A comment that Pillow reads byte by byte, for half a minute.
SLOW = b"P6\n#" + b"a" * 100_000_000 + b"\n4 4 255\n" + bytes(48)


def encoded(kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def pool() -> Iterator[ReaderPool]:
    with ReaderPool(2, PATIENCE) as pool:
        yield pool


@pytest.fixture(scope="module")
def hasty() -> Iterator[ReaderPool]:
    with ReaderPool(1, 1) as pool:
        pool.start()
        yield pool


def busy(pool: ReaderPool) -> int:
    """The process that reads a photo."""
    end = time.monotonic() + PATIENCE
    while not pool._busy:
        assert time.monotonic() < end
        time.sleep(0.01)
    pid = next(iter(pool._busy)).process.pid
    assert pid
    return pid


def read_in_time(pool: ReaderPool, data: bytes) -> Photo | None:
    """The photo, or None if the machine is too busy to read it within the limit."""
    with suppress(ImageError):
        return pool.read(data)
    return None


def test_a_photo_comes_back_as_it_was_read(pool: ReaderPool, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a caption"
    data = encoded(exif=exif, dpi=(72, 72))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        found, wanted = pool.read(source), read_photo(source)
        assert np.array_equal(found.image, wanted.image)
        assert wanted.opacity is not None
        assert found.opacity is not None
        assert np.array_equal(found.opacity, wanted.opacity)
        assert found.opacity.dtype == np.float32
        assert (found.icc, found.dpi, found.about) == (wanted.icc, wanted.dpi, wanted.about)
        assert found.image.flags.writeable


def test_errors_and_options_are_those_of_read_photo(pool: ReaderPool, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"^a.png is empty"):
        pool.read(b"", name="a.png")
    with pytest.raises(SizeError, match=r"a.png has 40 x 600 pixels"):
        pool.read(encoded(), name="a.png", most_pixels=100)
    with pytest.raises(ImageError, match=r"none.png does not exist"):
        pool.read(tmp_path / "none.png")
    with pytest.raises(ImageError, match="a is a PNG, which is not taken here"):
        pool.read(encoded(), name="a", formats={"JPEG"})
    bad = io.BytesIO()
    Image.fromarray(PIXELS[:, :, :3]).save(bad, "JPEG", exif=b"Exif\0\0nonsense" * 20)
    with pytest.warns(UserWarning, match=r"a.jpg: .*left out"):
        pool.read(bad.getvalue(), name="a.jpg")


def test_threads_share_the_processes(pool: ReaderPool) -> None:
    photos = [encoded("PNG"), encoded("WEBP", lossless=True, exact=True)] * 8
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(pool.read, photos))
    assert all(np.array_equal(each.image, PIXELS[:, :, :3]) for each in found)
    assert len(pool._idle) == 2
    assert not pool._busy


def test_a_photo_that_takes_too_long_is_given_up_and_the_next_is_read(hasty: ReaderPool) -> None:
    [before] = hasty._idle
    with pytest.raises(ImageError, match=r"slow.ppm took longer to read than the limit of 1 s"):
        hasty.read(SLOW, name="slow.ppm")
    assert not before.process.is_alive()
    small = encoded()
    photo = next(filter(None, (read_in_time(hasty, small) for _ in range(PATIENCE))))
    assert np.array_equal(photo.image, PIXELS[:, :, :3])
    assert len(hasty._idle) == 1


def test_a_process_that_a_file_crashes_costs_only_its_photo() -> None:
    with ReaderPool(1, PATIENCE) as pool, ThreadPoolExecutor(1) as thread:
        reading = thread.submit(pool.read, SLOW, name="slow.ppm")
        os.kill(busy(pool), signal.SIGSEGV)
        with pytest.raises(ImageError, match=r"slow.ppm ended the process that read it"):
            reading.result()
        assert pool.read(encoded()).image.shape == (600, 40, 3)
        os.kill(pool._idle[0].process.pid or 0, signal.SIGKILL)
        pool._idle[0].process.join()
        assert pool.read(encoded()).image.shape == (600, 40, 3)


def test_a_photo_that_nobody_waits_for_is_read_no_further() -> None:
    gone = threading.Event()

    def check() -> None:
        if gone.is_set():
            raise InterruptedError("gone")

    with ReaderPool(1, PATIENCE) as pool, ThreadPoolExecutor(1) as thread:
        reading = thread.submit(pool.read, SLOW, check=check)
        pid = busy(pool)
        gone.set()
        with pytest.raises(InterruptedError, match="gone"):
            reading.result()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert pool.read(encoded()).image.shape == (600, 40, 3)


def test_a_closed_pool_leaves_no_process() -> None:
    with ThreadPoolExecutor(1) as thread:
        pool = ReaderPool(2, PATIENCE)
        pool.start()
        processes = [each.process for each in pool._idle]
        reading = thread.submit(pool.read, SLOW, name="slow.ppm")
        busy(pool)
        pool.close()
        with pytest.raises(ImageError, match="ended the process"):
            reading.result()
    pool.start()  # late, and in vain
    assert not pool._idle
    assert not pool._busy
    assert not any(process.is_alive() for process in processes)
    with pytest.raises(ReaderError, match="no more photos are read"):
        pool.read(encoded())


def test_a_bug_in_the_process_is_a_bug_here(pool: ReaderPool) -> None:
    with pytest.raises(RuntimeError, match="TypeError: '>' not supported"):
        pool.read(encoded(), most_pixels="many")
    assert pool.read(encoded()).image.shape == (600, 40, 3)


@pytest.mark.parametrize(
    "obstacle",
    [
        "tempfile.tempdir = sys.argv[1]",  # too long for the name of a socket
        "tempfile.gettempdir = lambda: open(sys.argv[1] + '/missing')",  # a read-only container
    ],
)
def test_photos_are_read_where_no_socket_can_be_made(tmp_path: Path, obstacle: str) -> None:
    folder = tmp_path / ("a" * 120)
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded())
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, tempfile\n"
        "from latefusion.images.reader_pool import ReaderPool\n"
        "if __name__ == '__main__':\n"
        f"    {obstacle}\n"
        f"    with ReaderPool(1, {PATIENCE}) as pool:\n"
        "        print(pool.read(sys.argv[1] + '/a.png').image.shape)\n"
    )
    done = subprocess.run(
        [sys.executable, program, folder], check=True, capture_output=True, text=True
    )
    assert done.stdout == "(600, 40, 3)\n"


def test_the_start_of_a_process_does_not_count_as_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_pool, "KINDS", ["spawn"])  # takes longer than this limit
    with ReaderPool(1, 0.25) as pool:
        assert any(read_in_time(pool, encoded()) for _ in range(20))


def test_a_pool_without_any_way_to_start_a_process_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe", full)
    monkeypatch.setattr(reader_pool, "KINDS", ["spawn"])
    with ReaderPool(1, PATIENCE) as pool, pytest.raises(LatefusionError, match="Too many open"):
        pool.read(encoded())


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_to_all_processes_does_not_end_a_reading(pool: ReaderPool, name: str) -> None:
    comment = b"P6\n#" + b"a" * 3_000_000 + b"\n4 4 255\n" + bytes(48)  # for a second
    with ThreadPoolExecutor(1) as thread:
        thread.submit(pool.read, encoded()).result()
        reading = thread.submit(pool.read, comment)
        os.kill(busy(pool), getattr(signal, name))
        assert reading.result().image.shape == (4, 4, 3)


def test_a_program_ends_that_closes_no_pool(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from latefusion.images.reader_pool import ReaderPool\n"
        "if __name__ == '__main__':\n"
        f"    pool = ReaderPool(1, {PATIENCE})\n"
        "    pool.read(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, program, tmp_path / "a.png"], check=True, timeout=PATIENCE)


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="POSIX only")
def test_the_processes_give_way_as_far_as_they_are_told() -> None:
    with ReaderPool(1, PATIENCE, niceness=3) as pool:
        pool.start()
        pool.read(encoded())
        (process,) = pool._idle
        found = os.getpriority(os.PRIO_PROCESS, process.process.pid)
    assert found == os.getpriority(os.PRIO_PROCESS, 0) + 3


def test_errors_in_a_circle_lose_their_frames_too() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ImageError("second") from ValueError("cause")
    except ImageError as error:
        found = error
    assert found.__context__
    found.__context__.__context__ = found
    before = [found.__traceback__, found.__context__.__traceback__]
    assert None not in before
    assert reader_pool._without_frames(found) is found
    assert found.__traceback__ is None
    assert found.__context__.__traceback__ is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux only")
def test_photos_that_are_refused_leave_nothing_in_the_process() -> None:
    photo = encoded()
    large = photo[:8] + (b"\0\0\0\0prVt\0\0\0\0" * 500_000) + photo[8:]  # 6 MB of tiny chunks
    with ReaderPool(1, PATIENCE) as pool:
        pool.read(photo)
        (process,) = pool._idle
        before = megabytes(process.process.pid)
        for _ in range(12):
            with pytest.raises(ImageError, match="tiny chunks"):
                pool.read(large)
        assert pool._idle == [process]
        assert megabytes(process.process.pid) < before + 30


def megabytes(pid: int | None) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def test_a_process_ends_itself_where_nobody_is_left_to_end_it() -> None:
    process = reader_pool._Process(multiprocessing.get_context(reader_pool.KINDS[0]), 0.5, 0)
    process.connection.send(reader_pool._Wish(len(SLOW), {}))
    reader_pool._send_bytes(process.connection, memoryview(SLOW))
    process.process.join(PATIENCE)
    assert process.process.exitcode == 1
    process.end()
