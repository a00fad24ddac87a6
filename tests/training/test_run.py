"""Training: what a stage may change, what a run keeps, and that resuming changes nothing."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import Tensor

from latefusion.data.augment import Recipe
from latefusion.data.dataset import pair_view
from latefusion.data.labels import LabelsWarning
from latefusion.data.members import Encoded
from latefusion.data.sources import Cutout, Pair, read_pairs
from latefusion.errors import DataError, OutputError, TrainingError, WeightsError
from latefusion.metrics import mad
from latefusion.model.checkpoint import load_network, read_notes, save_network
from latefusion.model.encoders import ENCODERS
from latefusion.model.matting import PRESETS, MattingNetwork, MattingOutput
from latefusion.parallel import Memory
from latefusion.training.callbacks import Bar, Record, averaging, duration
from latefusion.training.memory import step_need
from latefusion.training.module import Training, softest_window
from latefusion.training.optimizers import Horizon, adamw_cosine, optimization, sgd_cyclical
from latefusion.training.run import (
    Settings,
    canvases_of,
    leave_out,
    loaders,
    order_digest,
    start_network,
    train,
)
from latefusion.training.settings import check_settings
from latefusion.training.settings_file import read_settings
from latefusion.training.stages import STAGES
from tests.helpers.toy_network import (
    TOY,
    toy_network,
    write_toy_backgrounds,
    write_toy_cutouts,
    write_toy_pairs,
)
from tests.helpers.training_runs import Recorder

pytestmark = pytest.mark.usefixtures("toy_preset")

State = dict[str, Tensor]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_toy_pairs(folder / "train", 4, seed=0)
    write_toy_pairs(folder / "dev", 2, seed=1)
    write_toy_backgrounds(folder / "backgrounds", 3)
    write_toy_cutouts(folder / "cutouts", 2)
    save_network(folder / "start.safetensors", toy_network())
    return folder


def settings(folder: Path, out: Path, **changes: Any) -> Settings:
    first = Settings(
        stage="segmentation",
        data=[folder / "train"],
        out=out,
        backgrounds=[folder / "backgrounds"],
        validation=[folder / "dev"],
        preset="toy",
        input_size=(64, 64),
        epochs=1,
        batch_size=2,
        canvas=64,
        weights=folder / "start.safetensors",
        ema_decay=0.6,
        max_lr=5e-3,
        progress=False,
    )
    return replace(first, **changes)


def saved_state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "last.ckpt", weights_only=True)
    return state


def of_network(state: State) -> State:
    return {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, (32, 48)])
@pytest.mark.parametrize("stage", list(STAGES))
def test_a_stage_trains_its_own_parts_only(
    data: Path, tmp_path: Path, stage: str, window: tuple[int, int] | None
) -> None:
    best = train(settings(data, tmp_path / "run", stage=stage, window=window))
    before = load_file(data / "start.safetensors")
    raw = of_network(saved_state(tmp_path / "run")["current_model_state"])
    for after in (load_file(best), raw):
        changed = {name for name in before if not torch.equal(after[name], before[name])}
        statistics = {name for name in changed if name.endswith(STATISTICS)}
        assert {name.split(".")[0] for name in changed} == set(STAGES[stage].trains)
        moving = set() if stage == "joint" else set(STAGES[stage].trains)
        assert {name.split(".")[0] for name in statistics} == moving
        for name in before:
            if name.startswith(STAGES[stage].trains) and not name.endswith(STATISTICS):
                assert name in changed, name


@pytest.mark.slow
@pytest.mark.parametrize(("validated", "recipe"), [(True, "adamw"), (False, "sgd")])
def test_two_and_two_epochs_equal_four(
    data: Path, tmp_path: Path, validated: bool, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if recipe == "sgd":
        monkeypatch.setattr(
            "latefusion.training.module.optimization", lambda _: optimization("densenet201")
        )
    common: dict[str, Any] = {"horizon": 4, "validation": [data / "dev"] if validated else ()}
    train(settings(data, tmp_path / "once", epochs=4, **common))
    train(settings(data, tmp_path / "twice", epochs=2, **common))
    train(settings(data, tmp_path / "twice", epochs=4, resume=True, **common))
    once, twice = saved_state(tmp_path / "once"), saved_state(tmp_path / "twice")
    for part in ("state_dict", "current_model_state", "averaging_state", "optimizer_states"):
        assert_same(once[part], twice[part])
    assert once["global_step"] == twice["global_step"] == 8
    for name in ("best", "last"):
        files = [tmp_path / run / f"{name}.safetensors" for run in ("once", "twice")]
        assert read_notes(files[0]) == read_notes(files[1])
        assert_same(load_file(files[0]), load_file(files[1]))


def assert_same(one: Any, other: Any) -> None:
    """Equal to the last bit, through dicts and lists."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


