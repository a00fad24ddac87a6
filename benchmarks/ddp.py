"""The first steps of `lite` in one process and in several, side by side, and who saw which pair.

    python benchmarks/ddp.py DATA [--steps 20] [--processes 2] [--size 128,128] [--batch 8]

DATA is what `latefusion train --data` takes. The segmentation stage, from the packaged ImageNet
encoder, goes twice over as many pairs as fill half of the steps, and three that are left over:
once in this machine's one process, once in several that torchrun starts. Both see the same global
batches, so the losses should differ by rounding only. Pictures a second are those of the steps,
without the first one and without the decoding of photos.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import pytorch_lightning as pl

from latefusion.data.sources import read_pairs
from latefusion.terminal import parse_size
from latefusion.train import Settings, train

LEFT_OVER = 3  # pairs an epoch that fill no batch


@dataclass
class Watch(pl.Callback):
    """What a process sees: the loss and the seconds of each step, the keys of each epoch."""

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
        one, several = Path(folder) / "one", Path(folder) / "several"
        exclude = Path(folder) / "exclude.txt"
        pairs = read_pairs([args.data])
        wanted = args.steps // 2 * args.batch + LEFT_OVER
        exclude.write_text("\n".join(pair.key for pair in pairs[wanted:]))
        subprocess.run([sys.executable, *words, str(one)], check=True)
        torchrun = ["-m", "torch.distributed.run", "--standalone"]
        each = [f"--nproc-per-node={args.processes}", *words, str(several)]
        subprocess.run([sys.executable, *torchrun, *each], check=True)
        compare(seen_by(one), seen_by(several), args.batch)


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
    """The training itself, in each of the processes."""
    settings = Settings(
        "segmentation",
        [args.data],
        args.into,
        exclude=args.into.with_name("exclude.txt"),
        input_size=args.size,
        batch_size=args.batch,
        epochs=2,
        progress=False,
    )
    train(settings, [Watch()])


def seen_by(folder: Path) -> list[dict[str, Any]]:
    """What each process of a run saw, by rank."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]


def compare(one: list[dict[str, Any]], several: list[dict[str, Any]], batch: int) -> None:
    """Print the losses side by side, the largest difference, the counts and the rates."""
    losses = list(zip(one[0]["losses"], several[0]["losses"], strict=True))
    print(f"{'step':>4} {'1 process':>12} {f'{len(several)} processes':>12} difference")
    for step, (a, b) in enumerate(losses):
        print(f"{step:4} {a:12.7f} {b:12.7f} {b - a:10.1e}")
    print(f"largest difference {max(abs(a - b) for a, b in losses):.1e}")
    for name, processes in (("1 process", one), (f"{len(several)} processes", several)):
        for epoch in range(2):
            own = [len(process["keys"][epoch]) for process in processes]
            times = Counter(key for process in processes for key in process["keys"][epoch])
            seen = f"{len(times)} pairs, each at most {max(times.values())} time"
            print(f"{name}, epoch {epoch + 1}: {own} pictures a process; {seen}")
        slowest = max(sum(process["seconds"][1:]) for process in processes)
        print(f"{name}: {batch * (len(losses) - 1) / slowest:.1f} pictures/s")
    same = [
        set(one[0]["keys"][epoch]) == {key for process in several for key in process["keys"][epoch]}
        for epoch in range(2)
    ]
    print(f"the same pairs in both: {all(same)}")


if __name__ == "__main__":
    main()
