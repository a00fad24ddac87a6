"""Memory of a training step: what is estimated beforehand, and what a process really takes.

    python benchmarks/train_memory.py --table [--size 640,960]
    python benchmarks/train_memory.py [--preset lite densenet201] [--size 160,256] [--batch 2]

`--table` prints the estimates as docs/training.md has them: GiB for each picture at a time, and how
many fit a GPU. Without it each row is a process that takes two steps on random pictures, plain and
with --recompute. `measured` is its peak (VmHWM, on a GPU max_memory_allocated) above that of the
imports; `tensors` is the estimate without its margin, which must cover the ratio.
"""

import argparse
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from time import perf_counter

import torch

from latefusion.cli.terminal import parse_size
from latefusion.errors import LatefusionError
from latefusion.images.framing import check_side
from latefusion.model.matting import PRESETS, MattingNetwork
from latefusion.training.memory import BF16, MARGIN, Need, step_need
from latefusion.training.module import Training
from latefusion.training.optimizers import Horizon
from latefusion.training.run import quiet_lightning
from latefusion.training.settings import Settings
from latefusion.training.stages import STAGES

GIB = 2**30
GPU = torch.cuda.is_available()
GPUS = (8, 12, 16, 24, 40, 80)  # GiB
USABLE = 0.92  # of a GPU's memory, beside CUDA's own


def main() -> None:
    args = arguments()
    if args.probe:
        preset, stage, again = args.probe
        print(json.dumps(peak(preset, settings_of(args, stage, again == "True"), args.batch)))
    elif args.table:
        print_table(args)
    else:
        print_measured(args)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", nargs="+", default=["lite", "densenet201"], choices=PRESETS)
    parser.add_argument("--stage", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--size", type=parse_size, metavar="H,W")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--probe", nargs=3, help=argparse.SUPPRESS)  # preset, stage, recompute
    args = parser.parse_args()
    args.size = args.size or ((640, 960) if args.table else (160, 256))
    try:
        args.size = check_side(args.size[0]), check_side(args.size[1])
    except LatefusionError as error:
        parser.error(str(error))
    return args


def settings_of(args: argparse.Namespace, stage: str, again: bool) -> Settings:
    return Settings(stage, [], Path(), input_size=args.size, batch_size=args.batch, recompute=again)


def print_table(args: argparse.Namespace) -> None:
    heads = (f"{memory} GiB" for memory in GPUS)
    print("| preset | stage | | GiB a picture | besides |", " | ".join(heads), "|")
    print("| --- " * (5 + len(GPUS)) + "|")
    for preset, stage, again in product(args.preset, args.stage, (False, True)):
        need = step_need(PRESETS[preset], STAGES[stage], settings_of(args, stage, again))
        for how, share in (("float32", 1.0), ("bf16", BF16)):
            row = Need(need.fixed, round(need.picture * share))
            fits = (str(pictures(row, memory)) for memory in GPUS)
            figures = f"{row.picture / GIB:.1f} | {row.fixed / GIB:.1f}"
            with_again = f"{how}, --recompute" if again else how
            print(f"| {preset} | {stage} | {with_again} | {figures} |", " | ".join(fits), "|")


def pictures(need: Need, memory: int) -> int | str:
    """How many pictures at a time fit a GPU with so many GiB; a dash for none."""
    free = round(USABLE * memory * GIB)
    return need.pictures_in(free) if need.of(1) <= free else "-"


def print_measured(args: argparse.Namespace) -> None:
    print("| preset | stage | recompute | measured MiB | tensors MiB | ratio | seconds |")
    print("| --- " * 7 + "|")
    for preset, stage, again in product(args.preset, args.stage, (False, True)):
        need = step_need(PRESETS[preset], STAGES[stage], settings_of(args, stage, again), GPU)
        words = ["--probe", preset, stage, str(again)]
        size = ["--size", ",".join(map(str, args.size)), "--batch", str(args.batch)]
        done = subprocess.run(
            [sys.executable, __file__, *words, *size], check=True, capture_output=True, text=True
        )
        measured, seconds = json.loads(done.stdout.splitlines()[-1])
        tensors = need.fixed + args.batch * need.picture / MARGIN
        print(
            f"| {preset} | {stage} | {again} | {measured / 2**20:.0f} | {tensors / 2**20:.0f} |"
            f" {measured / tensors:.2f} | {seconds:.1f} |",
            flush=True,
        )


def peak(preset: str, settings: Settings, batch: int) -> tuple[int, float]:
    """The bytes that two steps take at most, above the imports, and the second one's seconds."""
    device = "cuda" if GPU else "cpu"
    before = 0 if GPU else resident()
    network = MattingNetwork(PRESETS[preset])
    with quiet_lightning():
        module = Training(network, STAGES[settings.stage], settings, Horizon(1000, 1)).to(device)
    average = [value.clone() for value in module.state_dict().values()]  # as training keeps it
    optimizer = module.configure_optimizers()["optimizer"]
    started = 0.0
    for _ in range(2):
        started = perf_counter()
        image = torch.rand(batch, 3, *settings.input_size, device=device) * 255
        alpha = torch.rand(batch, 1, *settings.input_size, device=device)
        image = image.contiguous(memory_format=module.layout)
        with torch.autocast(device, torch.bfloat16, enabled=GPU):
            output = module.run(module.network, image)
        terms = module.stage.loss(output, alpha)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        del output, terms
        optimizer.step()
    del average
    taken = torch.cuda.max_memory_allocated() if GPU else resident() - before
    return taken, perf_counter() - started


def resident() -> int:
    """The most memory that this process has had, in bytes; ru_maxrss would count its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