@pytest.mark.slow
def test_resident_canvases_give_the_same_losses_as_decoded_ones(data: Path, tmp_path: Path) -> None:
    seen = {}
    for resident in (False, True):
        recorder = Recorder()
        out = tmp_path / str(resident)
        more = {"cutouts": [data / "cutouts"], "cutout_portion": 0.5, "passes": 2}
        train(settings(data, out, epochs=2, resident=resident, **more), [recorder])
        seen[resident] = recorder
    assert len(seen[True].losses) == 2 * 8  # 4 pairs twice and as many cut-outs, by twos
    assert seen[True].losses == seen[False].losses
    assert seen[True].keys == seen[False].keys
    assert {"cut-0", "cut-1", "00"} <= {*seen[True].keys[0]}
    assert_same(saved_state(tmp_path / "True")["state_dict"],
                saved_state(tmp_path / "False")["state_dict"])  # fmt: skip


@pytest.mark.slow
def test_a_run_with_cutouts_is_resumed_exactly(data: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"horizon": 2, "cutouts": [data / "cutouts"], "resident": True}
    train(settings(data, tmp_path / "once", epochs=2, **common))
    train(settings(data, tmp_path / "twice", epochs=1, **common))
    train(settings(data, tmp_path / "twice", epochs=2, resume=True, **common))
    once, twice = saved_state(tmp_path / "once"), saved_state(tmp_path / "twice")
    assert_same(once["state_dict"], twice["state_dict"])


def test_cutouts_in_the_exclude_file_are_left_out(data: Path, tmp_path: Path) -> None:
    keys = tmp_path / "exclude.txt"
    keys.write_text("cut-0\n02\n")
    run = settings(data, tmp_path, cutouts=[data / "cutouts"], exclude=keys)
    items = canvases_of(loaders(run)[0]).pairs.items
    assert [Path(item.key).name for item in items] == ["00", "01", "03", "cut-1"]


@pytest.mark.slow
def test_the_files_hold_the_averaged_weights_that_were_validated(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(settings(data, tmp_path / "run", epochs=3))
    state = saved_state(tmp_path / "run")
    last = load_file(tmp_path / "run" / "last.safetensors")
    assert_same(dict(sorted(last.items())), dict(sorted(of_network(state["state_dict"]).items())))
    raw = of_network(state["current_model_state"])
    assert any(not torch.equal(raw[name], value) for name, value in last.items())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    scores = []
    for line, name in ((lines[2], "last"), (min(lines, key=mad_of), "best")):
        notes = read_notes(tmp_path / "run" / f"{name}.safetensors")
        scores.append(score(tmp_path / "run" / f"{name}.safetensors", data / "dev"))
        assert float(notes["val_mad"]) == pytest.approx(scores[-1], abs=1e-5)
        assert mad_of(line) == pytest.approx(scores[-1], abs=6e-5)
    assert scores[1] <= scores[0]


def mad_of(line: str) -> float:
    assert line.startswith("epoch ")
    return float(line.split("MAD ")[1].split(",")[0])


def score(weights: Path, dev: Path) -> float:
    network = load_network(weights)
    scores = []
    for pair in read_pairs([dev]):
        view = pair_view(pair, (64, 64))
        with torch.no_grad():
            alpha = network.branches(view["image"][None].float()).alpha
        scores.append(mad(alpha[0, 0].numpy(), view["alpha"][0].numpy()))
    return sum(scores) / len(scores)


@pytest.mark.slow
def test_windows_of_the_set_size_are_cut_all_over_the_views(data: Path) -> None:
    run = settings(data, data, stage="joint", window=(32, 48))
    module = Training(toy_network(), STAGES["joint"], run, Horizon(2, 1))
    outputs = [module.views(torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)) for _ in range(20)]
    windows = [output.window for output in outputs]
    assert {output.alpha.shape[-2:] for output in outputs} == {(32, 48)}
    assert len({window.top for window in windows}) > 3
    assert len({window.left for window in windows}) > 3
    assert max(window.top for window in windows) > 16


