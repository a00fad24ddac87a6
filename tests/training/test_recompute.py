"""Gradient checkpointing changes the memory of a step and nothing that it computes."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from latefusion.model.matting import MattingNetwork, NetworkConfig
from latefusion.training.recompute import SEGMENTS, recompute, still_norms
from latefusion.training.stages import STAGES
from tests.helpers.toy_network import perturb_norms

SMALL: dict[str, dict[str, int | tuple[int, ...]]] = {
    "densenet201": {"blocks": (2, 1, 2, 1), "growth": 4}
}


def network_of(encoder: str) -> MattingNetwork:
    torch.manual_seed(0)
    network = MattingNetwork(NetworkConfig(encoder, 8, (4, 5, 4, 3, 4), SMALL.get(encoder, {})))
    perturb_norms(network)
    return network


def step(network: MattingNetwork, stage: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, the gradients and all weights and statistics after a step."""
    torch.manual_seed(1)
    image, alpha = torch.rand(2, 3, 64, 96) * 255, torch.rand(2, 1, 64, 96)
    of_stage = STAGES[stage]
    for name, part in network.named_children():
        part.requires_grad_(name in of_stage.trains).train(name in of_stage.moves_norm)
    output = of_stage.forward(network, image)
    loss = torch.stack(list(of_stage.loss(output, alpha).values())).sum()
    loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return loss.detach(), {**gradients, **{f"{k}.": v for k, v in network.named_buffers()}}


@pytest.mark.parametrize("stage", list(STAGES))
@pytest.mark.parametrize("encoder", ["densenet201", "mobilenetv2"])
def test_loss_gradients_and_statistics_are_the_same(encoder: str, stage: str) -> None:
    plain = network_of(encoder)
    again = deepcopy(plain)
    recompute(again)
    loss, values = step(plain, stage)
    loss_again, values_again = step(again, stage)
    assert torch.equal(loss, loss_again)
    assert values.keys() == values_again.keys()
    for name, value in values.items():
        torch.testing.assert_close(values_again[name], value, rtol=0, atol=0, msg=name)


def test_statistics_move_once() -> None:
    network = network_of("densenet201")
    recompute(network)
    step(network, "segmentation")
    counts = {
        name: int(count)
        for name, count in network.named_buffers()
        if name.endswith("num_batches_tracked") and not name.startswith("fusion")
    }
    assert set(counts.values()) == {1}
    momenta = {part.momentum for part in network.modules() if hasattr(part, "momentum")}
    assert momenta == {0.1}


@pytest.mark.parametrize("norm", [torch.nn.BatchNorm2d(2), torch.nn.SyncBatchNorm(2)])
def test_norms_of_one_gpu_and_of_several_are_still_in_a_repetition(norm: torch.nn.Module) -> None:
    count = norm.num_batches_tracked
    with still_norms(torch.nn.Sequential(norm)):
        assert norm.momentum == 0
        assert norm.num_batches_tracked is not count
    assert norm.momentum == 0.1
    assert norm.num_batches_tracked is count


def test_names_of_weights_stay() -> None:
    network = network_of("mobilenetv2")
    names = [*network.state_dict()]
    recompute(network)
    assert [*network.state_dict()] == names
    assert [*deepcopy(network).state_dict()] == names


def test_every_encoder_has_segments() -> None:
    for encoder in ("densenet201", "mobilenetv2", "efficientnet-lite0"):
        kinds = {type(part) for part in network_of(encoder).encoder.modules()}
        assert kinds & SEGMENTS.keys(), encoder
