"""Time of one training step of a preset on this machine, and an estimate for a whole training.

    python benchmarks/paper_step.py [--preset densenet201] [--side 256] [--pairs 2716]

A step is forward and backward of one stage on one random image, without the first step. The days
are for the paper's number of epochs of each stage, at this size and scaled to 512.
"""

import argparse
import resource
import time

import torch

from latefusion.model.complexity import gmac_per_part
from latefusion.model.matting import PRESETS, MattingNetwork
from latefusion.training.stages import STAGES, Stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="densenet201", choices=PRESETS)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=2716)
    parser.add_argument("--steps", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(0)
    network = MattingNetwork(PRESETS[args.preset])
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    gmac = sum(gmac_per_part(network).values())
    print(f"{args.preset}: {gmac:.0f} GMAC at 512 x 512, {torch.get_num_threads()} threads")
    days = 0.0
    for name, stage in STAGES.items():
        for part, module in network.named_children():
            module.requires_grad_(part in stage.trains)
        seconds = [step(network, stage, args.side) for _ in range(args.steps + 1)][1:]
        mean = sum(seconds) / len(seconds)
        days += mean * args.pairs * stage.epochs / 86400
        print(f"{name}: {mean:.1f} s a picture of {args.side} x {args.side}, {stage.epochs} epochs")
    larger = days * (512 / args.side) ** 2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{args.pairs} pairs: {days:.1f} days at {args.side}, {larger:.1f} at 512; "
        f"{peak:.1f} GiB at most"
    )


def step(network: MattingNetwork, stage: Stage, side: int) -> float:
    image = torch.rand(1, 3, side, side) * 255
    image = image.contiguous(memory_format=torch.channels_last)
    alpha = torch.rand(1, 1, side, side)
    started = time.perf_counter()
    network.zero_grad()
    terms = stage.loss(stage.forward(network, image), alpha)
    torch.stack(list(terms.values())).sum().backward()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
