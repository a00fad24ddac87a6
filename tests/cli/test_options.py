from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from latefusion.cli import app
from latefusion.cli.options import Only, with_options
from latefusion.errors import LatefusionError
from latefusion.inference.options import Option


@dataclass(frozen=True)
class Toy:
    shape: Annotated[Literal["round", "flat"], Option("The shape.", "Looks")] = "round"
    much_ado: Annotated[bool, Option("Make much of it.", "Looks")] = False
    bits: Annotated[Literal[8, 16], Option("The depth.", "Depth")] = 8
    share: Annotated[float, Option("A share.", "Depth", least=0, most=1, default="1/3")] = 1 / 3

    def __post_init__(self) -> None:
        if self.share == 0.5:
            raise LatefusionError("half of it is nothing; use less")


def run(*words: str, mark: Any = None) -> tuple[int, str, list[tuple[str, Toy]]]:
    """A command with the options of Toy: its exit code, its output, what it was called with."""
    seen = []

    def command(name: str, *, toy: Toy) -> None:
        seen.append((name, toy))

    command.__annotations__["toy"] = Annotated[Toy, mark] if mark else Toy
    toys = typer.Typer()
    toys.command()(with_options(command))
    done = CliRunner().invoke(toys, words)
    return done.exit_code, " ".join(done.output.replace("│", " ").split()), seen


def test_a_command_gets_the_object_of_its_options() -> None:
    assert run("me") == (0, "", [("me", Toy())])
    words = ("me", "--shape", "flat", "--much-ado", "--bits", "16", "--share", "0.25")
    assert run(*words) == (0, "", [("me", Toy("flat", True, 16, 0.25))])


def test_a_command_may_take_some_options_only() -> None:
    assert run("me", "--bits", "16", mark=Only(("bits",)))[2] == [("me", Toy(bits=16))]
    code, out, _ = run("me", "--shape", "flat", mark=Only(("bits",)))
    assert code == 2
    assert "No such option" in out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--shape", "square"), "'square' is not one of 'round', 'flat'"),
        (("--share", "2"), "2.0 is not in the range 0<=x<=1"),
        (("--share", "0.5"), "half of it is nothing; use less"),
        (("--bits", "12"), "'12' is not one of '8', '16'"),
        (("--no-much-ado",), "No such option"),
    ],
)
def test_a_wrong_value_is_a_usage_error(words: tuple[str, ...], problem: str) -> None:
    code, out, seen = run("me", *words)
    assert (code, seen) == (2, [])
    assert problem in out


def test_help_shows_panels_choices_and_defaults_in_words() -> None:
    code, out, _ = run("--help")
    assert code == 0
    for text in ("Looks", "Depth", "round|flat", "8|16", "(1/3)", "Make much of it."):
        assert text in out
    assert "0.3333" not in out


def test_the_help_of_matte_has_its_panels_and_h_is_help() -> None:
    done = CliRunner().invoke(app, ["matte", "-h"])
    assert done.exit_code == 0
    order = [done.output.index(f"─ {name} ─") for name in PANELS]
    assert order == sorted(order)
    assert "(1/255)" in done.output
    assert "0.0039" not in done.output


PANELS = ("Arguments", "In and out", "Quality", "Subject", "Folder", "Machine")


def test_the_help_names_several_photos_and_fills_the_lines_of_a_wide_terminal() -> None:
    output = CliRunner().invoke(app, ["matte", "-h"], env={"COLUMNS": "200"}).output
    assert "PHOTO..." in output
    assert "A photo that cannot be read is reported and skipped" in output


@pytest.mark.parametrize("command", [(), ("video",), ("serve",), ("train",), ("export",)])
def test_h_is_help_everywhere(command: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, [*command, "-h"]).exit_code == 0


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("classifier",), "the write-up's classifier is latefusion train segmentation "),
        (("infer", "joint", "--image", "a.jpg"), "is latefusion matte PHOTO --model FILE "),
        (("main", "infer"), "is latefusion train STAGE, or latefusion matte PHOTO"),
        (("import-keras", "--weights", "a.h5", "b"), "--weights is IN.h5, a file without"),
        (("gen_alpha.py", "--imgDir", "a"), "is latefusion prepare SRC --out DIR --train-ratio"),
        (("convert.py",), "is latefusion export CHECKPOINT --target tensorflow --names write-up"),
        (("prepare", "--imgDir", "a"), "--imgDir is SRC, a folder without"),
        (("prepare", "a", "--out", "b", "--trainRatio=0.9"), "--trainRatio is --train-ratio "),
        (("train", "classifier"), "classifier is segmentation "),
        (("train", "joint", "--dataset", "a"), "--dataset is --data, with --validation"),
        (("train", "joint", "--logs", "a"), "--logs is --out "),
        (("train", "joint", "--input_size", "64,64"), "--input_size is --input-size "),
        (("matte", "--image", "a.jpg"), "--image is PHOTO, a file without"),
        (("matte", "a.jpg", "--outdir", "b"), "--outdir is -o "),
        (("export", "a", "--input_size", "64,64"), "--input_size is --size "),
    ],
)
def test_a_name_of_the_write_up_is_answered_with_the_new_one(
    words: tuple[str, ...], answer: str
) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    told = " ".join(done.output.replace("│", " ").split())
    assert answer in told
    assert "Possible options" not in told
    assert "Did you mean" not in told


def test_all_names_of_the_write_up_in_a_command_are_answered_at_once() -> None:
    words = ("train", "classifier", "--dataset", "a", "--logs", "b", "--input_size=64,64")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    told = " ".join(done.output.replace("│", " ").split())
    assert "--dataset is --data, with --validation beside it; classifier is segmentation" in told
    assert "; --logs is --out; --input_size is --input-size" in told


def test_a_value_beside_a_name_of_the_write_up_is_none() -> None:
    words = ("train", "joint", "--dataset", "classifier", "--logs", "b")  # a folder's name
    done = CliRunner().invoke(app, words)
    assert "--dataset is --data" in done.output
    assert "classifier is" not in done.output


@pytest.mark.parametrize(
    "words",
    [
        ("train", "gone", "--data", "classifier"),  # a folder's name is no stage
        ("matte", "joint", "--no-such"),
        ("serve", "--image"),
        (),
        ("--nothing", "classifier"),
    ],
)
def test_another_mistake_has_nothing_to_do_with_the_write_up(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "write-up" not in done.output
