"""The commands for photos: matte, and doctor."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from latefusion import __version__
from latefusion.cli.folder import Task, matte_here
from latefusion.cli.options import (
    TRANSPARENT,
    Address,
    Behind,
    Cluster,
    Device,
    Engine,
    Epsilon,
    FillHoles,
    Framing,
    IntoOption,
    Linear,
    Model,
    PerShard,
    Refine,
    Side,
    Strict,
    Subject,
    Threads,
    Tiles,
    parse_background,
)
from latefusion.cli.terminal import extra_packages
from latefusion.errors import OutputError, one_line
from latefusion.folder.batch import digest
from latefusion.folder.jobs import SUFFIX, Wish
from latefusion.folder.manifest import digest_of
from latefusion.images.writing import FORMATS_OUT, make_folder, write_picture
from latefusion.inference.outputs import KINDS, Look, refuse_misfit, render
from latefusion.inference.predictor import CLOSED_FORM, Predictor
from latefusion.inference.subject import ALL
from latefusion.runtime.devices import AUTO
from latefusion.runtime.lazy import EPSILON

photos_app = typer.Typer()

PIPE = Path("-")
NO_SHADOW = "no"


def parse_kinds(text: str) -> list[str]:
    """Kinds by their names, separated by commas. Raises typer.BadParameter."""
    kinds = list(dict.fromkeys(kind.strip() for kind in text.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise typer.BadParameter(f"{kind!r} is not one of {', '.join(KINDS)}")
    return kinds


@photos_app.command()
def matte(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO",
            show_default=False,
            help="Photos of people, or folders; - is stdin. With --engine ray a folder, a quoted"
            " glob, .tar or .parquet, also at s3:// or gs://.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--out",
            help="The folder of the results; with one photo and one kind also a name like me.png,"
            " or - for stdout.",
        ),
    ] = ".",
    save: Annotated[
        str, typer.Option(help=f"What to save, separated by commas: {', '.join(KINDS)}.")
    ] = "cutout",
    format_: Annotated[
        str, typer.Option("--format", help="png, webp, tiff; jpg where there is no alpha.")
    ] = "",
    background: Behind = TRANSPARENT,
    linear: Linear = False,
    shadow: Annotated[
        str, typer.Option(help="no: none is made up, and the photo's own stays behind.")
    ] = NO_SHADOW,
    crop: Annotated[bool, typer.Option("--crop", help="Crop the results to the subject.")] = False,
    margin: Annotated[
        float, typer.Option(min=0, max=10, help="With --crop: room, as a share of its longer side.")
    ] = 0.05,
    bits: Annotated[int, typer.Option(help="Of the alpha: 8 or 16.")] = 8,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Folders below the given ones, too.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what the manifest says is done.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with photos that arrive, until Ctrl-C.")
    ] = False,
    review: Annotated[
        bool, typer.Option("--review", help="Write review.html: all photos, least sure first.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Results may take the place of the photos.")
    ] = False,
    framing: Framing = AUTO,
    tiles: Tiles = False,
    refine: Refine = CLOSED_FORM,
    subject: Subject = ALL,
    fill_holes: FillHoles = False,
    rotate_search: Annotated[
        bool, typer.Option("--rotate-search", help="Try quarter turns where it is not sure.")
    ] = False,
    model: Model = None,
    size: Side = None,
    device: Device = AUTO,
    threads: Threads = None,
    strict: Strict = False,
    epsilon: Epsilon = EPSILON,
    engine: Engine = "local",
    address: Address = None,
    into: IntoOption = "files",
    per_shard: PerShard = 64,
) -> None:
    """Cut people out of photos: writes PHOTO-cutout.png, or what --save names.

    A folder's results mirror it, with a manifest.jsonl of what was done. A photo that cannot be
    read is reported and left out; the exit code is then 1.
    """
    cluster = Cluster(out, into, per_shard, address, device)
    _check_engine(engine, photos, cluster)
    target, sources = Path(out), [Path(photo) for photo in photos]
    kinds = parse_kinds(save)
    if shadow != NO_SHADOW:
        raise typer.BadParameter(f"--shadow {shadow}: shadows are not made up; leave it at no")
    look = Look(parse_background(background), linear, margin if crop else None, _deep(bits))
    read = (Path(background), *([model] if model else []))
    inputs = frozenset(path for path in read if os.path.isfile(path))  # noqa: PTH113 - never raises
    wish = Wish(kinds, target, _suffix(format_, target), recursive, overwrite, inputs)
    _check_alpha(wish, look)
    network = partial(
        Predictor,
        model,
        size,
        device=device,
        strict=strict,
        epsilon=epsilon,
        framing=framing,
        tiles=tiles,
        refine=refine,
        subject=subject,
        fill_holes=fill_holes,
        rotate_search=rotate_search,
    )
    settings = partial(
        digest,
        version=__version__,
        network=[size, epsilon, framing, tiles, refine, subject, fill_holes, rotate_search],
        results=[kinds, wish.suffix, background, digest_of(Path(background)), bits],
        look=[linear, look.margin],
    )
    task = Task(photos, wish, look, network, settings, threads, resume, review, watch)
    if PIPE in (*sources, target):
        _pipe(task, sources, engine)
        fine = True
    elif engine == "ray":
        fine = _on_ray(task, cluster)
    else:
        fine = matte_here(task)
    if not fine:
        raise typer.Exit(1)


def _check_engine(engine: str, photos: list[str], cluster: Cluster) -> None:
    """Refuse what only a cluster does. Raises typer.BadParameter."""
    if engine == "ray":
        return
    if cluster.address or cluster.into != "files":
        raise typer.BadParameter("--address and --into go with --engine ray")
    for place in (*photos, cluster.out):
        if "://" in place:
            raise typer.BadParameter(f"{place} is no path; URLs go with --engine ray")


def _on_ray(task: Task, cluster: Cluster) -> bool:
    with extra_packages("ray"):
        from latefusion.cli.ray import matte_on_ray
    return matte_on_ray(task, cluster)


def _deep(bits: int) -> bool:
    if bits not in (8, 16):
        raise typer.BadParameter(f"--bits {bits} is neither 8 nor 16")
    return bits == 16


def _suffix(format_: str, out: Path) -> str:
    """The suffix of the results: of --format, or of a file that -o names."""
    if not format_:
        return out.suffix.lower() if out.suffix.lower() in FORMATS_OUT else SUFFIX
    named = FORMATS_OUT.get(out.suffix.lower())
    suffix = f".{format_.lower().lstrip('.')}"
    if suffix not in FORMATS_OUT:
        known = ", ".join(known[1:] for known in FORMATS_OUT)
        raise typer.BadParameter(f"{format_!r} is not one of {known}")
    if named not in (None, FORMATS_OUT[suffix]) and not out.is_dir():
        raise typer.BadParameter(f"-o {out} and --format {format_} contradict each other")
    return suffix


def _check_alpha(wish: Wish, look: Look) -> None:
    """Refuse at the start what would fail with every photo."""
    try:
        refuse_misfit(wish.kinds, FORMATS_OUT[wish.suffix], look)
    except OutputError as error:
        raise typer.BadParameter(str(error)) from None


def _pipe(task: Task, photos: list[Path], engine: str) -> None:
    """From stdin, to stdout, or both: one photo, one result."""
    wish = task.wish
    if task.resume or task.review or task.watch or engine == "ray":
        raise typer.BadParameter("--resume, --review, --watch and --engine do not go with -")
    predictor = task.network(threads=task.threads)
    if len(photos) * len(wish.kinds) != 1:
        raise typer.BadParameter("- goes with one photo and one kind")
    to_stdout = wish.out == PIPE or (photos == [PIPE] and wish.out == Path())
    source = sys.stdin.buffer.read() if photos == [PIPE] else photos[0]
    picture = render(predictor(source), wish.kinds[0], task.look)
    if to_stdout:
        write_picture(sys.stdout.buffer, picture, FORMATS_OUT[wish.suffix])
        return
    path = wish.out
    if path.suffix.lower() not in FORMATS_OUT:
        path = path / f"stdin-{wish.kinds[0]}{wish.suffix}"
    if path.resolve() in {read.resolve() for read in wish.inputs} and not wish.overwrite:
        raise typer.BadParameter(f"{path} is one of the files that are read; choose another -o")
    make_folder(path.parent)
    write_picture(path, picture)
    typer.echo(path)


@photos_app.command()
def doctor(model: Model = None, device: Device = AUTO, threads: Threads = None) -> None:
    """Say what is installed, which devices there are, and whether a golden photo comes out right.

    The exit code is 1 where a check fails.
    """
    from latefusion.inference.doctor import examine

    failed = False
    for name, text, fine in examine(model, device, threads):
        failed |= fine is False
        mark = {True: "ok", False: "!!", None: "  "}[fine]
        typer.echo(one_line(f"{mark} {name:<14} {text}"))
    if failed:
        raise typer.Exit(1)
