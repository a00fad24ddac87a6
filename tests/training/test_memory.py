"""The memory of a step is known before it runs, for any network, stage and size."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latefusion.model.matting import MattingNetwork, NetworkConfig
from latefusion.training.memory import MARGIN, Alive, Need, is_out_of_memory, step_need
from latefusion.training.settings import Settings
from latefusion.training.stages import STAGES
from tests.helpers.toy_network import TOY

pytestmark = pytest.mark.usefixtures("toy_preset")

RUN = Settings("joint", [], Path(), input_size=(64, 96))
PARTS: dict[str, int | tuple[int, ...]] = {"blocks": (2, 1, 2, 1), "growth": 4}
SMALL = NetworkConfig("densenet201", 16, (32, 16, 16, 8, 32), PARTS)


def picture(config: NetworkConfig, stage: str = "joint", **changes: object) -> int:
    return step_need(config, STAGES[stage], replace(RUN, **changes)).picture  # type: ignore[arg-type]


def test_tensors_count_as_long_as_they_live() -> None:
    with Alive() as alive:
        first = torch.empty(1000, dtype=torch.float32, device="meta")
        assert (alive.bytes, alive.peak) == (4000, 4000)
        view = first[10:].view(-1, 10)
        assert alive.bytes == 4000
        second = first.double()
        assert (alive.bytes, alive.peak) == (12000, 12000)
        del first
        assert alive.bytes == 12000  # the view holds it
        del second, view
    assert (alive.bytes, alive.peak) == (0, 12000)


def test_what_backward_keeps_is_in_the_estimate() -> None:
    """ReLU keeps its result, and the gradients of both are alive together: three maps and more."""
    x = torch.empty(1000, device="meta", requires_grad=True)
    with Alive() as alive:
        y = torch.relu(x)
        z = torch.relu(y * y)
        del y
        assert alive.bytes == 2 * 4000
        z.sum().backward()
    assert 3 * 4000 < alive.peak < 6 * 4000
    assert x.grad is not None


@pytest.mark.parametrize("config", [TOY, SMALL], ids=["toy", "densenet"])
def test_a_picture_takes_memory_by_its_area(config: NetworkConfig) -> None:
    least, most = (picture(config, input_size=size) for size in ((64, 96), (192, 320)))
    assert most == pytest.approx(10 * least, rel=0.1)


def test_joint_takes_more_than_the_stages_before_and_a_window_less() -> None:
    parts = {stage: picture(TOY, stage) for stage in STAGES}
    assert parts["joint"] > parts["segmentation"]
    assert parts["joint"] > parts["fusion"]
    assert picture(TOY, "fusion", window=(32, 32)) < 0.5 * parts["fusion"]
    assert picture(TOY, "joint", window=(32, 32)) < 0.8 * parts["joint"]
    assert picture(TOY, "segmentation", window=(32, 32)) == parts["segmentation"]


@pytest.mark.parametrize("stage", list(STAGES))
def test_computing_again_takes_less(stage: str) -> None:
    assert picture(SMALL, stage, recompute=True) < 0.9 * picture(SMALL, stage)


def test_half_precision_takes_less() -> None:
    whole, half = (step_need(TOY, STAGES["joint"], RUN, bf16=bf16) for bf16 in (False, True))
    assert half.fixed == whole.fixed
    assert 0.5 * whole.picture < half.picture < 0.8 * whole.picture


def test_the_fixed_part_is_weights_averages_gradients_and_what_the_optimizer_keeps() -> None:
    fusion = step_need(TOY, STAGES["fusion"], RUN).fixed
    joint = step_need(TOY, STAGES["joint"], RUN).fixed
    parts = dict(MattingNetwork(TOY).named_children())
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    assert joint - fusion == 3 * 4 * (sum(sizes.values()) - sizes["fusion"])  # AdamW keeps two


def test_pictures_that_fit_are_counted_and_never_none() -> None:
    need = Need(fixed=100, picture=30)
    assert need.of(4) == 220
    assert [need.pictures_in(free) for free in (219, 220, 100, 0)] == [3, 4, 1, 1]
    assert need.least == pytest.approx(100 + 30 / MARGIN)


def test_only_memory_errors_are_taken_for_them() -> None:
    cpu = "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you"
    assert is_out_of_memory(RuntimeError(cpu))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
