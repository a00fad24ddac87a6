"""The commands for people who deploy: export, parity, info, import-keras."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from latefusion.cli.terminal import check_size, extra_packages, parse_size, progress_bar, working
from latefusion.errors import LatefusionError
from latefusion.images.framing import Size, check_side

deployment = typer.Typer()


@deployment.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Weights of a run (.safetensors).")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The file to write: .onnx, or .pb for tensorflow.")
    ],
    target: Annotated[
        Literal["lazy", "onnx", "opencv", "tensorflow"] | None,
        typer.Option(
            help="lazy for latefusion itself, in two files; onnx for any program with ONNX Runtime,"
            " opencv for OpenCV 4.6 and newer. Default: lazy, or onnx where that cannot be: for one"
            " size, or before the fusion network is trained."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="H,W|dynamic",
            help="What the network takes. Default: dynamic for lazy and onnx, else a square of"
            " --side.",
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(
            callback=check_size,
            help="Longer side photos are brought to by default, else the training's.",
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store kernels in half precision: half the file.")
    ] = False,
    card: Annotated[
        Path | None, typer.Option(help="JSON of training, figures and terms for the sidecar.")
    ] = None,
) -> None:
    """Export a checkpoint with its sidecar, tried in its runtime against PyTorch first."""
    fixed = _parse_network_size(size, target)
    if half and target == "tensorflow":
        raise typer.BadParameter("--half is for .onnx files; leave it off")
    with extra_packages("train"):
        from latefusion.export.files import Wish, default_target, read_card
        from latefusion.export.files import export as write
    target = target or default_target(checkpoint, fixed)
    wish = Wish(target, fixed, side, half, read_card(card) if card else None)
    with working(f"Exporting and trying {out}"):
        written = write(checkpoint, out, wish)
    typer.echo(written)


def _parse_network_size(text: str | None, target: str | None) -> Size | None:
    """'H,W' as two multiples of 32, and None for dynamic. Raises typer.BadParameter."""
    if text is None:
        return None
    if text == "dynamic":
        if target in ("opencv", "tensorflow"):
            raise typer.BadParameter(f"{target} needs a fixed size; give --size H,W")
        return None
    if target == "lazy":
        raise typer.BadParameter("lazy files take any size; give --target onnx, or --side")
    height, width = parse_size(text)
    try:
        return check_side(height), check_side(width)
    except LatefusionError as error:
        raise typer.BadParameter(str(error)) from None


@deployment.command()
def parity(
    model: Annotated[Path, typer.Argument(help="An exported .onnx or .pb file.")],
    photos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PHOTO]...", help="Photos of your own beside the golden ones."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="What it was exported from; found by itself if it has the same name."),
    ] = None,
    cpp: Annotated[
        list[Path] | None,
        typer.Option(metavar="BUILD", help="The folder where cpp/ was built; repeatable."),
    ] = None,
) -> None:
    """Compare the alpha of every runtime on golden pictures, from file to matte.

    The exit code is 1 where two are more than 1/255 apart anywhere, or 0.1/255 on average.
    """
    from latefusion.export.parity import certificate, compare, ways
    from latefusion.inference.golden import write_pictures

    with extra_packages("train"):
        runtimes = ways(model, checkpoint, cpp or ())
    if len(runtimes) < 2:
        raise LatefusionError(
            f"only {', '.join(runtimes)} can run {model} here; give --checkpoint or --cpp"
        )
    with TemporaryDirectory(prefix="latefusion-") as folder:
        pictures = [*write_pictures(Path(folder)), *(photos or ())]
        with progress_bar(len(pictures)) as progress:
            pairs = compare(runtimes, progress.track(pictures, description="Comparing"))
    typer.echo("\n".join(certificate(pairs)))
    if not all(pair.holds for pair in pairs):
        raise typer.Exit(1)


@deployment.command()
def quantize(
    model: Annotated[Path, typer.Argument(help="An exported file for lazy fusion (.onnx).")],
    data: Annotated[
        list[Path], typer.Option(help="Pairs to calibrate and measure on: lists, folders, shards.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write (.onnx).")],
) -> None:
    """Make an INT8 export, kept only if it is faster here and loses next to nothing.

    Mean MAD may grow by 0.002, that of any photo by 0.01; otherwise nothing is written.
    """
    with extra_packages("train"):
        from latefusion.data.sources import VAL_LIST, read_pairs
        from latefusion.export.quantize import quantize as make
    with working(f"Quantising {model} and trying it"):
        found = make(model, read_pairs(data, VAL_LIST), out)
    typer.echo(out)
    typer.echo(
        f"MAD {found.mad:.4f}, in INT8 {found.mad_int8:.4f}; {found.worst} worsens most, by"
        f" {found.worst_growth:.4f}; {found.speed:.2f} times as fast"
    )


@deployment.command()
def info(
    what: Annotated[
        str,
        typer.Argument(metavar="FILE|PRESET", help=".onnx, .pb, .safetensors, lite, densenet201."),
    ],
) -> None:
    """Print what a file or preset is: size, parts, parameters, GMAC, training, terms, checksum."""
    with extra_packages("train"):
        from latefusion.export.info import describe

        facts = describe(what)
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:{width}}  {value}")


@deployment.command()
def import_keras(
    source: Annotated[Path, typer.Argument(metavar="IN.h5", help="Keras weights, either layout.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
) -> None:
    """Convert Keras weights of the paper's network."""
    with extra_packages("train"):
        from latefusion.export.keras_weights import import_keras as convert
    convert(source, out)
    typer.echo(out)