def test_windows_look_for_the_outline() -> None:
    """A soft patch that blind windows meet in about three of ten draws."""
    alpha = torch.zeros(2, 1, 64, 128)
    alpha[1, :, 24:40, 100:116] = 0.5

    def met(draws: int) -> int:
        torch.manual_seed(3)
        windows = [softest_window(alpha, (32, 32), draws) for _ in range(60)]
        return sum(bool(window.of(alpha).any()) for window in windows)

    assert met(draws=4) > 1.5 * met(draws=1) > 0


@pytest.mark.slow
def test_a_step_puts_its_window_where_alpha_is_soft(data: Path) -> None:
    run = settings(data, data, stage="joint", window=(32, 32))
    module = Training(toy_network(), STAGES["joint"], run, Horizon(2, 1))
    alpha = torch.zeros(1, 1, 64, 128)
    alpha[..., 24:40, 100:116] = 0.5
    torch.manual_seed(3)
    outputs = [module.views(torch.rand(1, 3, 64, 128), alpha) for _ in range(20)]
    windows = [output.window for output in outputs]
    assert sum(bool(window.of(alpha).any()) for window in windows if window) > 10


PAIRS = [Pair(key, b"", b"") for key in ("a/one", "two", "three#3")]


def test_pairs_in_the_exclude_file_are_left_out(tmp_path: Path) -> None:
    keys = tmp_path / "exclude.txt"
    keys.write_text("one  # wrong truth\n# two\n\nthree#3\n")
    assert leave_out(PAIRS, [], [], keys) == (PAIRS[1:2], [], [])
    assert leave_out(PAIRS, [], [], None) == (PAIRS, [], [])
    with pytest.raises(DataError, match="absent: cannot be read as a list of keys"):
        leave_out(PAIRS, [], [], tmp_path / "absent")
    with pytest.raises(DataError, match="leaves nothing to train on"):
        leave_out([PAIRS[0], PAIRS[2]], [], [], keys)


def test_a_key_to_exclude_may_have_a_mark_before_it_and_an_ending(tmp_path: Path) -> None:
    keys = tmp_path / "exclude.txt"
    keys.write_bytes("\ufeffone.jpg\r\ntwo.PNG\r\n".encode())
    assert leave_out(PAIRS, [], [], keys) == (PAIRS[2:], [], [])


def test_a_key_to_exclude_that_matches_nothing_is_named(tmp_path: Path) -> None:
    keys = tmp_path / "exclude.txt"
    keys.write_text("one\ntow\ncut-9\n")
    cutouts = [Cutout("people/cut-8", b"")]
    with pytest.raises(DataError, match="no such key in the data: tow, cut-9; correct"):
        leave_out(PAIRS, cutouts, [], keys)
    keys.write_text("one\ncut-8\nbg-street\n")
    cutouts.append(Cutout("people/cut-9", b""))
    rooms: list[tuple[str, Encoded]] = [("rooms/bg-street.jpg", b""), ("rooms/bg-house.jpg", b"")]
    assert leave_out(PAIRS, cutouts, rooms, keys) == (PAIRS[1:], cutouts[1:], rooms[1:])


def test_averaging_leaves_equal_values_as_they_are() -> None:
    average = averaging(0.998)._kwargs["avg_fn"]
    torch.manual_seed(0)
    values, early, late = torch.randn(10_000), torch.tensor(1), torch.tensor(10**6)
    for count in (early, late):
        assert torch.equal(average(values, values.clone(), count), values)
    torch.testing.assert_close(average(values, values + 1, late), values + 0.002)
    torch.testing.assert_close(average(values, values + 1, early), values + 9 / 11)
    assert average(torch.tensor(7), torch.tensor(8), late) == 8


