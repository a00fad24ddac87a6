"""Synchronised batch norms: those of torch, of which a CPU has none."""

import pytest
import torch
from torch import nn

from latefusion.training.norms import SyncedNorm, synchronise
from tests.helpers.toy_network import add_toy_preset, perturb_norms, toy_network


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("mode", ["training", "eval"])
def test_in_one_process_it_is_a_plain_batch_norm(mode: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 8, 6) * 2 + torch.tensor([0.0, 1, -5, 100, 3]).view(-1, 1, 1)
    plain = nn.Sequential(nn.BatchNorm2d(5, eps=1e-3, momentum=0.3))
    perturb_norms(plain)
    other = nn.Sequential(nn.BatchNorm2d(5, eps=1e-3, momentum=0.3))
    other.load_state_dict(plain.state_dict())
    synchronise(other)
    assert isinstance(other[0], SyncedNorm)
    made = []
    for norm in (plain, other):
        given = x.clone().requires_grad_()
        y = norm.train(mode == "training")(given)
        (y * torch.linspace(-1, 2, y.numel()).view_as(y)).sum().backward()
        gradients = [given.grad, *(weight.grad for weight in norm.parameters())]
        made.append([y, *gradients, *norm.state_dict().values()])
    for ours, theirs in zip(made[1], made[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4)


def test_names_and_values_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    add_toy_preset(monkeypatch)
    network = toy_network()
    before = network.state_dict()
    synchronise(network.fusion)
    after = network.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    kinds = {type(norm) for norm in network.fusion.modules() if isinstance(norm, nn.BatchNorm2d)}
    assert kinds == {SyncedNorm}
    assert not any(isinstance(module, SyncedNorm) for module in network.encoder.modules())
