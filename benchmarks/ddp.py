"""First training steps of `lite` in one process and in several, and the pairs each one saw.

    python benchmarks/ddp.py DATA [--steps 20] [--processes 2] [--size 128,128] [--batch 8]

DATA is as for `latefusion train --data`. The segmentation stage starts from the packaged ImageNet
encoder and makes two passes over the pairs that fill half of the steps, plus three left-over pairs,
on the schedule of a whole run. It runs in one process, in one process on one thread, and in several
processes that torchrun starts. All see the same global batches, so the losses differ by rounding
only; the run on one thread shows how large that is. Images per second exclude the first step and
the decoding of photos.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import pytorch_lightning as pl

from latefusion.cli.terminal import parse_size
from latefusion.data.sources import read_pairs
from latefusion.training.run import Settings, train

LEFT_OVER = 3  # pairs an epoch that fill no batch
SCHEDULE = 2535  # steps: 15 epochs of 2,716 pairs in batches of 16, as docs/training.md has it


@dataclass
class Watch(pl.Callback):
    """A record of one process: loss and seconds of each step, keys of each epoch."""

    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    keys: list[list[str]] = field(default_factory=list)
    started: float = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.keys.append([])

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.started = perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, _: int
    ) -> None:
        self.seconds.append(perf_counter() - self.started)
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        self.keys[-1] += batch["key"]

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        seen = {"losses": self.losses, "seconds": self.seconds, "keys": self.keys}
        out = Path(trainer.loggers[0].save_dir or "")
        (out / f"rank-{trainer.global_rank}.json").write_text(json.dumps(seen))


def main() -> None:
    args = arguments()
    if args.into:
        run(args)
        return
    words = [__file__, *sys.argv[1:], "--into"]
    with TemporaryDirectory() as folder:
        one, thread, several = (Path(folder) / name for name in ("one", "thread", "several"))
        exclude = Path(folder) / "exclude.txt"
        pairs = read_pairs([args.data])
        wanted = args.steps // 2 * args.batch + LEFT_OVER
        exclude.write_text("\n".join(pair.key for pair in pairs[wanted:]))
        subprocess.run([sys.executable, *words, str(one)], check=True)
        on_one = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *words, str(thread)], check=True, env=on_one)
        torchrun = ["-m", "torch.distributed.run", "--standalone"]
        each = [f"--nproc-per-node={args.processes}", *words, str(several)]
        subprocess.run([sys.executable, *torchrun, *each], check=True)
        runs = {"1 process": one, "1 thread": thread, f"{args.processes} processes": several}
        compare({name: seen_by(run) for name, run in runs.items()}, args.batch)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--size", type=parse_size, default=(128, 128), metavar="H,W")
    parser.add_argument("--batch", type=int, default=8, help="of all processes together")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # the folder of one run
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Train, in each of the processes."""
    settings = Settings(
        "segmentation",
        [args.data],
        args.into,
        exclude=args.into.with_name("exclude.txt"),
        input_size=args.size,
        batch_size=args.batch,
        epochs=2,
        horizon=SCHEDULE * 2 // args.steps,
        progress=False,
    )
    train(settings, [Watch()])


def seen_by(folder: Path) -> list[dict[str, Any]]:
    """Records of a run's processes, by rank."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]


def compare(runs: dict[str, list[dict[str, Any]]], batch: int) -> None:
    """Print the losses side by side, the largest differences, the counts and the rates."""
    losses = [processes[0]["losses"] for processes in runs.values()]
    print("step" + "".join(f"{name:>14}" for name in runs))
    for step, values in enumerate(zip(*losses, strict=True)):
        print(f"{step:4}" + "".join(f"{value:14.7f}" for value in values))
    for name, other in zip(runs, losses, strict=True):
        largest = max(abs(a - b) for a, b in zip(losses[0], other, strict=True))
        print(f"{name}: largest difference from the first {largest:.1e}")
    for name, processes in runs.items():
        slowest = max(sum(process["seconds"][1:]) for process in processes)
        print(f"{name}: {batch * (len(losses[0]) - 1) / slowest:.1f} pictures/s")
        for epoch in range(2):
            own = [len(process["keys"][epoch]) for process in processes]
            times = Counter(key for process in processes for key in process["keys"][epoch])
            count = f"{len(times)} pairs, none more than {max(times.values())} time"
            print(f"{name}, epoch {epoch + 1}: pictures of each process {own}; {count}")


if __name__ == "__main__":
    main()
