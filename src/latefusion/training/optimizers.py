"""The optimiser and learning-rate schedule of each preset: the paper's, and the one for `lite`."""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, LRScheduler

from latefusion.model.matting import MattingNetwork
from latefusion.training.stages import Stage

WARM_UP = 0.03  # of all steps
ENCODER_SHARE = 0.25  # the pretrained encoder's rate relative to the rest
HALF_CYCLE_EPOCHS = 2


class Horizon(NamedTuple):
    """The length of a stage's schedule: steps an epoch, and epochs."""

    steps: int
    epochs: int


Recipe = tuple[Optimizer, LRScheduler]


def adamw_cosine(network: MattingNetwork, stage: Stage, horizon: Horizon, rate: float) -> Recipe:
    """AdamW with warm-up and a cosine to 1 % of `rate` at the horizon; the encoder at a quarter."""
    total = horizon.steps * horizon.epochs
    warm = max(1, round(total * WARM_UP))

    def share(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        done = min(1.0, (step - warm) / max(1, total - warm))
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))

    groups = [
        {
            "params": list(getattr(network, part).parameters()),
            "lr": rate * (ENCODER_SHARE if part == "encoder" else 1),
        }
        for part in stage.trains
    ]
    optimizer = AdamW(groups, weight_decay=1e-4)
    return optimizer, LambdaLR(optimizer, share)


def sgd_cyclical(network: MattingNetwork, stage: Stage, horizon: Horizon, rate: float) -> Recipe:
    """The paper's: SGD with momentum 0.9, a triangular rate with a half-cycle of two epochs.

    The code's L2 penalty 0.01 / size * |w|^2 of each convolution kernel has the slope
    0.02 / size * w, which is what weight decay adds.
    """
    groups = []
    for part in stage.trains:
        for module in getattr(network, part).modules():
            for name, parameter in module.named_parameters(recurse=False):
                kernel = isinstance(module, nn.Conv2d) and name == "weight"
                decay = 0.02 / parameter.numel() if kernel else 0.0
                groups.append({"params": [parameter], "weight_decay": decay})
    base, peak = stage.cycle
    base = base * rate / peak
    optimizer = SGD(groups, lr=base, momentum=0.9)
    half = HALF_CYCLE_EPOCHS * horizon.steps
    return optimizer, CyclicLR(optimizer, base, rate, step_size_up=half, cycle_momentum=False)


class Optimization(NamedTuple):
    """`make(network, stage, horizon, peak rate)`, and the stage's own peak rate.

    `states` is how many values the optimiser keeps for each parameter.
    """

    make: Callable[[MattingNetwork, Stage, Horizon, float], Recipe]
    peak: Callable[[Stage], float]
    states: int


ADAMW = Optimization(adamw_cosine, lambda stage: stage.max_lr, states=2)
PAPER = Optimization(sgd_cyclical, lambda stage: stage.cycle[1], states=1)


def optimization(encoder: str) -> Optimization:
    """The paper's network trains as in the paper, any other with what measured best for `lite`."""
    return PAPER if encoder == "densenet201" else ADAMW
