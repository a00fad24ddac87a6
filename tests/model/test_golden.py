"""The network against tensors that the authors' Keras graph gave for the same random weights."""

import runpy
from pathlib import Path

import pytest
import torch

from latefusion.model.matting import PRESETS, MattingNetwork

GOLDEN = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "golden.py"))
FEATURES = ["r1", "r2", "r3", "r4", "bottleneck"]
PREDICTIONS = ["fg", "bg", "alpha", "blend", "fg_2", "fg_4", "fg_8", "bg_2", "bg_4", "bg_8"]


@pytest.fixture(scope="module")
def float32() -> dict[str, float]:
    return dict(GOLDEN["differences"](torch.float32))


@pytest.fixture(scope="module")
def float64() -> dict[str, float]:
    return dict(GOLDEN["differences"](torch.float64))


def test_every_tensor_of_the_fixture_is_compared(float64: dict[str, float]) -> None:
    assert sorted(float64) == sorted(FEATURES + PREDICTIONS)


@pytest.mark.parametrize("name", FEATURES + PREDICTIONS)
def test_the_network_agrees_with_keras(name: str, float64: dict[str, float]) -> None:
    assert float64[name] <= 1e-5


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_agree_with_keras_in_float32(name: str, float32: dict[str, float]) -> None:
    assert float32[name] <= 2e-6


@pytest.mark.parametrize("name", FEATURES)
def test_features_agree_with_keras_in_float32(name: str, float32: dict[str, float]) -> None:
    # Values up to 10 and sums in a processor's own order: rounding reaches 1e-5 here on its own.
    assert float32[name] <= 2e-5


@pytest.mark.slow
def test_the_table_prints_every_tensor(capsys: pytest.CaptureFixture[str]) -> None:
    GOLDEN["main"]()
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in FEATURES + PREDICTIONS)


def test_densenet201_has_the_papers_size() -> None:
    with torch.device("meta"):
        network = MattingNetwork(PRESETS["densenet201"])
    state = network.state_dict()
    sizes = {k: v.numel() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    parts = {
        part: sum(size for key, size in sizes.items() if key.startswith(f"{part}."))
        for part in ("encoder", "fg", "bg", "fusion")
    }
    assert parts == {
        "encoder": 18_321_984,
        "fg": 9_015_684,
        "bg": 9_015_684,
        "fusion": 1_556_801,
    }
    assert sum(sizes.values()) == 37_910_153
    # 1,004 of the encoder, 47 of each decoder, 38 of the fusion, by the list of Keras' layer names.
    # (The published 1,124 leaves out kernel and bias of the six auxiliary 1x1 heads, whose 774
    # values the published 37,910,153 contains.)
    assert len(sizes) == 1_136
