"""The options that commands share: how the network looks, where it runs, what comes behind."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from latefusion.cli.terminal import check_size
from latefusion.images.compositing import Background, as_background
from latefusion.inference.outputs import Into
from latefusion.runtime.devices import DEVICES, MOST_THREADS

TRANSPARENT = "transparent"

Behind = Annotated[
    str,
    typer.Option(help="Behind the cut-out: a colour, an image, blur, blur:RADIUS or transparent."),
]
Linear = Annotated[
    bool, typer.Option("--linear", help="Mix subject and background in linear light.")
]
Framing = Annotated[
    str,
    typer.Option(help="auto looks a second time, closer, at a small subject; whole does not."),
]
Tiles = Annotated[
    bool,
    typer.Option(
        "--tiles", help="See the outline of a large photo in its own pixels; takes longer."
    ),
]
Refine = Annotated[
    str,
    typer.Option(help="closed-form solves the outline anew from the photo's colours; or off."),
]
Subject = Annotated[
    str, typer.Option(help="Whom to keep: all, largest, or the one at X,Y in pixels.")
]
FillHoles = Annotated[
    bool, typer.Option("--fill-holes", help="Close small gaps that the subject encloses.")
]
Model = Annotated[
    Path | None, typer.Option(help="An exported .onnx file in place of the built-in network.")
]
Side = Annotated[
    int | None, typer.Option(callback=check_size, help="Longer side of the network's input.")
]
Device = Annotated[str, typer.Option(help=f"Where the network runs: {', '.join(DEVICES)}.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_THREADS, help="Threads on the CPU. Default: one a core."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail where the device is not there.")]
Epsilon = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="The fusion network runs where the branches disagree by that much; before refining,"
        " alpha is then no further than that from the whole network's. 0 runs it everywhere.",
    ),
]
IntoOption = Annotated[
    Into,
    typer.Option(help="With --engine ray: results as files, or in shards of --per-shard photos."),
]
PerShard = Annotated[int, typer.Option(min=1, max=100_000, help="Photos in a shard.")]
Engine = Annotated[
    Literal["local", "ray"], typer.Option(help="Where photos are done: here, or on a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(help="With --engine ray: the cluster's head. Default: one on this machine alone."),
]


class Cluster(NamedTuple):
    """What only `--engine ray` takes: a folder's path or URL, the form of results, the cluster."""

    out: str
    into: Into
    per_shard: int
    address: str | None
    device: str


def parse_background(text: str) -> Background | None:
    """What comes behind a cut-out; None where it stays transparent. Raises ImageError."""
    return None if text == TRANSPARENT else as_background(text)
