"""Batch norm over the pictures of all processes, for the parts whose statistics a stage moves."""

import torch
from torch import Tensor, nn

from latefusion.processes import count, mean_over_processes


class SyncedNorm(nn.SyncBatchNorm):
    """torch's own, which knows GPUs only, with the same arithmetic for CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda or not self.training:
            return super().forward(x)
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        var, mean = var.double(), mean.double()  # the difference of two large squares comes
        mean, square = mean_over_processes(torch.stack([mean, var + mean.square()]))
        var = square - mean.square()
        self.follow(mean.detach(), var.detach(), x.numel() // x.shape[1] * count())
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        scale, shift = (values.to(x.dtype).view(-1, 1, 1) for values in (scale, shift))
        return torch.addcmul(shift, x, scale)

    def follow(self, mean: Tensor, var: Tensor, values: int) -> None:
        """Move the running statistics; of the variance the unbiased one, as torch has it."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        unbiased = var * values / (values - 1)
        self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)


def synchronise(module: nn.Module) -> None:
    """Swap the batch norms inside for synchronised ones of the same values and names."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, synced(child))
        else:
            synchronise(child)


def synced(norm: nn.BatchNorm2d) -> SyncedNorm:
    """A synchronised norm on the very parameters and statistics of a plain one."""
    made = SyncedNorm(norm.num_features, norm.eps, norm.momentum)
    made.weight, made.bias = norm.weight, norm.bias
    made.running_mean, made.running_var = norm.running_mean, norm.running_var
    made.num_batches_tracked = norm.num_batches_tracked
    return made.train(norm.training)
