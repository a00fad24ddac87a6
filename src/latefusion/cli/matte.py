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
    Address,
    Cluster,
    Device,
    Engine,
    IntoOption,
    Model,
    PerShard,
    Strict,
    Threads,
    with_background,
    with_options,
)
from latefusion.cli.streams import print_name, read_stdin
from latefusion.cli.terminal import complain, extra_packages, pass_counter, threads_here
from latefusion.errors import OutputError, one_line
from latefusion.folder.batch import settings_digest
from latefusion.folder.jobs import SUFFIX, Wish
from latefusion.images.writing import FORMATS_OUT, make_folder, write_picture
from latefusion.inference.options import FOLDER, IN_AND_OUT, MattingOptions
from latefusion.inference.outputs import KINDS, Look, Suffix, refuse_misfit, render
from latefusion.inference.predictor import Predictor
from latefusion.runtime.devices import AUTO

photos_app = typer.Typer()

PIPE = Path("-")

WEB_CURE = "matte reads files; download it first, or let `latefusion serve --allow-urls` fetch it"
STORE_CURE = "add --engine ray, or give a path"
URL_CURES = {"http": WEB_CURE, "https": WEB_CURE, "ftp": WEB_CURE, "file": "give a path"}


def parse_kinds(text: str) -> list[str]:
    """Parse kinds separated by commas. Raises typer.BadParameter."""
    kinds = list(dict.fromkeys(kind.strip() for kind in text.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise typer.BadParameter(f"{kind!r} is not one of {', '.join(KINDS)}")
    return kinds


@photos_app.command()
@with_options
def matte(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...",
            show_default=False,
            help="Photos of people, or folders; - is stdin. With --engine ray a folder, a quoted"
            " glob, .tar or .parquet, also at s3:// or gs://.",
        ),
    ],
    *,
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--out",
            help="The folder of the results; with one photo and one kind also a name like me.png,"
            " or - for stdout.",
            show_default="the current folder; stdout for -",
            rich_help_panel=IN_AND_OUT,
        ),
    ] = ".",
    save: Annotated[
        str,
        typer.Option(
            metavar="KIND[,KIND...]",
            help=f"Kinds of results: {', '.join(KINDS)}.",
            rich_help_panel=IN_AND_OUT,
        ),
    ] = "cutout",
    format_: Annotated[
        Suffix | None,
        typer.Option(
            "--format",
            case_sensitive=False,
            help="The file format; jpg holds no transparency.",
            show_default="that of -o, or png",
            rich_help_panel=IN_AND_OUT,
        ),
    ] = None,
    look: Look,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Let results replace the photos.",
            rich_help_panel=IN_AND_OUT,
        ),
    ] = False,
    matting: MattingOptions,
    recursive: Annotated[
        bool,
        typer.Option("-r", "--recursive", help="Include folders below.", rich_help_panel=FOLDER),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip photos that the manifest lists as done.",
            rich_help_panel=FOLDER,
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Keep running, and process photos as they arrive, until Ctrl-C.",
            rich_help_panel=FOLDER,
        ),
    ] = False,
    review: Annotated[
        bool,
        typer.Option(
            "--review",
            help="Write review.html: all photos, those to look at first.",
            rich_help_panel=FOLDER,
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            max=86_400,
            show_default="no limit",
            help="Give up a photo that takes longer to read, and go on with the next.",
            rich_help_panel=FOLDER,
        ),
    ] = None,
    into: IntoOption = "files",
    per_shard: PerShard = 64,
    model: Model = None,
    device: Device = AUTO,
    threads: Threads = None,
    strict: Strict = False,
    engine: Engine = "local",
    address: Address = None,
) -> None:
    """Cut people out of photos: writes PHOTO-cutout.png, or the kinds that --save names.

    The results of a folder mirror its tree, with a manifest.jsonl of the run. A photo that cannot
    be read is reported and skipped; the exit code is then 1.
    """
    cluster = Cluster(out, into, per_shard, address, device)
    _check_engine(engine, photos, cluster)
    target, sources = Path(out), [Path(photo) for photo in photos]
    kinds = parse_kinds(save)
    background = Path(str(look.background))
    read = (background, *([model] if model else []))
    inputs = frozenset(path for path in read if os.path.isfile(path))  # noqa: PTH113 - never raises
    suffix = _suffix(format_, target)
    settings = partial(
        settings_digest, __version__, matting, look, results=[kinds, suffix], background=background
    )
    look = with_background(look)
    wish = Wish(kinds, target, suffix, recursive, overwrite, inputs)
    _check_alpha(wish, look)
    network = partial(Predictor, model, matting, device=device, strict=strict)
    task = Task(photos, wish, look, network, settings, threads, timeout, resume, review, watch)
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
    """Raise typer.BadParameter for options of a cluster without one."""
    if engine == "ray":
        return
    if cluster.address or cluster.into != "files":
        raise typer.BadParameter("--address and --into go with --engine ray")
    if "://" in cluster.out:
        raise typer.BadParameter(f"-o {cluster.out} is a URL; {STORE_CURE}")
    for place in photos:
        if "://" in place:
            scheme = place.partition("://")[0].lower()
            raise typer.BadParameter(f"{place} is a URL; {URL_CURES.get(scheme, STORE_CURE)}")


