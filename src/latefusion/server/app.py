"""The FastAPI application: its routes, the page, and its error responses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from latefusion import __version__
from latefusion.errors import LatefusionError
from latefusion.server.callers import Callers, Guard
from latefusion.server.documents import ERROR, HEADERS
from latefusion.server.logs import say, warn
from latefusion.server.metrics import MEDIA_TYPE
from latefusion.server.options import told
from latefusion.server.refusals import ERRORS, RefusedError, answer, refuse
from latefusion.server.routes import photos
from latefusion.server.service import Service
from latefusion.server.watch import Watch

WEB = Path(__file__).parent / "web"  # the page
INDEX = "index.html"
OPEN_CURE = (
    "set LATEFUSION_API_KEY, or name the server with --allowed-host; until then it answers to"
    " addresses and to names without a dot"
)
ANYBODY_NEAR = Callers()
ABOUT = 'Cuts people out of photos. Errors are JSON: {"error": "one line"}.'
WORDS = {
    404: "no such path; /docs lists all of them",
    405: "this path does not accept this method; /docs lists those that it accepts",
}
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'none'"
)


def create_app(service: Service, callers: Callers = ANYBODY_NEAR) -> FastAPI:
    """The application of `service`, which pages of `callers.origins` may call (CORS)."""
    app = FastAPIOffline(  # /docs with a viewer of its own, in place of a CDN's
        redoc_url=None,
        favicon_url="/icon.svg",
        swagger_ui_parameters={"validatorUrl": None},  # else other hosts are sent the document
        title="latefusion",
        version=__version__,
        description=ABOUT,
        lifespan=_lifespan(service, callers),
        separate_input_output_schemas=False,
    )
    app.state.service = service
    guards = [Depends(_key_check(service))] if service.key else []
    app.include_router(photos, dependencies=guards)
    _add_state(app, service, guards)
    _add_page(app)
    _add_errors(app)
    app.add_middleware(Guard, callers=callers)
    app.add_middleware(Watch, service=service)
    if callers.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(callers.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-Api-Key", "Content-Type"],
            expose_headers=[*HEADERS, "Retry-After"],
        )
    _drop_422(app)
    return app


def _lifespan(
    service: Service, callers: Callers
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if callers.is_open:
            warn("open to all", cure=OPEN_CURE)
        loading = asyncio.create_task(_load(service))
        yield
        service.queue.close()
        service.readers.close()
        await loading

    return lifespan


async def _load(service: Service) -> None:
    try:
        await asyncio.gather(
            asyncio.to_thread(service.predictor.load), asyncio.to_thread(service.readers.start)
        )
    except LatefusionError as error:
        service.failure, service.draining = error, True
        return
    service.loaded = True
    say("ready", device=service.predictor.device, workers=service.queue.workers)


def _key_check(service: Service) -> Callable[..., None]:
    """A dependency that refuses requests without the API key, with status 401."""
    bearer = HTTPBearer(auto_error=False)
    header = APIKeyHeader(name="X-Api-Key", auto_error=False)

    def check(
        token: HTTPAuthorizationCredentials | None = Depends(bearer),  # noqa: B008
        key: str | None = Depends(header),
    ) -> None:
        given = [token.credentials if token else "", key or ""]
        if not any([service.is_key(text) for text in given]):  # noqa: C419 - all are compared
            message = "the API key is missing or wrong; send it as Authorization: Bearer KEY"
            raise RefusedError(401, message, {"WWW-Authenticate": "Bearer"})

    return check


def _add_state(app: FastAPI, service: Service, guards: list[Any]) -> None:
    not_ready: dict[str, Any] = {
        "description": "The network is loading, or the server is shutting down.",
        "content": ERROR,
    }

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", tags=["state"])
    async def healthz() -> dict[str, str]:
        """Answer 200 as long as the process is alive."""
        return {"status": "ok"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", tags=["state"], responses={503: not_ready})
    async def readyz() -> Response:
        """Answer 200 if photos are accepted: the network is loaded and no shutdown has begun."""
        if service.ready:
            return JSONResponse({"status": "ready"})
        return refuse(503, "shutting down" if service.draining else "loading the network")

    @app.head("/version", include_in_schema=False)
    @app.get("/version", tags=["state"])
    async def version() -> dict[str, str]:
        """The package's version and the SHA-256 of the model file."""
        return {"version": __version__, "model": service.predictor.model.card["sha256"]}

    @app.head("/metrics", dependencies=guards, include_in_schema=False)
    @app.get("/metrics", tags=["state"], dependencies=guards, response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(service.metrics.text(), media_type=MEDIA_TYPE)


def _add_page(app: FastAPI) -> None:
    """Add a route for each file of the page; no other file can be requested."""
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
    for path in sorted(path for path in WEB.rglob("*") if path.is_file()):
        name = path.relative_to(WEB).as_posix()

        async def page(_: Request, path: Path = path) -> Response:
            return FileResponse(path, headers=headers)

        app.add_route("/" if name == INDEX else f"/{name}", page, include_in_schema=False)


def _add_errors(app: FastAPI) -> None:
    async def known(request: Request, error: Exception) -> Response:
        return answer(error, request.url.path)

    async def invalid(request: Request, error: Any) -> Response:
        return refuse(400, told(error.errors()), path=request.url.path)

    async def http(request: Request, error: Any) -> Response:
        words = WORDS.get(error.status_code, str(error.detail))
        return refuse(error.status_code, words, error.headers, request.url.path)

    async def bug(request: Request, error: Exception) -> Response:
        words = "internal error, a bug in the server; its log has the traceback"
        return refuse(500, words, path=request.url.path)

    for kind in ERRORS:
        app.add_exception_handler(kind, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)


def _drop_422(app: FastAPI) -> None:
    """Remove FastAPI's 422 responses from the document; an invalid option is answered with 400."""
    for path in app.openapi()["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    app.openapi().get("components", {}).get("schemas", {}).pop("HTTPValidationError", None)
    app.openapi().get("components", {}).get("schemas", {}).pop("ValidationError", None)
