import pickle
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from latefusion import LatefusionError, Look, MattingOptions
from latefusion.inference.options import Option, check_declared, declared


@dataclass(frozen=True)
class Toy:
    shape: Annotated[Literal["round", "flat"], Option("The shape.", "Quality")] = "round"
    count: Annotated[int, Option("How many.", "Quality", least=1, most=9)] = 3
    where: Annotated[str | tuple[int, int], Option("A place.", "Subject", text=True)] = "here"


def test_a_declaration_holds_all_that_a_command_needs() -> None:
    shape, count, where = declared(Toy)
    assert (shape.name, shape.choices, shape.default) == ("shape", ("round", "flat"), "round")
    assert (count.type, count.option.most, count.choices) == (int, 9, ())
    assert (where.type, where.option.panel) == (str, "Subject")


@pytest.mark.parametrize("kind", [MattingOptions, Look])
def test_every_option_has_a_sentence_of_help(kind: type[Any]) -> None:
    found = declared(kind)
    assert [each.name for each in found] == [field.name for field in fields(kind)]
    for each in found:
        assert each.option.help.endswith(".")
        assert each.option.panel


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (MattingOptions, {"framing": "near"}, "unknown framing 'near'; choose auto or whole"),
        (MattingOptions, {"tiles": "no"}, "tiles 'no' is neither True nor False"),
        (MattingOptions, {"epsilon": 2}, "epsilon 2 is not a number from 0 to 1"),
        (MattingOptions, {"epsilon": float("nan")}, "epsilon nan is not a number from 0 to 1"),
        (MattingOptions, {"epsilon": "small"}, "epsilon 'small' is not a number from 0 to 1"),
        (MattingOptions, {"size": 500}, "size 500 is not a multiple of 32; use 512"),
        (MattingOptions, {"subject": "me"}, "unknown subject 'me'; use all, largest or X,Y"),
        (MattingOptions, {"size": "512"}, "size '512' is not a whole number"),
        (MattingOptions, {"size": 512.0}, "size 512.0 is not a whole number"),
        (MattingOptions, {"subject": None}, "unknown subject None; use all, largest or X,Y"),
        (MattingOptions, {"subject": (1.5, 2)}, "unknown subject (1.5, 2); use all"),
        (MattingOptions, {"subject": (1, 2, 3)}, "unknown subject (1, 2, 3); use all"),
        (Look, {"bits": 12}, "unknown bits 12; choose 8 or 16"),
        (Look, {"margin": -1}, "margin -1 is not a number from 0 to 10"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_cure(
    kind: type[Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(LatefusionError) as caught:
        kind(**given)
    assert str(caught.value).startswith(message)


def test_numbers_of_numpy_are_numbers() -> None:
    check_declared(Toy(count=np.int64(4)))  # type: ignore[arg-type]
    with pytest.raises(LatefusionError, match="count 10 is not"):
        check_declared(Toy(count=10))


def test_a_point_may_be_text() -> None:
    assert MattingOptions(subject="30,20") == MattingOptions(subject=(30, 20))
    assert pickle.loads(pickle.dumps(MattingOptions(subject="30,20"))).subject == (30, 20)


def test_a_point_of_any_kind_is_a_pair_of_whole_numbers() -> None:
    for given in ([30, 20], np.array([30, 20]).tolist(), (np.int64(30), np.int64(20))):
        assert MattingOptions(subject=given) == MattingOptions(subject=(30, 20))  # type: ignore[arg-type]
        assert hash(MattingOptions(subject=given)) == hash(MattingOptions(subject=(30, 20)))  # type: ignore[arg-type]


def test_a_size_of_numpy_is_a_size() -> None:
    assert MattingOptions(size=np.int64(512)) == MattingOptions(size=512)  # type: ignore[arg-type]


def test_options_that_clips_lack_are_named_where_they_are_in_use() -> None:
    assert MattingOptions(size=64, subject="largest").photos_only == ()
    assert MattingOptions(rotate_search=True, tiles=True).photos_only == ("tiles", "rotate_search")


def test_a_look_is_transparent_unless_something_comes_behind() -> None:
    assert Look().transparent
    assert not Look("white").transparent
    assert not Look(np.zeros((2, 2, 3), np.uint8)).transparent