def _on_ray(task: Task, cluster: Cluster) -> bool:
    with extra_packages("ray"):
        from latefusion.cli.ray import matte_on_ray
    return matte_on_ray(task, cluster)


def _suffix(format_: Suffix | None, out: Path) -> str:
    """The suffix of the results: of --format, or of a file that -o names."""
    if format_ is None:
        return out.suffix.lower() if out.suffix.lower() in FORMATS_OUT else SUFFIX
    named = FORMATS_OUT.get(out.suffix.lower())
    suffix = f".{format_}"
    if named not in (None, FORMATS_OUT[suffix]) and not out.is_dir():
        raise typer.BadParameter(f"-o {out} and --format {format_} contradict each other")
    return suffix


def _check_alpha(wish: Wish, look: Look) -> None:
    """Raise typer.BadParameter for what would fail with every photo."""
    try:
        refuse_misfit(wish.kinds, FORMATS_OUT[wish.suffix], look)
    except OutputError as error:
        raise typer.BadParameter(str(error)) from None


def _pipe(task: Task, photos: list[Path], engine: str) -> None:
    """Make one result of one photo, from stdin, to stdout, or both."""
    wish = task.wish
    if task.resume or task.review or task.watch or task.timeout or engine == "ray":
        raise typer.BadParameter(
            "--resume, --review, --watch, --timeout and --engine do not go with -"
        )
    predictor = task.network(threads=threads_here(task.threads))
    if len(photos) * len(wish.kinds) != 1:
        raise typer.BadParameter("- goes with one photo and one kind")
    to_stdout = wish.out == PIPE or (photos == [PIPE] and wish.out == Path())
    if to_stdout and sys.stdout is not None and sys.stdout.isatty():
        raise typer.BadParameter("a picture is nothing for a terminal; give -o NAME, or redirect")
    source = read_stdin() if photos == [PIPE] else photos[0]
    with pass_counter("stdin" if photos == [PIPE] else str(photos[0])) as before_pass:
        found = predictor.counted(before_pass)(source)
        picture = render(found, wish.kinds[0], task.look)
    for warning in found.warnings:
        complain(f"warning: {warning}")
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
    print_name(path)


@photos_app.command()
def doctor(model: Model = None, device: Device = AUTO, threads: Threads = None) -> None:
    """Report versions and devices, and check the matte of a golden photo.

    The exit code is 1 where a check fails.
    """
    from latefusion.inference.doctor import examine

    failed = False
    for name, text, fine in examine(model, device, threads_here(threads)):
        failed |= fine is False
        mark = {True: "ok", False: "!!", None: "  "}[fine]
        typer.echo(one_line(f"{mark} {name:<14} {text}"))
    if failed:
        raise typer.Exit(1)
