"""A stand-in for `latefusion serve` in a thread: the page's files, and real cut-outs for it."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from time import perf_counter
from urllib.parse import parse_qsl, urlsplit

import latefusion
from latefusion.errors import LatefusionError
from latefusion.images.compositing import as_background
from latefusion.images.writing import FORMATS_OUT, write_picture
from latefusion.inference.options import MattingOptions
from latefusion.inference.outputs import TRANSPARENT, Look, render
from latefusion.inference.predictor import Predictor

WEB = Path(latefusion.__file__).parent / "server" / "web"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
CSP = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none';"
    " frame-ancestors 'none'"
)


class Mood:
    """The answers to the next requests, and the requests so far."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.reset()

    def reset(self) -> None:
        self.busy = 0  # requests that are to get a 429
        self.key = ""
        self.asked: list[dict[str, str]] = []  # the query of each request for a matte
        self.running = self.most = 0  # requests at once


@cache
def predictor(options: tuple[tuple[str, str], ...]) -> Predictor:
    known = dict(options)
    return Predictor(
        options=MattingOptions(
            subject=known.get("subject", "all"),
            tiles=known.get("tiles") == "true",
            fill_holes=known.get("fill_holes") == "true",
        )
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mood: Mood

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/version":
            self.answer(HTTPStatus.OK, _json({"version": latefusion.__version__}))
            return
        file = WEB / (path.lstrip("/") or "index.html")
        if file.parent != WEB or not file.is_file():
            self.answer(HTTPStatus.NOT_FOUND, _json({"error": f"{path} is not here"}))
            return
        self.answer(HTTPStatus.OK, file.read_bytes(), TYPES[file.suffix])

    def do_POST(self) -> None:
        photo = self.rfile.read(int(self.headers["Content-Length"]))
        query = dict(parse_qsl(urlsplit(self.path).query))
        mood = self.mood
        with mood.lock:
            busy, mood.busy = mood.busy > 0, max(0, mood.busy - 1)
            mood.asked.append(dict(query))
        if mood.key and self.headers["Authorization"] != f"Bearer {mood.key}":
            self.answer(HTTPStatus.UNAUTHORIZED, _json({"error": "a key is needed"}))
        elif busy:
            error = _json({"error": "too many photos at once"})
            self.answer(HTTPStatus.TOO_MANY_REQUESTS, error, headers={"Retry-After": "1"})
        else:
            self.counted(photo, query)

    def counted(self, photo: bytes, query: dict[str, str]) -> None:
        mood = self.mood
        with mood.lock:
            mood.running += 1
            mood.most = max(mood.most, mood.running)
        try:
            body, type_, headers = picture(photo, query)
        except LatefusionError as error:
            self.answer(HTTPStatus.UNPROCESSABLE_ENTITY, _json({"error": str(error)}))
        else:
            self.answer(HTTPStatus.OK, body, type_, headers)
        finally:
            with mood.lock:
                mood.running -= 1

    def answer(
        self,
        status: HTTPStatus,
        body: bytes,
        type_: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        fixed = {"Content-Type": type_, "Content-Length": str(len(body))}
        safe = {"Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff"}
        for name, value in (fixed | safe | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def picture(photo: bytes, query: dict[str, str]) -> tuple[bytes, str, dict[str, str]]:
    """A result's bytes, their type and the headers beside them. Raises LatefusionError."""
    start = perf_counter()
    save, format_ = query.pop("save", "cutout"), query.pop("format", "png")
    behind = query.pop("background", "transparent")
    network = predictor(tuple(sorted(query.items())))
    found = network(photo)
    look = Look(behind if behind == TRANSPARENT else as_background(behind))
    encoded = io.BytesIO()
    write_picture(encoded, render(found, save, look), FORMATS_OUT[f".{format_}"])
    headers = {
        "X-Latefusion-Seconds": f"{perf_counter() - start:.3f}",
        "X-Latefusion-Confidence": f"{found.confidence:.4f}",
        "X-Latefusion-Notes": ", ".join(found.notes),
        "X-Latefusion-Device": network.device,
    }
    return encoded.getvalue(), f"image/{FORMATS_OUT[f'.{format_}'].lower()}", headers


def _json(content: dict[str, str]) -> bytes:
    return json.dumps(content).encode()


@contextmanager
def stand_in() -> Iterator[tuple[str, Mood]]:
    """The address of a running server, and its mood."""
    mood = Mood()
    handler = type("MoodyHandler", (Handler,), {"mood": mood})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", mood
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
