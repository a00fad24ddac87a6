"""The losses against cases worked out by hand, and the bounds that the method rests on."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latefusion.model.matting import MattingOutput, Window
from latefusion.training.losses import (
    Terms,
    branch_terms,
    cross_entropy,
    difference_loss,
    fusion_loss,
    gradient_loss,
    in_transition,
    joint_loss,
    segmentation_loss,
    sparsity_loss,
    weighted_alpha_loss,
)

StageLoss = Callable[[MattingOutput, Tensor], Terms]


def plane(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).view(1, 1, len(rows), -1)


def output(seed: int = 0) -> MattingOutput:
    torch.manual_seed(seed)
    return made_of([torch.rand(2, 1, 4, 6).mul(0.98).add(0.01).requires_grad_() for _ in range(10)])


def made_of(planes: list[Tensor]) -> MattingOutput:
    alpha, fg, bg, blend, a, b, c, d, e, f = planes
    return MattingOutput(alpha, fg, bg, blend, (a, b, c), (d, e, f))


def total_of(terms: Terms) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def soft_alpha() -> Tensor:
    return plane([0.0, 0.0, 0.3, 0.8, 1.0, 1.0]).expand(2, 1, 4, 6).contiguous()


def test_the_transition_lies_strictly_between_its_limits() -> None:
    alpha = plane([0.0, 0.04, 0.06, 0.5, 0.94, 0.96, 1.0])
    assert in_transition(alpha).flatten().tolist() == [False, False, True, True, True, False, False]


def test_difference_is_absolute_in_the_transition_and_squared_outside() -> None:
    pred, alpha = plane([0.5, 0.7, 0.2]), plane([0.3, 1.0, 0.0])
    assert difference_loss(pred, alpha).item() == pytest.approx((0.2 + 0.09 + 0.04) / 3)


def test_the_gradient_loss_adds_both_directions() -> None:
    pred, alpha = plane([0.0, 0.5], [1.0, 1.0]), plane([0.0, 0.0], [0.0, 0.0])
    across, down = (0.5 + 0.0) / 2, (1.0 + 0.5) / 2
    assert gradient_loss(pred, alpha).item() == pytest.approx(across + down)
    assert gradient_loss(pred + 0.2, pred).item() == pytest.approx(0, abs=1e-6)


def test_cross_entropy_counts_the_transition_as_foreground_at_half_weight() -> None:
    pred, alpha = plane([0.8, 0.6, 0.9]), plane([1.0, 0.2, 0.0])
    expected = -(math.log(0.8) + 0.5 * math.log(0.6) + math.log(1 - 0.9)) / 3
    assert cross_entropy(pred, alpha).item() == pytest.approx(expected)


def test_the_alpha_loss_weighs_the_transition_ten_times() -> None:
    pred, alpha = plane([0.5, 0.5, 0.0]), plane([0.3, 1.0, 0.0])
    expected = (1 * 0.2 + 0.1 * 0.5 + 0.1 * 0.0) / 1.2
    assert weighted_alpha_loss(pred, alpha).item() == pytest.approx(expected)


@pytest.mark.parametrize("a", [0.1, 0.35, 0.5, 0.65, 0.9])
def test_in_the_transition_the_branches_bound_alpha(a: float) -> None:
    grid = torch.linspace(0.001, 0.999, 999)
    upper = [branch_total(pred, a) for pred in grid]
    assert grid[torch.tensor(upper).argmin()].item() == pytest.approx(max(a, 0.5), abs=1e-3)
    lower = [branch_total(pred, 1 - a) for pred in grid]
    assert 1 - grid[torch.tensor(lower).argmin()].item() == pytest.approx(min(a, 0.5), abs=1e-3)


def branch_total(pred: Tensor, target: float) -> float:
    terms = branch_terms("branch", [pred.view(1, 1, 1, 1)], torch.full((1, 1, 1, 1), target))
    return sum(term.item() for term in terms.values())


def test_sparsity_stays_in_its_range_and_is_least_for_a_decided_alpha() -> None:
    levels = torch.linspace(0, 1, 1001, dtype=torch.float64)
    losses = torch.stack([sparsity_loss(level) for level in levels])
    assert losses.min().item() == losses[0].item() == pytest.approx(1.00004, abs=1e-5)
    assert losses.argmax() == 500
    assert 2**0.1 < losses.max().item() < 1.0718


def test_sparsity_is_equation_10() -> None:
    expected = (0.25**0.9 + 0.75**0.9 + 2 * 0.5**0.9) / 2
    assert sparsity_loss(plane([0.25, 0.5])).item() == pytest.approx(expected, abs=3e-5)


@pytest.mark.parametrize("stage_loss", [segmentation_loss, fusion_loss, joint_loss])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_slopes_are_finite_at_the_ends_of_the_range(stage_loss: StageLoss, level: float) -> None:
    planes = [torch.full((1, 1, 4, 6), level, requires_grad=True) for _ in range(10)]
    total_of(stage_loss(made_of(planes), soft_alpha()[:1])).backward()
    assert all(x.grad is None or bool(x.grad.isfinite().all()) for x in planes)


@pytest.mark.parametrize("stage_loss", [segmentation_loss, joint_loss])
def test_all_eight_outputs_are_supervised(stage_loss: StageLoss) -> None:
    made = output()
    total_of(stage_loss(made, soft_alpha())).backward()
    for pred in (made.fg, *made.fg_scales, made.bg, *made.bg_scales):
        assert pred.grad is not None
        assert (pred.grad != 0).all()


def test_the_fusion_stage_looks_at_alpha_only() -> None:
    made, alpha = output(), soft_alpha()
    terms = fusion_loss(made, alpha)
    assert terms["alpha"] == weighted_alpha_loss(made.alpha, alpha)
    assert terms["sparsity"] == 0.01 * sparsity_loss(made.alpha)
    assert terms["gradient"] == gradient_loss(made.alpha, alpha)
    assert len(terms) == 3


def test_segmentation_is_the_plain_sum_of_equation_7_over_the_outputs() -> None:
    made, alpha = output(), soft_alpha()
    losses = (cross_entropy, difference_loss, gradient_loss)
    fg, bg = (made.fg, *made.fg_scales), (made.bg, *made.bg_scales)
    parts = [loss(pred, alpha) for pred in fg for loss in losses]
    parts += [loss(pred, 1 - alpha) for pred in bg for loss in losses]
    torch.testing.assert_close(total_of(segmentation_loss(made, alpha)), torch.stack(parts).sum())


def test_joint_is_the_fusion_loss_and_half_of_the_branches() -> None:
    made, alpha = output(), soft_alpha()
    fg, bg = (made.fg, *made.fg_scales), (made.bg, *made.bg_scales)
    parts = [loss(x, alpha) for x in fg for loss in (cross_entropy, difference_loss)]
    parts += [loss(x, 1 - alpha) for x in bg for loss in (cross_entropy, difference_loss)]
    expected = total_of(fusion_loss(made, alpha)) + 0.5 * torch.stack(parts).sum()
    torch.testing.assert_close(total_of(joint_loss(made, alpha)), expected)


@pytest.mark.parametrize("stage_loss", [fusion_loss, joint_loss])
def test_an_output_of_a_window_is_held_against_the_truth_there(stage_loss: StageLoss) -> None:
    whole, alpha = output(), soft_alpha()
    window = Window(0, 2, 4, 2)
    part = whole._replace(alpha=window.of(whole.alpha), window=window)
    terms = stage_loss(part, alpha)
    expected = fusion_loss(whole._replace(alpha=window.of(whole.alpha)), window.of(alpha))
    branches = {name: term for name, term in stage_loss(whole, alpha).items() if name[:2] in "fgbg"}
    assert terms == {**expected, **branches}
