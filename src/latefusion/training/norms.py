"""Batch norm over the pictures of all processes, for the parts whose statistics a stage moves."""

import torch
from torch import Tensor, nn

from latefusion.training.distributed import count, mean_over_processes


def synchronise(part: nn.Module) -> None:
    """Let the batch norms inside see the pictures of all processes; names and values stay."""
    if torch.cuda.is_available():
        nn.SyncBatchNorm.convert_sync_batchnorm(part)
        return
    for module in part.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SyncedNorm  # the same parameters and statistics


class SyncedNorm(nn.BatchNorm2d):
    """Batch norm over all processes on a CPU, where torch's SyncBatchNorm refuses to run.

    The test that two CPU processes learn what one does needs it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        var, mean = var.double(), mean.double()  # for the difference of squares below
        mean, square = mean_over_processes(torch.stack([mean, var + mean.square()]))
        var = square - mean.square()
        self.follow(mean.detach(), var.detach(), x.numel() // x.shape[1] * count())
        scale = self.weight * (var + self.eps).rsqrt().to(x.dtype)
        centred = x - mean.to(x.dtype).view(-1, 1, 1)
        return torch.addcmul(self.bias.view(-1, 1, 1), centred, scale.view(-1, 1, 1))

    def follow(self, mean: Tensor, var: Tensor, values: int) -> None:
        """Move the running statistics; of the variance the unbiased one, as torch has it."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        unbiased = var * values / (values - 1)
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)
