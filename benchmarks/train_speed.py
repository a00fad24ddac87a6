"""Training speed: images per second of each stage, plain and with PyTorch's speed-ups.

    python benchmarks/train_speed.py [--preset lite] [--size 256,256] [--batch 4] [--steps 4]

A step is the package's own, from canvases in memory to new weights: augmentation, forward, the
stage's loss, backward, clipping, optimiser and schedule, without reading files or averaging
weights. In every round each variant takes `--steps` steps on the same views. The figures are
medians over `--rounds`, after a warm-up that includes compilation. Network and loss are compiled; a
variant that computes the same has nearly the same loss. Peak memory is that of a process in which
one variant runs alone. It runs on a GPU if there is one.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from latefusion.cli.terminal import parse_size
from latefusion.data.dataset import Sample
from latefusion.model.matting import PRESETS, MattingNetwork, MattingOutput
from latefusion.training.module import Training
from latefusion.training.optimizers import Horizon
from latefusion.training.run import quiet_lightning
from latefusion.training.settings import Settings, check_settings
from latefusion.training.stages import STAGES, Stage

Step: TypeAlias = Callable[[int], float]  # seed of the views -> loss
Row: TypeAlias = dict[str, Any]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CLIP = 5.0  # as in latefusion.training.run
WARM_UP = 2  # steps


@dataclass(frozen=True)
class Variant:
    """Changes that a variant makes to the step."""

    channels_last: bool = True
    bf16: bool = False
    compiled: bool = False


PLAIN = "plain"
VARIANTS = {
    PLAIN: Variant(channels_last=False),
    "channels_last": Variant(),
    "channels_last + bf16": Variant(bf16=True),
    "channels_last + bf16 + compile": Variant(bf16=True, compiled=True),
}


def main() -> None:
    args = arguments()
    settings = Settings(
        "segmentation", [], Path(), preset=args.preset, input_size=args.size, batch_size=args.batch
    )
    check_settings(settings)
    with quiet_lightning():
        if args.probe:
            stage, variant = args.probe
            print(json.dumps(peak_mb(replace(settings, stage=stage), VARIANTS[variant])))
            return
        rows = []
        for stage in args.stage:
            wanted = [PLAIN, *(name for name in args.variant if name != PLAIN)]
            rows += stage_rows(replace(settings, stage=stage), wanted, args.rounds, args.steps)
    print(f"{conditions(args)}\n\n{markdown(rows)}")
    if args.json:
        args.json.write_text(json.dumps({"conditions": conditions(args), "rows": rows}, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="lite", choices=PRESETS)
    parser.add_argument("--size", type=parse_size, default=(256, 256), metavar="H,W")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4, help="of each variant in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stage", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--variant", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--probe", nargs=2, help=argparse.SUPPRESS)  # stage, variant
    return parser.parse_args()


def stage_rows(settings: Settings, wanted: list[str], rounds: int, count: int) -> list[Row]:
    """Measure a stage's variants: throughput here in turns, memory in a process for each."""
    torch.compiler.reset()  # what it compiled for the stage before
    rows: dict[str, Row] = {}
    steps = {name: make_step(settings, VARIANTS[name]) for name in wanted}
    for name in wanted:
        started = perf_counter()
        reason = warm_up(steps[name], VARIANTS[name])
        rows[name] = {"stage": settings.stage, "variant": name, "reason": reason}
        rows[name]["warm_up_s"] = perf_counter() - started
        if reason:
            del steps[name]
    rates, losses = in_turns(steps, rounds, count, settings.batch_size)
    for name in steps:
        rate = median(rates[name])
        ratio = median(a / b for a, b in zip(rates[name], rates[PLAIN], strict=True))
        rows[name] |= {"pictures_per_s": rate, "to_plain": ratio, "loss": losses[name]}
        rows[name]["peak_mb"] = in_a_process(settings.stage, name)
    return list(rows.values())


def make_step(settings: Settings, variant: Variant) -> Step:
    """Make a function for one training step, with its own network, optimiser and canvases."""
    torch.manual_seed(0)
    network = MattingNetwork(PRESETS[settings.preset or "lite"])
    stage = varied(STAGES[settings.stage], variant)
    module = Training(network, stage, settings, Horizon(1000, 1)).to(DEVICE)
    network.to(memory_format=memory_format(variant))  # type: ignore[call-overload]
    chosen = module.configure_optimizers()
    optimizer, schedule = chosen["optimizer"], chosen["lr_scheduler"]["scheduler"]
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    batch = canvases(settings.batch_size, settings.canvas_side)

    def step(seed: int) -> float:
        module.settings = replace(settings, seed=seed)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=variant.bf16):
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(weights, CLIP)
        optimizer.step()
        schedule.step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return float(loss)

    return step


