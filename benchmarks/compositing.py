"""Two short training runs, with and without compositing of subjects on other backgrounds.

    python benchmarks/compositing.py DATA OUT

Segmentation stage from the ImageNet encoder, one epoch, views of 160 x 128, same seed and order.
DATA holds train-*.tar, background-*.tar and dev.tar. Compare OUT/with and OUT/without through
`latefusion export` and benchmarks/ablation.py.
"""

import sys
from pathlib import Path

from latefusion.data.augment import Recipe
from latefusion.training.run import Settings, train


def main() -> None:
    data, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    listed = Path(__file__).with_name("exclude.txt").read_text().splitlines(keepends=True)
    exclude = out / "exclude.txt"  # without the keys of cut-outs, which take no part
    exclude.write_text("".join(line for line in listed if not line.startswith(("strand-", "cut-"))))
    for name, share in (("with", 0.4), ("without", 0.0)):
        settings = Settings(
            stage="segmentation",
            data=sorted(data.glob("train-*.tar")),
            out=out / name,
            backgrounds=sorted(data.glob("background-*.tar")),
            validation=[data / "dev.tar"],
            exclude=exclude,
            input_size=(160, 128),
            epochs=1,
            ema_decay=0.98,
            recipe=Recipe(composite=share),
        )
        train(settings)


if __name__ == "__main__":
    main()
