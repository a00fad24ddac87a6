"""The training losses, equations (4) to (10) of the paper, as pure functions of named terms.

Every function takes (B, 1, H, W) tensors in [0, 1], prediction first, and gives scalars. The paper
sums over pixels; the authors' code, followed here, takes means, so that weights do not depend on
the crop size. A pixel is in transition where 0.05 < alpha < 0.95 (code; the paper: 0 < alpha < 1).
The mean of what several processes find, each on its share of a batch, is the loss of the batch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from latefusion.model.matting import MattingOutput
from latefusion.training.distributed import mean_over_processes

TRANSITION = (0.05, 0.95)
CLIP = 1e-7  # probabilities inside the logarithms of CE, as Keras clips them
Terms = dict[str, Tensor]


def in_transition(alpha: Tensor) -> Tensor:
    """True where alpha is soft."""
    low, high = TRANSITION
    return (alpha > low) & (alpha < high)


def difference_loss(pred: Tensor, alpha: Tensor) -> Tensor:
    """L_d, eq. 4: |F - a| in the transition, (F - a)^2 where a is 0 or 1."""
    error = pred - alpha
    return torch.where(in_transition(alpha), error.abs(), error.square()).mean()


def gradient_loss(pred: Tensor, alpha: Tensor) -> Tensor:
    """L_g, eq. 5: |dx F - dx a| + |dy F - dy a|, forward differences."""
    error = pred - alpha
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def cross_entropy(pred: Tensor, alpha: Tensor) -> Tensor:
    """CE, eq. 6: w BCE(F, a_hat); a_hat is 1 in foreground and transition, w is 0.5 in transition.

    With the L1 of eq. 4 it is smallest at F = max(a, 1/2) in the transition, so that F bounds alpha
    from above, and the background branch's 1 - B = min(a, 1/2) from below.
    """
    target = (alpha > TRANSITION[0]).to(pred.dtype)
    weight = torch.where(in_transition(alpha), 0.5, 1.0)
    sure = pred.clamp(CLIP, 1 - CLIP)  # torch's own BCE throws on nan, before a run can name it
    entropy = -(target * sure.log() + (1 - target) * (1 - sure).log())
    return (weight * entropy).mean()


def weighted_alpha_loss(pred: Tensor, alpha: Tensor) -> Tensor:
    """L_u, eq. 8: sum w |a_pred - a| / sum w, w = 1 in the transition and 0.1 elsewhere."""
    weight = torch.where(in_transition(alpha), 1.0, 0.1)
    return (weight * (pred - alpha).abs()).sum() / mean_over_processes(weight.sum())


def sparsity_loss(pred: Tensor) -> Tensor:
    """L_s, eq. 10: a^0.9 + (1 - a)^0.9, in [1, 2^0.1 = 1.07177], smallest where alpha is 0 or 1.

    The code's 1e-5 inside the powers, kept here, bounds the slope and moves the range to
    [1.00004, 1.07180].
    """
    return ((pred + 1e-5).pow(0.9) + (1 - pred + 1e-5).pow(0.9)).mean()


def branch_terms(name: str, outputs: Sequence[Tensor], alpha: Tensor, weight: float = 1.0) -> Terms:
    """CE and L_d of a branch, each summed over its four outputs (deep supervision, weight 1)."""
    return {
        f"{name}_ce": weight * sum_over(cross_entropy, outputs, alpha),
        f"{name}_difference": weight * sum_over(difference_loss, outputs, alpha),
    }


def sum_over(
    loss: Callable[[Tensor, Tensor], Tensor], outputs: Sequence[Tensor], alpha: Tensor
) -> Tensor:
    """The loss of each output against the same alpha, added up."""
    return torch.stack([loss(pred, alpha) for pred in outputs]).sum()


def segmentation_loss(output: MattingOutput, alpha: Tensor) -> Terms:
    """L_F + L_B, eq. 7: CE, L_d and L_g of both branches on all four outputs; B aims at 1 - a."""
    fg, bg = (output.fg, *output.fg_scales), (output.bg, *output.bg_scales)
    return {
        **branch_terms("fg", fg, alpha),
        "fg_gradient": sum_over(gradient_loss, fg, alpha),
        **branch_terms("bg", bg, 1 - alpha),
        "bg_gradient": sum_over(gradient_loss, bg, 1 - alpha),
    }


def fusion_loss(output: MattingOutput, alpha: Tensor) -> Terms:
    """L_u + 0.01 L_s + L_g(alpha): the code's fusion stage (the paper has no L_g here).

    `alpha` is that of the whole picture, also where the output's alpha shows a window of it.
    """
    if output.window:
        alpha = output.window.of(alpha)
    return {
        "alpha": weighted_alpha_loss(output.alpha, alpha),
        "sparsity": 0.01 * sparsity_loss(output.alpha),
        "gradient": gradient_loss(output.alpha, alpha),
    }


def joint_loss(output: MattingOutput, alpha: Tensor) -> Terms:
    """Eq. 9 as the code has it: the fusion loss + 0.5 sum over the eight outputs of (CE + L_d).

    The paper's eq. 9 keeps L_g inside L_F and L_B; the code, followed here, puts it on alpha only.
    """
    return {
        **fusion_loss(output, alpha),
        **branch_terms("fg", (output.fg, *output.fg_scales), alpha, weight=0.5),
        **branch_terms("bg", (output.bg, *output.bg_scales), 1 - alpha, weight=0.5),
    }
