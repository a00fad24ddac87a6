"""Gradient checkpointing: parts of the network that are computed again in the backward pass."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from latefusion.model.decoder import Decoder
from latefusion.model.encoders.densenet import DenseLayer, Transition
from latefusion.model.encoders.inverted import Block
from latefusion.model.fusion import Fusion
from latefusion.model.matting import MattingNetwork

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)  # neither is the other's subclass

# The methods that are computed again. Of the fusion network, which takes most of the memory, each
# layer is a segment of its own.
SEGMENTS: dict[type[nn.Module], str] = {
    DenseLayer: "forward",
    Transition: "forward",
    Block: "forward",
    Decoder: "forward",
    Fusion: "layer",
}


def recompute(network: MattingNetwork) -> None:
    """Let the segments keep their inputs only; what they compute stays the same to the last bit."""
    for module in network.modules():
        if method := SEGMENTS.get(type(module)):
            again = partial(
                checkpoint,
                getattr(module, method),
                use_reentrant=False,
                preserve_rng_state=False,  # nothing in the network is drawn
                context_fn=partial(twice, module),
            )
            setattr(module, method, again)


def twice(segment: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The contexts of the forward pass and of its repetition, which must not move statistics."""
    return nullcontext(), still_norms(segment)


@contextmanager
def still_norms(segment: nn.Module) -> Iterator[None]:
    """Let batch norms compute as ever, but leave their running statistics and counts."""
    norms = [part for part in segment.modules() if isinstance(part, NORMS)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = deepcopy(norm.num_batches_tracked)
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count
