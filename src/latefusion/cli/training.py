"""The training commands: prepare, shard and train."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from latefusion.cli.streams import print_name
from latefusion.cli.terminal import complain, extra_packages, parse_size
from latefusion.errors import shown

training_app = typer.Typer()

DATA, NETWORK, VIEWS, SCHEDULE, MACHINE = "Data", "Network", "Views", "Schedule", "Machine"


def parse_labels(text: str | None) -> frozenset[int] | None:
    """Numbers of labels, separated by commas, or `any` as none. Raises typer.BadParameter."""
    if text is None or text.strip() == "any":
        return None if text is None else frozenset()
    try:
        found = frozenset(int(part) for part in text.split(","))
    except ValueError:
        found = frozenset()
    if not found or min(found) < 0:
        raise typer.BadParameter(f"{text!r} names no labels; give a number as 15 or 1,2, or any")
    return found


@training_app.command()
def prepare(
    *,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SRC]",
            help="Folder of photos with mattes or masks, or of cut-outs.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of photos, in place of SRC.")
    ] = None,
    mattes: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With --images: folder of mattes with the same names."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the alphas, the lists and the cut-outs.")],
    train_ratio: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the pairs to train on.")
    ] = 0.9,
    seed: Annotated[int, typer.Option(help="The same seed gives the same split.")] = 0,
    refine: Annotated[bool, typer.Option(help="Turn binary masks into soft alphas.")] = False,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="N,...|any",
            help="The person's number in masks of labels (VOC: 15), or any: all numbers but 0.",
            show_default="0 and one number, of which the number is the person",
        ),
    ] = None,
) -> None:
    """Turn photos with mattes or masks into checked pairs, and RGBA pictures into cut-outs.

    SRC may be laid out in any of the ways that docs/training.md lists.
    """
    with extra_packages("train"):
        from latefusion.data.layouts import Folders
        from latefusion.data.prepare import CUTOUT_FOLDER
        from latefusion.data.prepare import prepare as prepare_pairs
    src: Path | Folders
    if source and not (images or mattes):
        src = source
    elif images and mattes and not source:
        src = Folders(images, mattes)
    else:
        raise typer.BadParameter("give either SRC or both --images and --mattes")
    report = prepare_pairs(src, out, train_ratio, seed, refine, parse_labels(label))
    if report.rejected:
        left_out = f"{len(report.rejected)} pictures left out"
        complain(f"{left_out}; {out}/rejected.txt has the reasons")
    if report.train or report.val:
        refined = f", {report.refined} mattes refined" if refine else ""
        typer.echo(
            f"{shown(out)}: {report.train} pairs to train on, {report.val} to validate{refined}"
        )
    if report.train and not report.val:
        complain("no pair is left to validate with; train without --validation")
    if report.cutouts:
        typer.echo(f"{shown(out / CUTOUT_FOLDER)}: {report.cutouts} cut-outs for --cutouts")


@training_app.command()
def shard(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SRC...", help="Lists, folders or shards of pairs.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the shards, with nothing else in it.")],
    pairs: Annotated[
        int, typer.Option(min=1, help="Pairs, backgrounds or cut-outs in a shard.")
    ] = 500,
    seed: Annotated[int, typer.Option(help="The same seed gives the same shards.")] = 0,
    backgrounds: Annotated[
        bool, typer.Option("--backgrounds", help="SRC holds photos without people, and no alphas.")
    ] = False,
    cutouts: Annotated[
        bool, typer.Option("--cutouts", help="SRC holds RGBA cut-outs of people.")
    ] = False,
) -> None:
    """Pack pairs, backgrounds or cut-outs into tar shards, checked and in random order."""
    from latefusion.data.shards import Kind, write_shards

    if backgrounds and cutouts:
        raise typer.BadParameter("--backgrounds and --cutouts exclude each other; give one of them")
    kind: Kind = "backgrounds" if backgrounds else "cutouts" if cutouts else "pairs"
    written = write_shards(sources, out, pairs, seed, kind)
    what = {"pairs": "pairs", "backgrounds": "photos", "cutouts": "cut-outs"}[kind]
    if written.rejected:
        left_out = f"{len(written.rejected)} {what} left out"
        complain(f"{left_out}; {out}/rejected.txt has the reasons")
    typer.echo(f"{shown(out)}: {written.samples} {what} in {len(written.shards)} shards")


@training_app.command()
def train(
    context: typer.Context,
    stage: Annotated[
        Literal["segmentation", "fusion", "joint"] | None,
        typer.Argument(
            metavar="STAGE", help="segmentation, fusion or joint.", show_default="of --config"
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Pairs: list files, folders or tar shards; repeatable.", rich_help_panel=DATA
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run, for example runs/mine.", rich_help_panel=DATA),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A run's settings.yaml, to repeat it; options given beside it replace its own.",
            rich_help_panel=DATA,
        ),
    ] = None,
    backgrounds: Annotated[
        list[Path] | None,
        typer.Option(help="Folders or shards of photos without people.", rich_help_panel=DATA),
    ] = None,
    cutouts: Annotated[
        list[Path] | None,
        typer.Option(help="Folders or shards of RGBA cut-outs of people.", rich_help_panel=DATA),
    ] = None,
    cutout_portion: Annotated[
        float, typer.Option(help="Share of cut-outs in an epoch.", rich_help_panel=DATA)
    ] = 0.2,
    validation: Annotated[
        list[Path] | None,
        typer.Option(help="Pairs that choose the best weights.", rich_help_panel=DATA),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="Text file with the keys of pairs, cut-outs and backgrounds to leave out.",
            rich_help_panel=DATA,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET",
            help="lite (default), lite-mobilenetv2 or densenet201; --weights hold their own.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="lite|FILE",
            help="Weights that an earlier run saved (.safetensors), or lite: those of the package.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    encoder_weights: Annotated[
        Path | None,
        typer.Option(
            help="Pretrained encoder (.pth, .safetensors; MODNet's .onnx).", rich_help_panel=NETWORK
        ),
    ] = None,
    input_size: Annotated[
        str,
        typer.Option(
            metavar="H,W", help="Size of the views, multiples of 32.", rich_help_panel=VIEWS
        ),
    ] = "256,256",
    canvas: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Side of the squares that photos are kept as.",
            show_default="448, and a quarter more than the longer side of the views",
            rich_help_panel=VIEWS,
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="H,W",
            help="Train the fusion network on windows of this size.",
            rich_help_panel=VIEWS,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs (default: segmentation 15, fusion 4, joint 7, as in the paper).",
            rich_help_panel=SCHEDULE,
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epoch at which the learning rate has come down (default: --epochs).",
            rich_help_panel=SCHEDULE,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(min=1, help="Of all processes together.", rich_help_panel=SCHEDULE),
    ] = 16,
    accumulate: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Parts of a batch that are computed one after the other.",
            show_default="as few as the memory holds",
            rich_help_panel=SCHEDULE,
        ),
    ] = None,
    max_lr: Annotated[
        float | None,
        typer.Option(
            help="Peak learning rate (default: that of the stage).", rich_help_panel=SCHEDULE
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(help="The same seed gives the same views.", rich_help_panel=SCHEDULE),
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in --out.", rich_help_panel=SCHEDULE)
    ] = False,
    keep_epochs: Annotated[
        bool,
        typer.Option(
            "--keep-epochs",
            help="Keep the weights of each epoch, too: epoch-01.safetensors and so on.",
            rich_help_panel=SCHEDULE,
        ),
    ] = False,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Gradient checkpointing: about half of the memory, a third more time.",
            rich_help_panel=MACHINE,
        ),
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that decode photos.", rich_help_panel=MACHINE)
    ] = 0,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="GPUs, or processes where there are none; not with torchrun.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1, help="Machines, each running this command (SLURM).", rich_help_panel=MACHINE
        ),
    ] = None,
) -> None:
    """Train one stage: segmentation, then fusion, then joint, each from the one before.

    STAGE, --data and --out are required, here or in --config.
    """
    given: dict[str, Any] = {
        "stage": stage,
        "data": data,
        "out": out,
        "backgrounds": backgrounds,
        "cutouts": cutouts,
        "cutout_portion": cutout_portion,
        "validation": validation,
        "exclude": exclude,
        "preset": preset,
        "input_size": parse_size(input_size),
        "canvas": canvas,
        "window": parse_size(window) if window else None,
        "epochs": epochs,
        "horizon": horizon,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "recompute": recompute,
        "weights": weights,
        "encoder_weights": encoder_weights,
        "max_lr": max_lr,
        "workers": workers,
        "devices": devices,
        "nodes": nodes,
        "seed": seed,
        "resume": resume,
        "keep_epochs": keep_epochs,
    }
    with extra_packages("train"):
        from latefusion.training.distributed import is_first
        from latefusion.training.run import Settings
        from latefusion.training.run import train as run
        from latefusion.training.settings_file import missing, read_settings
    values = {name: value for name, value in given.items() if _is_typed(context, name)}
    values = {**(read_settings(config) if config else {}), **values}
    if lacking := missing(values):
        raise typer.BadParameter(f"{lacking} is missing; give it here or in the file of --config")
    best = run(Settings(**values))
    if is_first():
        print_name(best)


def _is_typed(context: typer.Context, name: str) -> bool:
    """True for a parameter on the command line; others keep what --config or Settings says."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
