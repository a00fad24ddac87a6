"""The commands for exported files: export, parity, quantize, info, import-keras."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from latefusion.cli.options import packaged_as
from latefusion.cli.streams import print_name
from latefusion.cli.terminal import check_size, extra_packages, parse_size, progress_bar, working
from latefusion.errors import LatefusionError, one_line, shown
from latefusion.images.framing import Size, check_side
from latefusion.inference.options import IN_AND_OUT
from latefusion.runtime.model_file import WRITE_UP

deployment = typer.Typer()

NETWORK = "Network"  # a panel of --help


@deployment.command()
def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="lite|CHECKPOINT",
            callback=packaged_as(".safetensors"),
            help="The weights of a training run, .safetensors, or lite: those of the package.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="The file to write: .onnx, or .pb for tensorflow.",
            rich_help_panel=IN_AND_OUT,
        ),
    ],
    target: Annotated[
        Literal["lazy", "onnx", "opencv", "tensorflow"] | None,
        typer.Option(
            show_default="lazy; onnx for a fixed --size or an untrained fusion network",
            help="lazy: latefusion itself, in two files. onnx: any program with ONNX Runtime."
            " opencv: OpenCV 4.6 and newer. tensorflow: OpenCV's reader of TensorFlow graphs.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    names: Annotated[
        Literal["latefusion", "write-up"],
        typer.Option(
            help="With --target tensorflow: the file's input and outputs. write-up: as the C++"
            " program of the write-up takes them, an image minus its mean, with a .pbtxt beside.",
            rich_help_panel=NETWORK,
        ),
    ] = "latefusion",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="H,W|dynamic",
            show_default="dynamic; a square of --side for tensorflow; 640,960 for --names write-up",
            help="Height and width of the network's input, multiples of 32, or dynamic for any.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            callback=check_size,
            show_default="that of the training",
            help="Longer side to which photos are resized by default, a multiple of 32.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    half: Annotated[
        bool,
        typer.Option(
            "--half",
            help="Store all kernels in half precision, which halves the file.",
            rich_help_panel=NETWORK,
        ),
    ] = False,
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON file with training, figures and terms to add to the sidecar.",
            rich_help_panel=IN_AND_OUT,
        ),
    ] = None,
) -> None:
    """Export a checkpoint to a model file and its sidecar.

    The file is run in its runtime and compared with PyTorch first. If any output differs by more
    than 0.001, nothing is written.
    """
    fixed = _parse_network_size(size, target)
    if names == WRITE_UP and target != "tensorflow":
        raise typer.BadParameter(
            f"--names write-up is for --target tensorflow, not {target or 'the default target'}"
        )
    if half and target == "tensorflow":
        raise typer.BadParameter("--half is for .onnx files only; leave it off")
    with extra_packages("train"):
        from latefusion.export.files import ExportOptions, default_target
        from latefusion.export.files import export as write
        from latefusion.export.sidecar import read_card
    kind = names if names == WRITE_UP else target or default_target(checkpoint, fixed)
    options = ExportOptions(kind, fixed, side, half, read_card(card) if card else None)
    with working(f"Exporting and verifying {out}"):
        written = write(checkpoint, out, options)
    print_name(written)


def _parse_network_size(text: str | None, target: str | None) -> Size | None:
    """Parse 'H,W' as two multiples of 32, or dynamic as None. Raises typer.BadParameter."""
    if text is None:
        return None
    if text == "dynamic":
        if target == "tensorflow":
            raise typer.BadParameter(f"{target} needs a fixed size; give --size H,W")
        return None
    if target == "lazy":
        raise typer.BadParameter(
            "a lazy file cannot have a fixed size; give --target onnx, or --side for the default"
        )
    height, width = parse_size(text)
    try:
        return check_side(height), check_side(width)
    except LatefusionError as error:
        raise typer.BadParameter(str(error)) from None


@deployment.command()
def parity(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="lite|MODEL",
            callback=packaged_as(".onnx"),
            help="An exported .onnx or .pb file, or lite: the built-in network.",
        ),
    ],
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PHOTO]...",
            show_default=False,
            help="Your own photos, compared in addition to the golden pictures.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="lite|FILE",
            callback=packaged_as(".safetensors"),
            show_default="the .safetensors of the same name",
            help="The checkpoint that the file was exported from, to compare with PyTorch.",
        ),
    ] = None,
    cpp: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="A folder where cpp/ was built, to compare with it. Repeatable."
        ),
    ] = None,
) -> None:
    """Compare the alphas of all installed runtimes on golden pictures.

    The exit code is 1 if two runtimes differ by more than 1/255 at any pixel, or by more than
    0.1/255 on average.
    """
    from latefusion.export.parity import certificate, compare, usable_runtimes
    from latefusion.inference.golden import write_pictures

    with extra_packages("train"):
        runtimes = usable_runtimes(model, checkpoint, cpp or ())
    if len(runtimes) < 2:
        raise LatefusionError(
            f"{model} can be compared in two runtimes or more, but only"
            f" {' or '.join(runtimes) or 'none'} can run it here; give --checkpoint or --cpp"
        )
    with TemporaryDirectory(prefix="latefusion-") as folder:
        pictures = [*write_pictures(Path(folder)), *(photos or ())]
        with progress_bar(len(pictures)) as progress:
            pairs = compare(runtimes, progress.track(pictures, description="Comparing"))
    typer.echo("\n".join(map(one_line, certificate(pairs))))
    if not all(pair.holds for pair in pairs):
        raise typer.Exit(1)


@deployment.command()
def quantize(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="lite|MODEL",
            callback=packaged_as(".onnx"),
            help="An exported file for lazy fusion, .onnx, or lite: the built-in network.",
        ),
    ],
    data: Annotated[
        list[Path],
        typer.Option(
            metavar="PATH",
            help="Photos with true alphas to calibrate and measure on: a list file, a folder or a"
            " tar shard. Repeatable.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The file to write, .onnx.")
    ],
) -> None:
    """Quantise an exported file to INT8, if that is faster here and almost as accurate.

    Nothing is written if the mean MAD grows by more than 0.002, if that of any photo grows by more
    than 0.01, or if the result is not faster on this processor.
    """
    with extra_packages("train"):
        from latefusion.data.sources import VAL_LIST, read_pairs
        from latefusion.export.quantize import quantize as make
    with working(f"Quantising {model} and measuring the result"):
        found = make(model, read_pairs(data, VAL_LIST), out)
    print_name(out)
    typer.echo(
        f"MAD {found.mad:.4f}, in INT8 {found.mad_int8:.4f}; largest growth"
        f" {found.worst_growth:.4f} ({shown(found.worst)}); {found.speed:.2f} times as fast"
    )


@deployment.command()
def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="FILE|PRESET",
            help="An .onnx, .pb or .safetensors file, or a preset such as lite or densenet201.",
        ),
    ],
) -> None:
    """Print the facts about a model file, a checkpoint or a preset.

    These are its size, parts, parameters, GMAC, training, terms and checksum.
    """
    with extra_packages("train"):
        from latefusion.export.info import describe

        facts = describe(name)
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(one_line(f"{name:{width}}  {value}"))


@deployment.command()
def import_keras(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN.h5", help="Keras weights, written by save_weights or save in .h5 format."
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT.safetensors", help="The checkpoint to write.")
    ],
) -> None:
    """Convert the Keras weights of the paper's network to a checkpoint."""
    with extra_packages("train"):
        from latefusion.export.keras_weights import import_keras as convert
    convert(source, out)
    print_name(out)
