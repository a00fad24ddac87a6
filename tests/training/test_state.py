"""A run is resumed from a whole state, and from nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latefusion.errors import TrainingError
from latefusion.training.run import train
from latefusion.training.settings import Settings
from tests.helpers.toy_network import add_toy_preset, write_toy_backgrounds, write_toy_pairs
from tests.model.test_checkpoint import Trap

State = dict[str, Any]


@pytest.fixture(autouse=True)
def toy_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    add_toy_preset(monkeypatch)


def settings(folder: Path, out: Path, epochs: int, resume: bool = False) -> Settings:
    return Settings(
        stage="segmentation",
        data=[folder / "train"],
        backgrounds=[folder / "backgrounds"],
        out=out,
        preset="toy",
        input_size=(64, 64),
        canvas=64,
        batch_size=4,
        epochs=epochs,
        horizon=2,
        resume=resume,
        progress=False,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, backgrounds, and a run of one epoch."""
    folder = tmp_path_factory.mktemp("state")
    write_toy_pairs(folder / "train", 5, seed=0)
    write_toy_backgrounds(folder / "backgrounds", 2)
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        train(settings(folder, folder / "run", epochs=1))
    return folder


def resumed(data: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    out = tmp_path / "run"
    shutil.copytree(data / "run", out)
    change(out / "last.ckpt")
    train(settings(data, out, epochs=2, resume=True))


def assert_refused(data: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    with pytest.raises(TrainingError, match=r"last\.ckpt cannot be resumed from: ") as caught:
        resumed(data, tmp_path, change)
    assert "\n" not in str(caught.value)
    assert "restore a whole copy of it" in str(caught.value)


def test_a_whole_state_is_resumed_from(data: Path, tmp_path: Path) -> None:
    resumed(data, tmp_path, lambda path: None)
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "1", "2"]


@pytest.mark.parametrize("length", [0, 1, 300, -1, -3000])
def test_a_cut_state_is_refused(data: Path, tmp_path: Path, length: int) -> None:
    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:length])

    assert_refused(data, tmp_path, cut)


def test_a_state_with_code_is_refused_and_runs_none(data: Path, tmp_path: Path) -> None:
    def add_trap(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        torch.save(state | {"more": Trap(tmp_path / "sprung")}, path)

    assert_refused(data, tmp_path, add_trap)
    assert not (tmp_path / "sprung").exists()


def first(state: dict[Any, Any]) -> Any:
    return next(iter(state))


CHANGES: dict[str, Callable[[State], object]] = {
    "epoch": lambda state: state.update(epoch="0"),
    "global_step": lambda state: state.pop("global_step"),
    "version": lambda state: state.update({"pytorch-lightning_version": "../x"}),
    "no version": lambda state: state.pop("pytorch-lightning_version"),
    "weights": lambda state: state.update(state_dict=[1]),
    "no tensor": lambda state: state["state_dict"].update({first(state["state_dict"]): 3}),
    "a shape": lambda state: state["state_dict"].update(
        {first(state["state_dict"]): torch.zeros(1, 7)}
    ),
    "a name": lambda state: state["state_dict"].pop(first(state["state_dict"])),
    "averages": lambda state: state["current_model_state"].clear(),
    "no averages": lambda state: state.pop("averaging_state"),
    "loops": lambda state: state.update(loops={"fit_loop": 3}),
    "a loop": lambda state: state["loops"]["fit_loop"].clear(),
    "best": lambda state: state["callbacks"]["SaveWeights"].update(best="low"),
    "optimizers": lambda state: state.update(optimizer_states={}),
    "groups": lambda state: state["optimizer_states"][0]["param_groups"].pop(),
    "moments": lambda state: state["optimizer_states"][0]["state"][0].update(
        exp_avg=torch.zeros(3, 3, 9)
    ),
    "schedule": lambda state: state.update(lr_schedulers="none"),
    "run": lambda state: state.update(run={"stage": ["segmentation"]}),
    "launch": lambda state: state.update(launch=3),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_state_whose_values_do_not_fit_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    def change(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        CHANGES[name](state)
        torch.save(state, path)

    assert_refused(data, tmp_path, change)


def test_a_state_that_names_other_files_deletes_none(data: Path, tmp_path: Path) -> None:
    """Lightning's ModelCheckpoint removes what its state names as the checkpoint before."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"photo")

    def change(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        (name,) = (name for name in state["callbacks"] if name.startswith("ModelCheckpoint"))
        here = str(path.parent)
        state["callbacks"][name].update(dirpath=here, best_model_path=f"{here}/../mine")
        torch.save(state, path)

    resumed(data, tmp_path, change)
    assert (tmp_path / "mine" / "photo.jpg").read_bytes() == b"photo"