def test_a_run_writes_curves_and_pictures(data: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(settings(data, tmp_path / "run"))
    events = EventAccumulator(str(tmp_path / "run" / "events")).Reload()
    assert {"val/mad", "val/iou"} <= set(events.Tags()["scalars"])
    (picture,) = events.Images("image fg 1-bg blend alpha true")
    assert (picture.width, picture.height) == (6 * 64, 2 * 64)


@pytest.mark.parametrize(
    ("recipe", "curves"), [("adamw", {"lr-AdamW/pg1", "lr-AdamW/pg2"}), ("sgd", {"lr-SGD"})]
)
def test_a_run_has_a_curve_for_each_rate_that_differs(
    data: Path, tmp_path: Path, recipe: str, curves: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if recipe == "sgd":
        monkeypatch.setattr(
            "latefusion.training.module.optimization", lambda _: optimization("densenet201")
        )
    rates = RateWatch()
    train(settings(data, tmp_path / "run", epochs=5, validation=()), [rates])
    events = EventAccumulator(str(tmp_path / "run" / "events")).Reload()
    found = {tag for tag in events.Tags()["scalars"] if tag.startswith("lr-")}
    assert found == curves
    for tag in curves:
        (value,) = [event.value for event in events.Scalars(tag) if event.step == 9]
        group = int(tag[-1]) - 1 if "pg" in tag else 0
        assert value == pytest.approx(rates.seen[9][group])


class RateWatch(pl.Callback):
    """The rates of all groups at each step."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])


def test_the_time_of_a_run_is_told_in_the_unit_that_fits() -> None:
    assert [duration(seconds) for seconds in (30, 660, 5400, 200_000)] == [
        *("0.5 minutes", "11.0 minutes", "1.5 hours", "2.3 days"),
    ]


def test_a_long_run_says_after_some_steps_how_long_it_will_take(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(settings(data, tmp_path / "short", epochs=3, validation=()))
    assert not caplog.messages
    train(settings(data, tmp_path / "long", epochs=10**9, validation=()), [Stop(after=3)])
    (message,) = caplog.messages
    assert re.fullmatch(
        r"\d+\.\d s a step: about \d.* an epoch of 2 steps, and \d.* days .*", message
    )


class Stop(pl.Callback):
    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 == self.after


def test_a_batch_in_parts_has_the_pairs_and_the_steps_of_a_whole_one(
    data: Path, tmp_path: Path
) -> None:
    seen = {}
    for parts in (1, 2, 3):
        recorder = Recorder()
        out = tmp_path / str(parts)
        train(settings(data, out, batch_size=4, accumulate=parts, epochs=2), [recorder])
        seen[parts] = recorder
        assert saved_state(out)["global_step"] == 2
        assert recorder.keys == seen[1].keys
    assert [len(recorder.losses) for recorder in seen.values()] == [2, 4, 8]  # 3 becomes 4
    assert [row["step"] for row in rows(tmp_path / "2")] == ["1", "2"]
    kept = [read_settings(tmp_path / str(parts) / "settings.yaml")["accumulate"] for parts in seen]
    assert kept == [1, 2, 4]


def test_the_parts_of_a_batch_are_seen_in_different_views(data: Path) -> None:
    run = settings(data, data, accumulate=2)
    module = Training(toy_network(), STAGES["joint"], run, Horizon(2, 1))
    module.log = module.log_dict = lambda *_, **__: None
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (1, 7, 64, 64), dtype=torch.uint8)
    losses = [
        module.training_step({"pixels": pixels, "aspect": torch.ones(1)}, index).item()
        for index in (0, 1, 2)
    ]
    assert losses[0] != losses[1]
    assert losses[0] == losses[2]  # the step, which there is no trainer to count, is the same


def test_gradients_of_the_parts_are_those_of_the_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same view and frozen norms, a step in two parts is the step of one of them."""
    views = []

    def forward(network: MattingNetwork, image: Tensor) -> MattingOutput:
        views.append(len(image))
        ramp = torch.linspace(0, 255, 64, device=image.device).expand(len(image), 3, 64, 64)
        output: MattingOutput = network(ramp)
        return output

    def loss(output: MattingOutput, alpha: Tensor) -> dict[str, Tensor]:
        return {"alpha": output.alpha.square().mean()}

    monkeypatch.setitem(STAGES, "joint", replace(STAGES["joint"], forward=forward, loss=loss))
    monkeypatch.setattr(
        "latefusion.training.module.optimization", lambda _: optimization("densenet201")
    )
    after = []
    for parts in (1, 2):
        out = tmp_path / str(parts)
        train(settings(data, out, stage="joint", accumulate=parts, validation=()))
        after.append(load_file(out / "last.safetensors"))
    assert {1, 2} == {*views}
    start = load_file(data / "start.safetensors")
    moved = max(float((after[0][name] - start[name]).abs().max()) for name in start)
    assert moved > 0
    for name, value in after[0].items():
        torch.testing.assert_close(after[1][name], value, rtol=0, atol=0.01 * moved, msg=name)


def test_a_run_without_memory_for_its_batch_divides_it_and_keeps_that(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    need = step_need(TOY, STAGES["segmentation"], settings(data, out))
    room = Memory(need.of(1), 2 * need.of(9))
    monkeypatch.setattr("latefusion.training.batch.device_memory", lambda *_: room)
    recorder = Recorder()
    train(settings(data, out, batch_size=4), [recorder])
    assert len(recorder.losses) == 4
    assert read_settings(out / "settings.yaml")["accumulate"] == 4
    monkeypatch.undo()
    more = Recorder()
    train(settings(data, out, batch_size=4, epochs=2, resume=True), [more])
    assert len(more.losses) == 4


def test_a_step_that_runs_out_of_memory_is_one_line_with_the_cure(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(network: MattingNetwork, image: Tensor) -> MattingOutput:
        torch.empty(2**58, dtype=torch.uint8)
        raise AssertionError

    stage = replace(STAGES["segmentation"], forward=forward)
    monkeypatch.setitem(STAGES, "segmentation", stage)
    monkeypatch.setattr("latefusion.training.run.fitted", lambda run, *_: (run, 0))
    with pytest.raises(
        TrainingError, match="does not hold a step of segmentation at 64 x 64; pass"
    ):
        train(settings(data, tmp_path / "run"))


def test_canvases_and_backgrounds_follow_the_size_of_the_views(data: Path) -> None:
    run = settings(data, data, input_size=(64, 640), canvas=None)
    sample = canvases_of(loaders(run)[0])[0, 0]
    assert sample["pixels"].shape == (7, 800, 800)
    assert sample["background"].shape == (3, 800, 800)


@pytest.mark.parametrize(
    ("stage", "terms"),
    [
        ("segmentation", "fg_ce nan, fg_difference nan"),
        ("fusion", "alpha nan, sparsity nan"),
        ("joint", "alpha nan, sparsity nan"),
    ],
)
def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_terms(
    data: Path, tmp_path: Path, stage: str, terms: str
) -> None:
    network = toy_network()
    with torch.no_grad():
        network.fg.side0.conv3.bias.fill_(float("nan"))
    save_network(tmp_path / "nan.safetensors", network)
    run = settings(data, tmp_path / "run", stage=stage, weights=tmp_path / "nan.safetensors")
    with pytest.raises(TrainingError, match=f"not finite at step 0: {terms}"):
        train(run)
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_augmentation_keeps_single_precision_under_autocast(data: Path) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def forward(network: MattingNetwork, image: Tensor) -> MattingOutput:
        seen.append((image, image))
        return network.branches(image)

    stage = replace(STAGES["segmentation"], forward=forward)
    module = Training(
        toy_network(), stage, settings(data, data, recipe=Recipe(rotation=30)), Horizon(2, 1)
    )
    module.log = module.log_dict = lambda *_, **__: None
    torch.manual_seed(0)
    batch = {
        "pixels": torch.randint(0, 256, (2, 7, 64, 64), dtype=torch.uint8),
        "aspect": torch.ones(2),
    }
    losses = [module.training_step(batch, 0)]
    with torch.autocast("cpu", torch.bfloat16):
        losses.append(module.training_step(batch, 0))
    assert torch.equal(seen[0][0], seen[1][0])
    assert losses[1].dtype == torch.float32
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.05)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"input_size": (64, 100)}, DataError, "100 is not a multiple of 32 .* use 96"),
        ({"input_size": (32, 64)}, DataError, "32 is not a multiple of 32 from 64 up; use 64"),
        ({"stage": "classifier"}, TrainingError, "use one of segmentation, fusion, joint"),
        ({"preset": "big"}, TrainingError, "'big' is unknown; use one of lite"),
        ({"epochs": 0}, TrainingError, "epochs is 0; use 1 or more"),
        ({"max_lr": -1.0}, TrainingError, "max_lr is -1.0; use a number above 0"),
        ({"stage": "fusion", "weights": None}, TrainingError, "best.safetensors of a segmentation"),
        ({"resume": True}, TrainingError, "nothing to resume: .*last.ckpt does not exist"),
        ({"weights": Path("absent.safetensors")}, WeightsError, "absent.safetensors: no such file"),
        (
            {"window": (33, 64)},
            DataError,
            "window side 33 is not an even number .*; use 32",
        ),
        (
            {"window": (64, 66)},
            DataError,
            "window side 66 is not an even number .*; use 32",
        ),
        ({"data": [Path("absent")]}, DataError, "absent: does not exist"),
        ({"cutouts": [Path("absent")]}, DataError, "absent: does not exist"),
        (
            {"cutouts": [Path("absent")], "backgrounds": ()},
            TrainingError,
            "cut-outs have no background of their own; pass --backgrounds",
        ),
        ({"cutout_portion": 0.0}, TrainingError, "portion 0.0 is not between 0 and 1; use 0.2"),
        ({"cutout_portion": 1.0}, TrainingError, "portion 1.0 is not between 0 and 1; use 0.2"),
        ({"passes": 0.0}, TrainingError, "passes is 0.0; use a number above 0, for example 1"),
        ({"canvas": 0}, TrainingError, "canvas is 0; use 1 or more"),
        ({"accumulate": 0}, TrainingError, "accumulate is 0; use 1 or more"),
        ({"compile": True, "recompute": True}, TrainingError, "exclude each other; leave one"),
    ],
)
def test_wrong_settings_are_named(
    data: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        train(settings(data, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_photo_is_named_in_one_line(data: Path, tmp_path: Path, workers: int) -> None:
    shutil.copytree(data / "train", tmp_path / "broken")
    broken = min((tmp_path / "broken").glob("*.jpg"))
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(DataError) as caught:
        train(settings(data, tmp_path / "run", data=[tmp_path / "broken"], workers=workers))
    assert str(caught.value).startswith(str(broken.with_suffix("")))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_run_is_not_overwritten_nor_resumed_as_another(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(settings(data, out))
    kept = (out / "last.ckpt").read_bytes()
    with pytest.raises(TrainingError, match="holds a run already; pass --resume or another"):
        train(settings(data, out))
    with pytest.raises(TrainingError, match="with stage segmentation, not joint"):
        train(settings(data, out, stage="joint", epochs=2, resume=True))
    with pytest.raises(TrainingError, match="has 1 epochs already; pass --epochs above 1"):
        train(settings(data, out, resume=True))
    assert (out / "last.ckpt").read_bytes() == kept


@pytest.mark.slow
def test_torchrun_goes_on_with_its_own_runs_only(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts refused processes again, too."""
    out = tmp_path / "run"
    train(settings(data, out))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(TrainingError, match="holds a run already; pass --resume or another"):
        train(settings(data, out, epochs=2))


@pytest.mark.slow
def test_a_full_disk_leaves_the_state_before(data: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    out = tmp_path / "run"
    train(settings(data, out, validation=()))
    kept = (out / "last.ckpt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) - 1000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"last\.ckpt cannot be written: File too large"):
            train(settings(data, out, validation=(), epochs=2, resume=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (out / "last.ckpt").read_bytes() == kept
    assert not list(out.glob(".*"))


def test_the_order_depends_on_pairs_batch_and_seed_but_not_on_the_folder(
    data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data / "train", tmp_path / "elsewhere")
    shutil.copytree(data / "train", tmp_path / "fewer")
    for half in ("00.jpg", "00.png"):
        (tmp_path / "fewer" / half).unlink()

    def digest(**changes: Any) -> str:
        changed = settings(data, tmp_path / "run", **changes)
        return order_digest(changed, loaders(changed)[0])

    assert digest(data=[tmp_path / "elsewhere"]) == digest()
    assert digest(resident=True) == digest()
    others = [digest(data=[tmp_path / "fewer"]), digest(seed=1), digest(batch_size=3)]
    cut = digest(cutouts=[data / "cutouts"])
    assert len({digest(), *others, digest(backgrounds=()), digest(passes=2), cut}) == 7


def test_a_new_run_starts_from_a_pretrained_encoder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_pretrained(encoder: Any, path: Path | None) -> None:
        encoder.convs[0].bias.data.fill_(3.0 if path is None else 4.0)

    spec = ENCODERS["toy"]._replace(load_pretrained=load_pretrained, packaged=True)
    monkeypatch.setitem(ENCODERS, "toy", spec)
    fresh = settings(data, tmp_path, weights=None)
    assert (start_network(fresh).encoder.convs[0].bias == 3).all()
    given = replace(fresh, encoder_weights=tmp_path)
    assert (start_network(given).encoder.convs[0].bias == 4).all()
    assert start_network(given).config == TOY == PRESETS["toy"]


def test_the_rate_warms_up_and_comes_down_at_the_horizon() -> None:
    optimizer, schedule = adamw_cosine(toy_network(), STAGES["joint"], Horizon(25, 4), 1e-3)
    rates = rates_of(optimizer, schedule, 100)
    assert rates[0][1] == pytest.approx(1e-3 / 3)
    assert rates[2][1] == pytest.approx(1e-3)
    assert rates[-1][1] == pytest.approx(1e-5, rel=0.1)
    assert all(encoder == pytest.approx(rest / 4) for encoder, rest, *_ in rates)


def test_the_papers_rate_is_a_triangle_of_two_epochs_up_and_two_down() -> None:
    stage = STAGES["joint"]
    optimizer, schedule = sgd_cyclical(toy_network(), stage, Horizon(10, 7), 1e-3)
    rates = [rate for rate, *_ in rates_of(optimizer, schedule, 70)]
    assert rates[0] == rates[40] == pytest.approx(5e-4)
    assert rates[20] == rates[60] == pytest.approx(1e-3)
    assert rates[10] == pytest.approx(7.5e-4)


def rates_of(optimizer: Any, schedule: Any, steps: int) -> list[list[float]]:
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return rates


def test_the_papers_penalty_is_on_kernels_by_their_size() -> None:
    network = toy_network()
    optimizer, _ = sgd_cyclical(network, STAGES["fusion"], Horizon(10, 4), 1e-3)
    decay = {id(g["params"][0]): g["weight_decay"] for g in optimizer.param_groups}
    kernel = network.fusion.convs[0].weight
    assert decay[id(kernel)] == pytest.approx(0.02 / kernel.numel())
    assert decay[id(network.fusion.convs[0].bias)] == 0
    assert decay[id(network.fusion.norms[0].weight)] == 0
    assert len(decay) == len(list(network.fusion.parameters()))


def test_only_the_papers_network_trains_as_in_the_paper() -> None:
    assert optimization("densenet201").make is sgd_cyclical
    assert (
        optimization("efficientnet-lite0").make is optimization("mobilenetv2").make is adamw_cosine
    )


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(out: Path) -> list[dict[str, str]]:
    return [{name: row[name] for name in row if name != "seconds"} for row in rows(out)]


def test_a_run_keeps_a_row_of_metrics_for_each_epoch(data: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"horizon": 3, "stage": "segmentation"}
    recorder = Recorder()
    train(settings(data, tmp_path / "once", epochs=3, **common), [recorder])
    train(settings(data, tmp_path / "twice", epochs=1, **common))
    train(settings(data, tmp_path / "twice", epochs=3, resume=True, **common))
    assert without_seconds(tmp_path / "once") == without_seconds(tmp_path / "twice")
    first, *_, last = rows(tmp_path / "once")
    assert [*first][:5] == ["epoch", "step", "loss", "fg_ce", "fg_difference"]
    assert [*first][-4:] == ["val_mad", "val_iou", "learning_rate", "seconds"]
    assert [row["epoch"] for row in rows(tmp_path / "once")] == ["1", "2", "3"]
    assert [first["step"], last["step"]] == ["2", "6"]
    assert float(first["loss"]) == pytest.approx(sum(recorder.losses[:2]) / 2, rel=1e-5)
    terms = sum(float(first[name]) for name in first if name.startswith(("fg_", "bg_")))
    assert float(first["loss"]) == pytest.approx(terms, rel=1e-4)
    assert 0 < float(last["learning_rate"]) < 5e-3
    notes = read_notes(tmp_path / "once" / "last.safetensors")
    assert float(last["val_mad"]) == pytest.approx(float(notes["val_mad"]), abs=1e-5)


def test_an_epoch_that_runs_again_replaces_its_row(data: Path, tmp_path: Path) -> None:
    """A run may be killed between its row and its state, and validate another time only."""
    out = tmp_path / "run"
    train(settings(data, out, validation=()))
    record = Record(settings(data, out))
    for epoch in ("2", "3", "2"):
        record.add({"epoch": epoch, "step": "4", "val_mad": "0.5"})
    found = rows(out)
    assert [row["epoch"] for row in found] == ["1", "2"]
    assert [row["val_mad"] for row in found] == ["", "0.5"]


def test_the_settings_of_a_run_repeat_it(data: Path, tmp_path: Path) -> None:
    first = settings(
        data,
        tmp_path / "first",
        seed=7,
        max_lr=None,
        passes=2,
        cutouts=[data / "cutouts"],
        cutout_portion=0.4,
        recipe=Recipe(rotation=3.0, crop_scale=(0.4, 0.6)),
    )
    train(first)
    values = read_settings(tmp_path / "first" / "settings.yaml")
    assert values["max_lr"] == STAGES["segmentation"].max_lr
    assert values["recipe"] == first.recipe
    again = Settings(**{**values, "out": tmp_path / "again"}, progress=False)
    unlike = {name for name in vars(first) if getattr(again, name) != getattr(first, name)}
    assert unlike == {"out", "max_lr", "horizon"}
    train(again)
    for name in ("best", "last"):
        one, two = (tmp_path / run / f"{name}.safetensors" for run in ("first", "again"))
        assert_same(load_file(one), load_file(two))
    train(replace(again, out=tmp_path / "other", seed=8))
    other = load_file(tmp_path / "other" / "last.safetensors")
    assert any(not torch.equal(other[name], value) for name, value in load_file(one).items())


def test_a_refused_resume_leaves_the_settings(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(settings(data, out))
    kept = (out / "settings.yaml").read_bytes()
    with pytest.raises(TrainingError, match="with stage segmentation, not joint"):
        train(settings(data, out, stage="joint", epochs=2, resume=True))
    assert (out / "settings.yaml").read_bytes() == kept


def test_epochs_are_counted_from_one_in_the_bar_too(data: Path, tmp_path: Path) -> None:
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            bar = trainer.progress_bar_callback
            assert isinstance(bar, Bar)
            assert bar.train_progress_bar_id is not None
            description = bar.progress.tasks[bar.train_progress_bar_id].description
            seen.append((description, *bar.get_metrics(trainer, trainer.lightning_module)))

    train(settings(data, tmp_path / "run", epochs=2, validation=(), progress=True), [Watch()])
    shown = [tuple(dict.fromkeys(line)) for line in dict.fromkeys(seen)]
    assert shown == [("epoch 1/2", "train/loss"), ("epoch 2/2", "train/loss")]


def test_masks_of_labels_are_trained_on_with_a_word(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "train", tmp_path / "labelled")
    for path in (tmp_path / "labelled").glob("*.png"):
        alpha = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), (alpha > 127).astype(np.uint8))
    with pytest.warns(LabelsWarning, match="labelled: masks with 0 and the label 1"):
        train(settings(data, tmp_path / "run", data=[tmp_path / "labelled"]))


def test_a_run_starts_from_the_packaged_weights(data: Path, tmp_path: Path) -> None:
    run = settings(data, tmp_path, stage="joint", weights=Path("lite"), preset=None)
    check_settings(run)
    assert start_network(run).config == PRESETS["lite"]


@pytest.mark.parametrize("validation", ["dev", None])
def test_the_weights_of_each_epoch_are_kept_on_request(
    data: Path, tmp_path: Path, validation: str | None
) -> None:
    """The averaged ones, which change nothing in the run."""
    checks = [data / validation] if validation else []
    train(settings(data, tmp_path / "plain", epochs=3, validation=checks))
    train(settings(data, tmp_path / "kept", epochs=3, validation=checks, keep_epochs=True))
    kept = {path.name: load_file(path) for path in (tmp_path / "kept").glob("*.safetensors")}
    epochs = [f"epoch-0{number}.safetensors" for number in (1, 2, 3)]
    assert sorted(kept) == ["best.safetensors", *epochs, "last.safetensors"]
    assert_same(kept[epochs[2]], kept["last.safetensors"])
    assert_same(kept[epochs[2]], load_file(tmp_path / "plain" / "last.safetensors"))
    name = "fg.deconv5.conv.weight"
    assert not torch.equal(kept[epochs[0]][name], kept[epochs[1]][name])
    steps = [read_notes(tmp_path / "kept" / epoch)["step"] for epoch in epochs]
    assert steps == ["2", "4", "6"]
    assert list((tmp_path / "plain").glob("epoch-*")) == []
