import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from latefusion.errors import OutputError
from latefusion.folder.lock import LOCK, only_run

HOLDER = """
import sys, time
from pathlib import Path
from latefusion.folder.lock import only_run
with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_in_one_line_and_the_lock_is_gone_after(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    with only_run(folder):
        assert (folder / LOCK).is_file()
        with (
            pytest.raises(OutputError, match=r"another run writes into .*out; wait until it ends"),
            only_run(folder),
        ):
            pass
        with only_run(tmp_path):
            pass
    assert list(folder.iterdir()) == []
    with only_run(folder):
        pass


def test_the_lock_of_a_killed_run_does_not_stay(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout
    with holder, holder.stdout:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match="another run"), only_run(tmp_path):
            pass
        holder.kill()
    assert (tmp_path / LOCK).exists()
    with only_run(tmp_path):
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no open file")
def test_of_many_runs_that_take_turns_one_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    """The file is removed and made anew between them, which must not let two in."""
    program = """
import os, sys
from pathlib import Path
from latefusion.errors import OutputError
from latefusion.folder.lock import only_run
held = 0
while held < 200:
    try:
        with only_run(Path(sys.argv[1])):
            os.close(os.open(sys.argv[2], os.O_CREAT | os.O_EXCL))
            os.unlink(sys.argv[2])
            held += 1
    except OutputError:
        pass
"""
    command = [sys.executable, "-c", program, str(tmp_path / "out"), str(tmp_path / "inside")]
    runs = [subprocess.Popen(command) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]


def test_two_runs_into_one_folder_lose_nothing(toy_model: Path, tmp_path: Path) -> None:
    """The second is refused while a --watch goes on, and its photos can be done after it."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (50, 30), (255, 0, 30)).save(tmp_path / name / f"{name}.png")
    out = tmp_path / "out"
    common = ["-o", str(out), "--model", str(toy_model), "--save", "alpha"]
    matte = [sys.executable, "-m", "latefusion", "matte"]
    watch = subprocess.Popen(
        [*matte, str(tmp_path / "one"), *common, "--watch"], stdout=subprocess.PIPE
    )
    with watch:
        assert watch.stdout
        assert watch.stdout.readline().endswith(b"one-alpha.png\n")
        second = [*matte, str(tmp_path / "two"), *common]
        refused = subprocess.run(second, capture_output=True, text=True, check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        cure = "wait until it ends, or choose another -o"
        assert refused.stderr == f"error: another run writes into {out}; {cure}\n"
        watch.send_signal(signal.SIGINT)
        watch.wait()
    subprocess.run(second, capture_output=True, check=True)
    manifest = (out / "manifest.jsonl").read_text().splitlines()
    assert len(manifest) == 2
    assert sorted(path.name for path in out.iterdir()) == [
        *("manifest.jsonl", "one-alpha.png", "two-alpha.png")
    ]
