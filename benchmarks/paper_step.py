"""What one training step of a preset costs on this machine, and so what a whole training would.

    python benchmarks/paper_step.py [--preset densenet201] [--side 256] [--pairs 2716]

One step of the joint stage on one random picture, forward and backward, the first one left out;
the days are for the paper's 26 epochs (15 + 4 + 7), at this size and in proportion at 512.
"""

import argparse
import resource
import time

import torch

from latefusion.complexity import gmac_per_part
from latefusion.losses import joint_loss
from latefusion.model.matting import PRESETS, MattingNetwork

EPOCHS = 15 + 4 + 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="densenet201", choices=PRESETS)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=2716)
    parser.add_argument("--steps", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(0)
    network = MattingNetwork(PRESETS[args.preset]).to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, args.side, args.side) * 255
    image = image.contiguous(memory_format=torch.channels_last)
    alpha = torch.rand(1, 1, args.side, args.side)
    seconds = [step(network, image, alpha) for _ in range(args.steps + 1)][1:]
    mean = sum(seconds) / len(seconds)
    gmac = sum(gmac_per_part(network).values())
    days = mean * args.pairs * EPOCHS / 86400
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{args.preset}: {gmac:.0f} GMAC at 512 x 512, {torch.get_num_threads()} threads")
    print(f"one picture of {args.side} x {args.side}: {mean:.1f} s a step, {peak:.1f} GiB at most")
    print(
        f"{EPOCHS} epochs of {args.pairs} pairs: {days:.0f} days at {args.side}, "
        f"{days * (512 / args.side) ** 2:.0f} days at 512"
    )


def step(network: MattingNetwork, image: torch.Tensor, alpha: torch.Tensor) -> float:
    started = time.perf_counter()
    network.zero_grad()
    terms = joint_loss(network(image), alpha)
    torch.stack(list(terms.values())).sum().backward()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
