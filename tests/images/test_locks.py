import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from latefusion.images.locks import open_locked
from latefusion.images.writing import remove_parts, whole_file

WRITER = """
import os, sys, time
from pathlib import Path
from latefusion.images.writing import whole_file
with whole_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""
CLEANER = """
import sys
from pathlib import Path
from latefusion.images.writing import remove_parts
print("ready", flush=True)
while True:
    remove_parts(Path(sys.argv[1]))
"""


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".latefusion-*.part"))


def test_what_a_process_is_writing_stays_until_the_process_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a.png")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"writing\n"
        remove_parts(tmp_path)
        assert len(parts(tmp_path)) == 1
        writer.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    assert len(parts(tmp_path)) == 1
    remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_living_process_with_the_number_of_a_killed_one_keeps_nothing(tmp_path: Path) -> None:
    """In a container, a run has the number 1 before and after a restart."""
    (tmp_path / f".latefusion-{os.getpid()}-00.part").touch()
    (tmp_path / ".latefusion-0123456789abcdef.part").write_bytes(b"half")
    remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_this_process_is_writing_stays(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.png") as file:
        file.write(b"half")
        remove_parts(tmp_path)
        file.write(b" and half")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"half and half"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
def test_nothing_but_incomplete_files_is_removed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine"
    elsewhere.write_bytes(b"mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / ".latefusion-link.part").symlink_to(elsewhere)
    (out / ".latefusion-folder.part").mkdir()
    remove_parts(out)
    assert elsewhere.read_bytes() == b"mine"
    assert (out / ".latefusion-folder.part").is_dir()


def test_writers_and_a_run_that_cleans_up_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    def write(name: str) -> None:
        for number in range(150):
            with whole_file(tmp_path / f"{name}-{number}") as file:
                file.write(name.encode())

    command = [sys.executable, "-c", CLEANER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as cleaner:
        assert cleaner.stdout
        assert cleaner.stdout.readline() == b"ready\n"
        writers = [Thread(target=write, args=(name,)) for name in ("one", "two")]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert cleaner.poll() is None
        cleaner.kill()
    assert len(list(tmp_path.iterdir())) == 300
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"one", b"two"}


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no open file")
def test_a_file_that_is_removed_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    path, lock = tmp_path / "file", fcntl.flock

    def lock_later(number: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        path.unlink()  # as its last owner does
        lock(number, operation)

    monkeypatch.setattr(fcntl, "flock", lock_later)
    number = open_locked(path)
    assert number is not None
    assert os.path.samestat(os.fstat(number), path.stat())
    os.close(number)