def varied(stage: Stage, variant: Variant) -> Stage:
    """The stage with its forward and its loss as the variant runs them."""
    layout = memory_format(variant)

    def forward(network: MattingNetwork, image: Tensor) -> MattingOutput:
        return stage.forward(network, image.contiguous(memory_format=layout))

    if not variant.compiled:
        return replace(stage, forward=forward)
    return replace(stage, forward=torch.compile(forward), loss=torch.compile(stage.loss))


def memory_format(variant: Variant) -> torch.memory_format:
    return torch.channels_last if variant.channels_last else torch.contiguous_format


def canvases(count: int, side: int) -> Sample:
    """A batch as the loader gives it: blurred noise, its subject a soft-edged ellipse."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(count, 9, side // 16, side // 16, generator=generator)
    photo, fg, behind = (F.interpolate(noise, side, mode="bicubic").clamp(0, 1) * 255).split(3, 1)
    across = torch.linspace(-1, 1, side)
    radius = (across.square() * 2 + across.unsqueeze(1).square()).sqrt()
    alpha = ((0.8 - radius) * 8).sigmoid().expand(count, 1, -1, -1) * 255
    return {
        "pixels": torch.cat([photo, alpha, fg], dim=1).byte().to(DEVICE),
        "aspect": torch.full((count,), 0.75, device=DEVICE),
        "background": behind.byte().to(DEVICE),
    }


def warm_up(step: Step, variant: Variant) -> str | None:
    """Run the first steps; returns a message if the variant cannot be compiled here."""
    try:
        for seed in range(WARM_UP):
            step(seed)
    except (RuntimeError, AssertionError, OSError) as error:  # whatever the compiler may raise
        if not variant.compiled:
            raise
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return None


def in_turns(
    steps: dict[str, Step], rounds: int, count: int, pictures: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Images per second of each step function in each round, and its last loss."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    losses = {}
    for seed in range(0, rounds * count, count):
        for name, step in steps.items():
            started = perf_counter()
            for offset in range(count):
                losses[name] = step(WARM_UP + seed + offset)
            rates[name].append(pictures * count / (perf_counter() - started))
    return rates, losses


def in_a_process(stage: str, variant: str) -> float:
    """Peak memory in MB of a variant in its own process."""
    words = [sys.executable, __file__, *sys.argv[1:], "--probe", stage, variant]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def peak_mb(settings: Settings, variant: Variant) -> float:
    """Peak memory of a step: on the GPU, or of this process in addition to the imports."""
    before = resident_mb("VmRSS")
    step = make_step(settings, variant)
    warm_up(step, variant)
    forget_peak()  # the compiler's
    step(WARM_UP)
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resident_mb("VmHWM") - before


def forget_peak() -> None:
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def resident_mb(field: str) -> float:
    """Memory of this process in MB: VmRSS is the current one, VmHWM the peak."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def conditions(args: argparse.Namespace) -> str:
    """A description of the machine and the software behind the figures."""
    threads, capability = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    device = f"{threads} threads, {capability}"
    if DEVICE == "cuda":
        device = torch.cuda.get_device_name()
    height, width = args.size
    return (
        f"{args.preset}, {args.batch} pictures of {height} x {width} a step, {args.rounds} rounds"
        f" of {args.steps} steps; PyTorch {torch.__version__}, {device}"
    )


def markdown(rows: list[Row]) -> str:
    lines = [
        "| stage | variant | pictures/s | x plain | peak MB | warm-up s | loss |",
        "| --- " * 7 + "|",
    ]
    for row in rows:
        cells = f"| {row['stage']} | {row['variant']} |"
        if row["reason"]:
            lines.append(f"{cells} not possible here: {row['reason'].replace('|', '/')} | | | | |")
            continue
        lines.append(
            f"{cells} {row['pictures_per_s']:.2f} | {row['to_plain']:.2f} |"
            f" {row['peak_mb']:.0f} | {row['warm_up_s']:.1f} | {row['loss']:.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
