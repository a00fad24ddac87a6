"""`latefusion matte` on folders and pipes, with its options for results; and doctor."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from latefusion.cli import app
from latefusion.cli.run_log import RunLog
from latefusion.folder.batch import Done
from latefusion.folder.manifest import Manifest, Record

SAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


def photo(path: Path, colour: tuple[int, int, int] = (255, 255, 30)) -> Path:
    """A photo, wider than high, its subject at the left, as the toy network sees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((60, 100, 3), (10, 0, 90), np.uint8)
    pixels[:, :40] = colour
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.png", "a.jpg", "deep/Café & <co>.png"):
        photo(Path("in") / name)
    Path("in/deep/bad.jpg").write_bytes(b"no photo")
    return tmp_path


def call(
    *words: str, model: Path | None = None, given: bytes | None = None
) -> tuple[int, bytes, str]:
    more = ["--model", str(model)] if model else []
    done = CliRunner().invoke(app, [*words, *more], input=given)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout_bytes, done.stderr


def records(out: str = "out") -> dict[str, dict[str, object]]:
    lines = Path(out, "manifest.jsonl").read_text().splitlines()
    return {record["photo"]: record for record in map(json.loads, lines)}


def test_a_folder_is_mirrored_with_a_manifest(tree: Path, toy_model: Path) -> None:
    code, out, err = call("matte", "in", "-r", "-o", "out", model=toy_model)
    assert code == 1
    assert "in/deep/bad.jpg is not an image" in err
    expected = {
        "a.jpg-cutout.png",
        "a.png-cutout.png",
        "b-cutout.png",
        "deep/Café & <co>-cutout.png",
    }
    assert {line.removeprefix("out/") for line in out.decode().splitlines()} == expected
    written = {path.relative_to("out").as_posix() for path in Path("out").rglob("*.png")}
    assert written == expected
    found = records()
    assert len(found) == 5
    assert found["deep/bad.jpg"]["error"]
    assert found["b.png"]["outputs"] == ["b-cutout.png"]


def test_resume_does_what_is_new_and_what_changed(tree: Path, toy_model: Path) -> None:
    words = ("matte", "in", "-o", "out", "--resume")
    assert call(*words, model=toy_model)[0] == 0
    again = "passed over: 1 folder below (add -r)\n3 done before\n"
    assert call(*words, model=toy_model)[1:] == (b"", again)
    photo(Path("in/b.png"), (255, 255, 99))
    photo(Path("in/new.png"))
    Path("out/a.jpg-cutout.png").unlink()
    out = call(*words, model=toy_model)[1].decode().split()
    assert sorted(out) == ["out/a.jpg-cutout.png", "out/b-cutout.png", "out/new-cutout.png"]
    out = call(*words, "--crop", model=toy_model)[1].decode().split()
    assert len(out) == 4  # other settings, other results


