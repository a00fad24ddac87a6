"""Two short runs that differ in one thing: whether subjects are put on other backgrounds.

    python benchmarks/compositing.py DATA OUT

Segmentation stage from the ImageNet encoder, one epoch, views of 160 x 128, same seed and order.
DATA as for train_lite.py. Compare OUT/with and OUT/without through `latefusion export` and
benchmarks/ablation.py.
"""

import sys
from dataclasses import replace
from pathlib import Path

from train_lite import common_settings

from latefusion.data.augment import Recipe
from latefusion.training.run import train


def main() -> None:
    data, out = map(Path, sys.argv[1:])
    short = replace(common_settings(data, out), input_size=(160, 128), epochs=1, ema_decay=0.98)
    for name, share in (("with", 0.4), ("without", 0.0)):
        train(replace(short, out=out / name, recipe=Recipe(composite=share)))


if __name__ == "__main__":
    main()
