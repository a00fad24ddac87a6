"""The command that offers matting over HTTP: serve."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import cv2
import typer

from latefusion.cli.folder import MANY
from latefusion.cli.options import Device, Model
from latefusion.cli.streams import print_name
from latefusion.cli.terminal import extra_packages
from latefusion.errors import LatefusionError, reason
from latefusion.folder.batch import workers_for
from latefusion.images.formats import Rare
from latefusion.inference.options import MACHINE
from latefusion.inference.predictor import Predictor
from latefusion.parallel import usable_cores
from latefusion.runtime.devices import AUTO

serving = typer.Typer()

KEY = "LATEFUSION_API_KEY"
MILLION = 1_000_000
NETWORK, LIMITS, ACCESS = "Network", "Limits", "Access"  # panels of --help


@serving.command()
def serve(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on; 0.0.0.0 for all of this machine's networks.",
            rich_help_panel=NETWORK,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port to listen on; 0 for any free one.", rich_help_panel=NETWORK
        ),
    ] = 7000,
    model: Model = None,
    device: Device = AUTO,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT",
            min=1,
            max=256,
            show_default="one a core, 8 at most",
            help="Photos processed at the same time.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    queue: Annotated[
        int,
        typer.Option(
            metavar="COUNT",
            min=0,
            max=10_000,
            help="Photos that may wait; further requests get status 429.",
            rich_help_panel=LIMITS,
        ),
    ] = 64,
    time_limit: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=1,
            max=3600,
            help="Time for a photo, including its wait in the queue.",
            rich_help_panel=LIMITS,
        ),
    ] = 60,
    max_body: Annotated[
        float,
        typer.Option(
            metavar="MEGABYTES",
            min=0.1,
            max=1000,
            help="Largest request with one photo.",
            rich_help_panel=LIMITS,
        ),
    ] = 32,
    max_pixels: Annotated[
        float,
        typer.Option(
            metavar="MEGAPIXELS",
            min=0.01,
            max=250,
            help="Largest photo.",
            rich_help_panel=LIMITS,
        ),
    ] = 50,
    allow_format: Annotated[
        list[Rare] | None,
        typer.Option(
            case_sensitive=False,
            help="A format of photos to take beside JPEG, PNG, WebP, TIFF, AVIF, HEIC and GIF."
            " Repeatable.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=f"the key in {KEY}, or no key",
            help="A file with the API key that clients must send.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    allow_urls: Annotated[
        bool,
        typer.Option(
            "--allow-urls",
            help="Accept image_url, and fetch it from public addresses only.",
            rich_help_panel=ACCESS,
        ),
    ] = False,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="An origin whose pages may call the API, such as https://example.org, or * for"
            " all. Repeatable.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default="names that no other web page can have",
            help="A name that clients reach this server by, such as photos.example.org, or * for"
            " any. Repeatable.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
) -> None:
    """Serve matting over HTTP: a page at /, the API, its description at /docs, and /metrics.

    Prints the address. On Ctrl-C or SIGTERM it finishes the photos it has accepted and exits.
    """
    with extra_packages("serve"):
        from latefusion.server.app import create_app
        from latefusion.server.callers import Callers
        from latefusion.server.limits import Limits
        from latefusion.server.queue import Queue
        from latefusion.server.run import open_socket
        from latefusion.server.run import serve as run
        from latefusion.server.service import Service

    side_by_side, threads = workers_for(MANY, None)
    if workers:
        side_by_side, threads = workers, max(1, usable_cores() // workers)
    predictor = Predictor(model, threads=threads, device=device)
    predictor.model  # noqa: B018 - reads the file, so that a bad one fails here
    cv2.setNumThreads(threads)
    limits = Limits(int(max_body * MILLION), int(max_pixels * MILLION), time_limit, queue)
    limits = replace(limits, formats=limits.formats | {each.name for each in allow_format or ()})
    service = Service(
        predictor, Queue(side_by_side, queue), limits, key=_key(api_key_file), urls=allow_urls
    )
    with open_socket(host, port) as listener:
        address, number = listener.getsockname()[:2]
        callers = Callers(address, allowed_host or (), cors or (), key=service.key is not None)
        app = create_app(service, callers)
        print_name(f"http://{f'[{address}]' if ':' in address else address}:{number}")
        run(app, service, listener)


def _key(file: Path | None) -> str | None:
    """The API key of a file or the environment, None without either. Raises LatefusionError."""
    if file is None and KEY not in os.environ:
        return None
    try:
        key = file.read_text(encoding="utf-8").strip() if file else os.environ[KEY].strip()
    except (OSError, UnicodeError) as error:
        raise LatefusionError(
            f"the API key file {file} cannot be read: {reason(error)}; give a readable text file"
        ) from None
    if not key:
        raise LatefusionError(f"the API key in {file or KEY} is empty; set a long random one")
    return key
