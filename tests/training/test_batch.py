"""A batch and its canvases are fitted to the memory, and what that costs is said."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latefusion.data.share import ALONE, Share
from latefusion.errors import TrainingError
from latefusion.parallel import Memory
from latefusion.training.batch import (
    GIB,
    Place,
    at_once,
    dividing,
    fitted,
    keeps_canvases,
    keeps_views,
    parts_that_fit,
    tell_canvas,
    tell_memory,
    tell_parts,
)
from latefusion.training.memory import Need
from latefusion.training.settings import Settings
from latefusion.training.settings_file import write_settings
from tests.helpers.toy_network import TOY

NEED = Need(fixed=GIB // 2, picture=2 * GIB)


def run(**changes: object) -> Settings:
    first = Settings("joint", [], Path("absent"), input_size=(640, 960))
    return replace(first, **changes)  # type: ignore[arg-type]


def memory(free: float, total: float = 24) -> Memory:
    return Memory(round(free * GIB), round(total * GIB))


@pytest.mark.parametrize(
    ("free", "parts"), [(40, 1), (32.5, 1), (32.4, 2), (13, 4), (6.6, 8), (2, 16), (0, 16)]
)
def test_a_batch_is_computed_in_as_few_parts_as_fit(free: float, parts: int) -> None:
    assert parts_that_fit(run(), NEED, memory(free), ALONE) == parts


def test_parts_that_are_set_and_those_of_a_resumed_run_are_kept(tmp_path: Path) -> None:
    assert parts_that_fit(run(accumulate=2), NEED, memory(1), ALONE) == 2
    resumed = run(out=tmp_path, resume=True)
    for kept, parts in ((None, 1), (4, 4)):
        write_settings(tmp_path / "settings.yaml", replace(resumed, accumulate=kept))
        assert parts_that_fit(resumed, NEED, memory(1), ALONE) == parts
        assert parts_that_fit(replace(resumed, resume=False), NEED, memory(1), ALONE) == 16


def test_where_the_memory_is_unknown_a_batch_is_whole() -> None:
    assert parts_that_fit(run(), NEED, None, ALONE) == 1


def test_processes_divide_their_shares(tmp_path: Path) -> None:
    assert parts_that_fit(run(), NEED, memory(9), Share(1, 4)) == 1  # 4 pictures
    assert parts_that_fit(run(), NEED, memory(8), Share(1, 4)) == 2
    assert at_once(run(accumulate=2), Share(1, 4)) == 2


@pytest.mark.usefixtures("toy_preset")
def test_where_the_memory_is_unknown_canvases_have_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of 1216 x 1216 of some 3000 pairs would be 28 GiB."""
    monkeypatch.setattr("latefusion.training.memory.usable_memory", lambda: None)
    monkeypatch.setattr("latefusion.training.batch.usable_memory", lambda: None)
    place = Place(torch.device("cpu"), bf16=False, processes=1)
    settings, room = fitted(run(input_size=(64, 64)), TOY, ALONE, place)
    assert settings.accumulate == 1
    assert not keeps_canvases(run(), 2716, 540, room)[0]
    assert keeps_canvases(run(canvas=448), 2716, 540, room)[0]


def test_parts_divide_the_pictures() -> None:
    assert [dividing(12, parts) for parts in (1, 2, 5, 7, 12, 99)] == [1, 2, 6, 12, 12, 12]
    assert dividing(13, 2) == 13


def test_a_batch_that_does_not_fit_is_divided_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tell_memory(run(accumulate=8), NEED, memory(6.6))
    first, second = caplog.messages
    assert first == (
        "joint at 640 x 960 takes about 2.0 GiB a picture and 0.5 GiB besides; "
        "6.6 GiB of memory are free"
    )
    assert second.startswith("a batch is computed in 8 parts of 2, one after the other")
    assert "see 2 pictures, not 16" in second


def test_parts_that_do_not_fit_are_named_with_the_cure(caplog: pytest.LogCaptureFixture) -> None:
    tell_memory(run(accumulate=4), NEED, memory(6.6))
    assert caplog.messages[-1] == (
        "4 at a time take about 8.5 GiB, more than is free; "
        "pass --accumulate 8, --recompute, a smaller --input-size"
    )
    tell_memory(run(accumulate=16, recompute=True), NEED, memory(1))
    assert caplog.messages[-1].endswith("pass a smaller --input-size")


def test_other_parts_than_those_asked_for_are_told(caplog: pytest.LogCaptureFixture) -> None:
    tell_parts(asked=4, own=4, parts=4)
    assert not caplog.messages
    tell_parts(asked=3, own=4, parts=4)
    tell_parts(asked=2, own=2, parts=8)
    assert caplog.messages == [
        "3 parts do not divide a batch evenly; it is computed in 4",
        "another process needs 8 parts of a batch; so all compute it in 8",
    ]


def test_nothing_is_said_of_little_memory(caplog: pytest.LogCaptureFixture) -> None:
    tell_memory(run(), Need(2**20, 2**24), memory(0.1))
    assert not caplog.messages


def test_a_picture_above_the_whole_memory_is_refused() -> None:
    tell_memory(run(), NEED, memory(1, total=2.2))  # its tensors alone take 2.17
    with pytest.raises(TrainingError, match=r"2\.0 GiB a picture, .* 2\.1 GiB in all; pass --rec"):
        tell_memory(run(), NEED, memory(1, total=2.1))


@pytest.mark.parametrize(
    ("size", "side"),
    [((64, 64), 448), ((256, 256), 448), ((320, 320), 448), ((512, 384), 640), ((640, 960), 1216)],
)
def test_canvases_follow_the_views(size: tuple[int, int], side: int) -> None:
    assert run(input_size=size).canvas_side == side
    assert run(input_size=size, canvas=500).canvas_side == 500


def test_a_canvas_below_the_views_is_told_with_what_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tell_canvas(run())
    tell_canvas(run(canvas=960))
    assert not caplog.messages
    tell_canvas(run(canvas=448))
    (message,) = caplog.messages
    assert "canvases of 448 x 448 are smaller than views of 640 x 960: at most 33 %" in message


def test_canvases_stay_in_memory_where_they_fit(caplog: pytest.LogCaptureFixture) -> None:
    small = run(canvas=100)
    needed = 100 * 100 * (7 * 5 + 3 * 2)
    assert keeps_canvases(small, 5, 2, needed + 9) == (True, 9)
    assert keeps_canvases(replace(small, workers=1), 5, 2, needed) == (False, needed)
    assert keeps_canvases(replace(small, resident=True), 5, 2, needed) == (False, 0)
    assert not caplog.messages
    assert keeps_canvases(run(), 2716, 540, 5 * GIB) == (False, 5 * GIB)
    assert keeps_canvases(run(resident=True), 2716, 540, -GIB) == (False, -GIB)
    cached, resident = caplog.messages
    assert "1216 x 1216 take 28.4 GiB, and there is room for 5.0 GiB; photos are decoded" in cached
    assert "there is room for 0.0 GiB; choose a smaller canvas" in resident


def test_views_of_validation_stay_in_memory_where_they_fit() -> None:
    size = 7 * 640 * 960
    assert keeps_views(run(), 3, 3 * size)
    assert not keeps_views(run(), 4, 3 * size)


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