class Page(HTMLParser):
    """The addresses in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_review_shows_all_and_what_failed(tree: Path, toy_model: Path) -> None:
    assert call("matte", "in", "-r", "-o", "out", "--review", model=toy_model)[0] == 1
    text = Path("out/review.html").read_text()
    assert "1 failed" in text
    assert "<co>" not in text
    page = Page(text)
    assert len(page.found) == 8  # a thumb and a cut-out of each
    for address in page.found:
        from urllib.parse import unquote

        assert Path("out", unquote(address)).is_file(), address
    call("matte", "in", "-r", "-o", "out", "--review", "--resume", model=toy_model)
    assert len(Page(Path("out/review.html").read_text()).found) == 8


def test_a_folder_without_photos_is_a_usage_error(tree: Path, toy_model: Path) -> None:
    Path("empty").mkdir()
    code, _, err = call("matte", "empty", "-o", "out", model=toy_model)
    assert code == 2
    assert "no photos in empty" in " ".join(err.replace("│", " ").split())


def test_from_stdin_to_stdout(tree: Path, toy_model: Path) -> None:
    given = Path("in/b.png").read_bytes()
    code, out, _ = call("matte", "-", "-o", "-", "--format", "webp", model=toy_model, given=given)
    assert code == 0
    with Image.open(io.BytesIO(out)) as cutout:
        assert (cutout.format, cutout.mode, cutout.size) == ("WEBP", "RGBA", (100, 60))
    code, out, err = call("matte", "-", model=toy_model, given=b"no photo")
    assert (code, out) == (1, b"")
    assert err.startswith("error: the given photo is not an image")
    assert call("matte", "-", "-o", "me.tiff", model=toy_model, given=given)[0] == 0
    assert Path("me.tiff").is_file()


def test_options_for_results(tree: Path, toy_model: Path) -> None:
    words = ("in/b.png", "-o", "x.jpg", "--background", "#0000ff")
    assert call("matte", *words, model=toy_model)[0] == 0
    with Image.open("x.jpg") as composite:
        pixel = composite.getpixel((95, 30))
        assert np.abs(np.subtract(pixel, (0, 0, 255))).max() < 12  # type: ignore[arg-type]
    more = (
        "in/b.png",
        "-o",
        "x.png",
        "--save",
        "alpha",
        "--bits",
        "16",
        "--crop",
        "--margin",
        "0",
    )
    assert call("matte", *more, model=toy_model)[0] == 0
    with Image.open("x.png") as alpha:
        assert alpha.mode.startswith("I;16")
        assert alpha.size[0] < 50
    code, _, err = call("matte", "in/b.png", "--background", "nowhere.jpg", model=toy_model)
    assert code == 1
    assert "is neither a colour nor a file" in err


def test_a_transparent_background_is_none(tree: Path, toy_model: Path) -> None:
    words = ("in/b.png", "-o", "x.png", "--background", "transparent")
    assert call("matte", *words, model=toy_model)[0] == 0
    with Image.open("x.png") as cutout:
        assert cutout.mode == "RGBA"


def test_the_summary_counts_what_was_done(tree: Path, toy_model: Path) -> None:
    words = ("matte", "in", "-r", "-o", "out", "--resume")
    pattern = r"4 cut out, 1 failed, \d+\.\d\d s a photo on cpu"
    assert re.fullmatch(pattern, call(*words, model=toy_model)[2].splitlines()[-1])
    assert call(*words, model=toy_model)[2].splitlines()[-1] == "4 done before, 1 failed"


def test_tiles_and_refinement_are_settings_that_resume_sees(tree: Path, toy_model: Path) -> None:
    words = ("matte", "in", "-o", "out", "--resume", "--save", "alpha")
    assert call(*words, model=toy_model)[0] == 0
    for more in (["--tiles"], ["--refine", "off"]):
        _, out, err = call(*words, *more, model=toy_model)
        assert len(out.splitlines()) == 3
        assert "done before" not in err


def test_a_photo_is_overwritten_only_if_asked(tree: Path, toy_model: Path) -> None:
    assert call("matte", "in/b.png", "-o", "in/b.png", model=toy_model)[0] == 2
    assert call("matte", "in/b.png", "-o", "in/b.png", "--overwrite", model=toy_model)[0] == 0
    with Image.open("in/b.png") as cutout:
        assert cutout.mode == "RGBA"


def test_what_is_read_beside_the_photos_is_not_overwritten_either(
    tree: Path, toy_model: Path
) -> None:
    before = photo(Path("back.png"), (9, 200, 9)).read_bytes()
    words = ("--background", "back.png", "-o", "back.png")
    for given in ("in/b.png", "-"):
        code, _, err = call(
            "matte", given, *words, model=toy_model, given=Path("in/b.png").read_bytes()
        )
        assert code == 2
        assert "is one of the files that are read" in " ".join(err.replace("│", " ").split())
    assert Path("back.png").read_bytes() == before
    assert call("matte", "in/b.png", *words, "--overwrite", model=toy_model)[0] == 0


def test_what_is_passed_over_is_said_and_in_the_manifest(tree: Path, toy_model: Path) -> None:
    Path("in/a.mp4").write_bytes(b"a clip")
    Path("in/deep/b.psd").write_bytes(b"8BPS")
    code, _, err = call("matte", "in", "-r", "-o", "out", "--review", model=toy_model)
    assert code == 1  # bad.jpg
    told = "passed over: 1 clip (`latefusion video` takes them), 1 picture in a format"
    assert err.splitlines()[-2].startswith(told)
    assert str(records()["a.mp4"]["skipped"]).startswith("clip")
    assert records()["b.png"]["skipped"] is None
    assert "a.mp4" not in Path("out/review.html").read_text()
    Path("only").mkdir()
    Path("only/a.mp4").touch()
    code, _, err = call("matte", "only", "-o", "out", model=toy_model)
    assert code == 2
    assert "no photos in only; passed over: 1 clip" in " ".join(err.replace("│", " ").split())


def test_everything_in_a_folder_twice_does_the_photos_twice(
    tree: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("in")
    photos = ("a.jpg", "a.png", "b.png")
    code, out, err = call("matte", *photos, "--resume", "--review", model=toy_model)
    assert code == 0
    results = sorted(out.decode().split())
    assert results == ["a.jpg-cutout.png", "a.png-cutout.png", "b-cutout.png", "review.html"]
    everything = sorted(path.name for path in Path().iterdir() if path.name != "deep")
    code, out, err = call("matte", *everything, model=toy_model)
    assert (code, sorted(out.decode().split())) == (0, results[:3])
    assert err.splitlines()[0] == "passed over: 6 results of an earlier run"


def test_a_single_photo_that_fails_gives_one_line(tree: Path, toy_model: Path) -> None:
    code, out, err = call("matte", "in/deep/bad.jpg", model=toy_model)
    assert (code, out) == (1, b"")
    assert len(err.splitlines()) == 1
    two = call("matte", "in/deep/bad.jpg", "in/b.png", model=toy_model)[2]
    assert "1 cut out, 1 failed" in two.splitlines()[-1]


def test_a_point_that_separates_nothing_is_a_warning(tree: Path, toy_model: Path) -> None:
    words = ("matte", "in", "-o", "out", "--refine", "off", "--subject", "90,30")
    code, _, err = call(*words, model=toy_model)
    assert code == 0
    assert "warning: b.png: no subject at 90,30; the nearest one was kept" in err.splitlines()
    assert records()["b.png"]["warnings"] == ["no subject at 90,30; the nearest one was kept"]


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX terminal")
@pytest.mark.parametrize("out", ["out", "-"])
def test_a_single_photo_shows_its_passes_on_a_terminal_only(
    out: str, tree: Path, toy_model: Path
) -> None:
    words = [sys.executable, "-m", "latefusion", "matte", "in/b.png", "-o", out]
    terminal, ours = os.openpty()
    process = subprocess.Popen(
        [*words, "--model", str(toy_model)], stdout=subprocess.PIPE, stderr=ours
    )
    os.close(ours)
    shown = b""
    with suppress(OSError):  # EIO: the process has ended
        while block := os.read(terminal, 4096):
            shown += block
    os.close(terminal)
    written, _ = process.communicate()
    assert process.returncode == 0
    assert re.search(rb"b\.png: matting, pass \d", shown)
    assert b"matting" not in written
    silent = subprocess.run([*words, "--model", str(toy_model)], capture_output=True, check=True)
    assert b"matting" not in silent.stderr


def test_two_names_of_one_photo_give_two_results(tree: Path, toy_model: Path) -> None:
    Path("in/link.png").symlink_to("b.png")
    code, out, _ = call("matte", "in/b.png", "in/link.png", "-o", "out", model=toy_model)
    assert (code, out) == (0, b"out/b-cutout.png\nout/link-cutout.png\n")


@pytest.mark.parametrize(
    ("place", "cure"),
    [
        ("https://example.org/a.jpg", "matte reads files; download it first"),
        ("HTTP://example.org/a.jpg", "latefusion serve --allow-urls"),
        ("s3://bucket/a.jpg", "add --engine ray"),
        ("file:///a.jpg", "give a path"),
    ],
)
def test_a_url_is_refused_with_what_fits_it(place: str, cure: str, toy_model: Path) -> None:
    code, _, err = call("matte", place, model=toy_model)
    assert code == 2
    assert cure in " ".join(err.replace("│", " ").split())


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_review_grows_while_a_folder_is_watched(
    number: signal.Signals, tree: Path, toy_model: Path
) -> None:
    command = [sys.executable, "-m", "latefusion", "matte", "in", "-o", "out", "--watch"]
    process = subprocess.Popen(
        [*command, "--review", "--model", str(toy_model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup ignores SIGHUP
    )
    page = Path("out/review.html")
    wait_for(page)
    for _ in range(600):
        if page.read_text().count("<article") == 3:
            break
        time.sleep(0.1)
    assert page.read_text().count("<article") == 3
    photo(Path("in/later.png"))
    wait_for(Path("out/later-cutout.png"))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "4 cut out" in err
    assert page.read_text().count("<article") == 4
    assert len(Path("out/manifest.jsonl").read_text().splitlines()) == 4


def test_a_photo_that_takes_too_long_to_read_is_passed_over(tree: Path, toy_model: Path) -> None:
    slow = b"P6\n#" + b"a" * 100_000_000 + b"\n4 4 255\n" + bytes(48)  # read byte by byte
    Path("in/slow.ppm").write_bytes(slow)
    command = ["matte", "in", "-o", "out", "--timeout", "3", "--model", str(toy_model)]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 1
    assert "in/slow.ppm took longer to read than the limit of 3 s" in found.stderr
    assert Path("out/b-cutout.png").exists()
    [error] = [
        line for line in Path("out/manifest.jsonl").read_text().splitlines() if "slow" in line
    ]
    assert "took longer" in json.loads(error)["error"]
    piped = CliRunner().invoke(app, ["matte", "-", "--timeout", "3"])
    assert piped.exit_code == 2


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_watch_goes_on_with_what_arrives(tree: Path, toy_model: Path) -> None:
    command = [sys.executable, "-m", "latefusion", "matte", "in", "-o", "out", "--watch"]
    process = subprocess.Popen(
        [*command, "--model", str(toy_model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(Path("out/b-cutout.png"))
    photo(Path("in/later.png"))
    wait_for(Path("out/later-cutout.png"))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (130, "interrupted")
    assert len(out.splitlines()) == 4
    assert set(records()) == {"a.jpg", "a.png", "b.png", "later.png"}


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} did not come")


@pytest.mark.slow
def test_doctor_finds_all_well() -> None:
    code, out, _ = call("doctor")
    assert code == 0
    lines = out.decode().splitlines()
    assert any(line.startswith("ok golden photo") for line in lines)
    assert any(line.startswith("ok device") for line in lines)


@pytest.mark.slow
def test_doctor_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Image.new("L", (320, 400)).save(tmp_path / "other.png")
    monkeypatch.setattr("latefusion.inference.doctor.GOLDEN_ALPHA", tmp_path / "other.png")
    code, out, _ = call("doctor")
    assert code == 1
    assert "!! golden photo   alpha differs" in out.decode()
    code, out, _ = call("doctor", "--device", "coreml")
    assert code == 1
    assert "!! network        device coreml is not available" in out.decode()


def test_a_photo_whose_report_is_repeated_is_counted_once(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Manifest(tree / "manifest.jsonl") as manifest:
        log = RunLog(manifest)
        record = Record("a.png", "1", "s", ("a-cutout.png",))
        for _ in range(2):
            log.add(Done(record, True), ["a-cutout.png"])
        log.summary()
    found = capsys.readouterr()
    assert found.out == "a-cutout.png\n"
    assert found.err.startswith("1 cut out,")
