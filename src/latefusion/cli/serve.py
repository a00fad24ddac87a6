"""The command for people who put it on a network: serve."""

import os
from pathlib import Path
from typing import Annotated

import cv2
import typer

from latefusion.cli.folder import MANY
from latefusion.cli.options import Device, Model
from latefusion.cli.terminal import extra_packages
from latefusion.errors import LatefusionError, reason
from latefusion.folder.batch import workers_for
from latefusion.inference.predictor import Predictor
from latefusion.parallel import usable_cores
from latefusion.runtime.devices import AUTO

serving = typer.Typer()

KEY = "LATEFUSION_API_KEY"
MILLION = 1_000_000


@serving.command()
def serve(
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 for the whole network.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")
    ] = 7000,
    model: Model = None,
    device: Device = AUTO,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Photos worked on side by side. Default: one a core."),
    ] = None,
    queue: Annotated[
        int, typer.Option(min=0, max=10_000, help="Photos that may wait; more are sent away, 429.")
    ] = 64,
    time_limit: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds for a photo, waiting included.")
    ] = 60,
    max_body: Annotated[
        float, typer.Option(min=0.1, max=1000, help="Megabytes of a request with one photo.")
    ] = 32,
    max_pixels: Annotated[
        float, typer.Option(min=0.01, max=250, help="Millions of pixels of a photo.")
    ] = 50,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help=f"A file with the key that clients must show; or set {KEY}."),
    ] = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch image_url, from public addresses only.")
    ] = False,
    cors: Annotated[
        list[str] | None,
        typer.Option(help="An origin whose pages may use it, e.g. https://me.org; or *. Repeat."),
    ] = None,
) -> None:
    """Matting over HTTP, with a page at /, the API's description at /docs and metrics at /metrics.

    Prints its address. Ends at Ctrl-C or SIGTERM, when the photos it has taken are done.
    """
    with extra_packages("serve"):
        from latefusion.server.app import create_app
        from latefusion.server.limits import Limits
        from latefusion.server.queue import Queue
        from latefusion.server.run import open_socket
        from latefusion.server.run import serve as run
        from latefusion.server.service import Service

    side_by_side, threads = workers_for(MANY, None)
    if workers:
        side_by_side, threads = workers, max(1, usable_cores() // workers)
    predictor = Predictor(model, threads=threads, device=device)
    predictor.model  # noqa: B018 - a bad file ends it here
    cv2.setNumThreads(threads)
    limits = Limits(int(max_body * MILLION), int(max_pixels * MILLION), time_limit, queue)
    service = Service(
        predictor, Queue(side_by_side, queue), limits, key=_key(api_key_file), urls=allow_urls
    )
    app = create_app(service, cors or ())
    with open_socket(host, port) as listener:
        address, number = listener.getsockname()[:2]
        typer.echo(f"http://{f'[{address}]' if ':' in address else address}:{number}")
        run(app, service, listener)


def _key(file: Path | None) -> str | None:
    """The API key, of a file or of the environment. Raises LatefusionError."""
    if file is None and KEY not in os.environ:
        return None
    try:
        key = file.read_text(encoding="utf-8").strip() if file else os.environ[KEY].strip()
    except (OSError, UnicodeError) as error:
        raise LatefusionError(f"the key {file} cannot be read: {reason(error)}") from None
    if not key:
        raise LatefusionError(f"the API key of {file or KEY} is empty; write a long random one")
    return key
