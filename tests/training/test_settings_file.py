"""Settings of others are read as plain values, or refused in one line."""

import os
from pathlib import Path

import pytest

from latefusion.errors import TrainingError
from latefusion.model.checkpoint import save_network
from latefusion.training.callbacks import rows_of
from latefusion.training.settings import Settings, check_settings
from latefusion.training.settings_file import read_settings
from tests.helpers.toy_network import add_toy_preset, toy_network

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        f"seed: {'[' * 10**4}",
        "stage: [joint, joint]\n",
        "data: [1, 2]\n",
        "data: {a: b}\n",
        "out: 3\n",
        'out: "a\\0b"\n',
        "seed: .inf\n",
        "epochs: true\n",
        "max_lr: .nan\n",
        f"max_lr: {10**400}\n",
        "ema_decay: [0.5]\n",
        "input_size: 64\n",
        "recipe: [1]\n",
        "recipe: {shift: .inf}\n",
        "recipe: {1: 2}\n",
        "? [1, 2]\n: 3\n",
        "2024-99-99: 3\n",
        "resident: 1\n",
        "preset: !!python/object/apply:os.getcwd []\n",
    ],
)
def test_settings_of_other_types_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"mine\.yaml: ") as caught:
        read_settings(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800


def test_a_pipe_holds_no_settings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.yaml")
    with pytest.raises(TrainingError, match=r"mine\.yaml: cannot be read as settings"):
        read_settings(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    "data",
    [
        b"epoch,step\nmany,3\n",
        b"step\n3\n",
        b"epoch,step\n1\n",
        b"epoch,step\n1,2,3\n",
        b"epoch,step\n1,\xff\n",
        b'epoch,step\n1,"2\n',
        b"epoch,step\n1," + b"9" * 200_000 + b"\n",
    ],
)
def test_damaged_metrics_are_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(data)
    with pytest.raises(TrainingError, match=r"metrics\.csv.*move (it|the file) away"):
        rows_of(tmp_path / "metrics.csv")


def test_weights_of_an_unknown_stage_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_toy_preset(monkeypatch)
    save_network(tmp_path / "a.safetensors", toy_network(), stage="matting")
    wanted = Settings("fusion", [tmp_path], tmp_path / "out", weights=tmp_path / "a.safetensors")
    with pytest.raises(TrainingError, match=r"a\.safetensors: stage 'matting' is unknown"):
        check_settings(wanted)
