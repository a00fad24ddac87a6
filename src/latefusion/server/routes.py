"""The routes that take photos: /api/matte, /api/remove, /api/batch and /v1.0/removebg."""

import asyncio
import base64
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from latefusion.server.decoding import photo_in
from latefusion.server.documents import BINARY, ZIP, body, responses
from latefusion.server.fetch import fetch
from latefusion.server.forms import (
    ANY_IMAGE,
    BYTES,
    JSON,
    MULTIPART,
    URLENCODED,
    Form,
    Upload,
    read_form,
)
from latefusion.server.limits import BATCH_PHOTOS
from latefusion.server.options import (
    MatteOptions,
    RemovebgFields,
    RemovebgOptions,
    RemoveOptions,
    RemoveUrlOptions,
    merged,
)
from latefusion.server.orders import (
    Frame,
    Order,
    Result,
    fulfil,
    order_matte,
    order_remove,
    order_removebg,
)
from latefusion.server.queue import unless_gone
from latefusion.server.refusals import REMOVEBG, RefusedError
from latefusion.server.service import Service
from latefusion.server.watch import FACTS, HOLD
from latefusion.server.zips import entry_names, zip_of

ONE = (MULTIPART, BYTES, ANY_IMAGE)
FORM = (MULTIPART,)
ANY_FORM = (MULTIPART, URLENCODED, JSON)
REMOVEBG_FILES = ("image_file", "bg_image_file")
FILE = {"image": BINARY, "background_image": BINARY}
FILES = {**FILE, "image": {"type": "array", "items": BINARY, "maxItems": BATCH_PHOTOS}}

photos = APIRouter(tags=["photos"])


@photos.post(
    "/api/matte",
    response_class=Response,
    responses=responses(),
    openapi_extra=body(ONE, MatteOptions, FILE, ["image"]),
)
async def matte(request: Request, query: Annotated[MatteOptions, Query()]) -> Response:
    """Return the result that `save` names of a photo, sent as the form file `image` or the body."""
    service = _service(request)
    service.queue.refuse_if_full()
    form = await read_form(request, ONE, service.limits.body)
    _only(form, *FILE)
    order = order_matte(service.predictor, merged(query, form.fields, MatteOptions), _behind(form))
    return await _answer(request, order, _photo(form, "image"))


@photos.post(
    "/api/remove",
    response_class=Response,
    responses=responses(("image/png",)),
    openapi_extra=body(ONE, RemoveOptions, {"file": BINARY}, ["file"]),
)
async def remove(request: Request, query: Annotated[RemoveOptions, Query()]) -> Response:
    """Return a PNG as rembg's server does, of a photo sent as the form file `file` or the body."""
    service = _service(request)
    service.queue.refuse_if_full()
    form = await read_form(request, ONE, service.limits.body)
    _only(form, "file")
    order = order_remove(service.predictor, merged(query, form.fields, RemoveOptions))
    return await _answer(request, order, _photo(form, "file"))


@photos.get("/api/remove", response_class=Response, responses=responses(("image/png",)))
async def remove_url(request: Request, query: Annotated[RemoveUrlOptions, Query()]) -> Response:
    """Return a PNG as rembg's server does, of the photo at `url`, if the server allows it."""
    service = _service(request)
    service.queue.refuse_if_full()
    order = order_remove(service.predictor, query)
    return await _answer(request, order, await _photo_at(request, query.url))


@photos.post(
    "/v1.0/removebg",
    response_class=Response,
    responses=responses(),
    openapi_extra=body(ANY_FORM, RemovebgFields, dict.fromkeys(REMOVEBG_FILES, BINARY), []),
)
async def removebg(request: Request) -> Response:
    """Return a picture as remove.bg does.

    Send the photo as `image_file`, `image_file_b64` or, if the server allows it, `image_url`.
    """
    service = _service(request)
    service.queue.refuse_if_full()
    form = await read_form(request, ANY_FORM, service.limits.body)
    _only(form, *REMOVEBG_FILES)
    wish = merged(RemovebgOptions.model_construct(set()), form.fields, RemovebgFields)
    order = order_removebg(service.predictor, wish, _file(form, "bg_image_file"))
    found = await _answer(request, order, await _removebg_photo(request, form, wish))
    return _as_json(found) if _wants_json(request) else found


def _wants_json(request: Request) -> bool:
    """True if JSON comes first in the Accept header, before any kind of image."""
    first = request.headers.get("accept", "").partition(",")[0]
    return first.partition(";")[0].strip().lower() == JSON


def _as_json(found: Response) -> Response:
    """remove.bg's answer with the picture in base64; the place of the subject as numbers."""
    names = ("top", "left", "width", "height")
    places = {f"foreground_{name}": int(found.headers[f"X-Foreground-{name}"]) for name in names}
    result = base64.b64encode(found.body).decode()
    headers = {name: text for name, text in found.headers.items() if name.startswith("x-")}
    return JSONResponse({"data": {"result_b64": result, **places}}, headers=headers)


async def _removebg_photo(request: Request, form: Form, wish: RemovebgFields) -> bytes:
    upload = form.one("image_file")
    given = [upload is not None, bool(wish.image_file_b64), bool(wish.image_url)]
    if sum(given) != 1:
        raise RefusedError(400, "send one of image_file, image_file_b64 and image_url")
    if upload:
        return upload.data
    if wish.image_file_b64:
        return await _decoded(request, wish.image_file_b64)
    return await _photo_at(request, str(wish.image_url))


async def _decoded(request: Request, text: str) -> bytes:
    """Decode a photo in base64, which counts beside its text. Raises RefusedError."""
    service = _service(request)
    request.scope[HOLD](len(text) * 3 // 4)
    service.refuse_if_overfull()
    try:
        async with service.parsing:
            return await asyncio.to_thread(photo_in, text)
    except ValueError:
        raise RefusedError(400, "image_file_b64 is not valid base64") from None


async def _photo_at(request: Request, address: str) -> bytes:
    """Fetch a photo from the web. Raises RefusedError."""
    service = _service(request)
    if not service.urls:
        message = "this server does not accept image_url or url; send the photo itself"
        raise RefusedError(400, message)
    if service.fetches.locked():
        message = "too many downloads of image_url at a time; retry in 5 s"
        raise RefusedError(429, message, {"Retry-After": "5"})
    data = await unless_gone(request, _fetched(service, address))
    request.scope[HOLD](len(data))
    service.refuse_if_overfull()
    return data


async def _fetched(service: Service, address: str) -> bytes:
    async with service.fetches:
        return await fetch(address, service.limits.body)


@photos.post(
    "/api/batch",
    response_class=StreamingResponse,
    responses=responses((ZIP,)),
    openapi_extra=body(FORM, MatteOptions, FILES, ["image"]),
)
async def batch(request: Request, query: Annotated[MatteOptions, Query()]) -> Response:
    """Stream a zip with the results of several form files `image`, then manifest.jsonl."""
    service = _service(request)
    service.queue.refuse_if_full()
    form = await read_form(request, FORM, service.limits.batch_body)
    _only(form, *FILE)
    wish = merged(query, form.fields, MatteOptions)
    order = order_matte(service.predictor, wish, _behind(form))
    uploads = form.files.get("image", [])
    if not 0 < len(uploads) <= BATCH_PHOTOS:
        message = f"the form has {len(uploads)} files named image; send 1 to {BATCH_PHOTOS}"
        raise RefusedError(400, message)
    request.scope[FACTS] = {"photos": len(uploads)}

    async def work(data: bytes) -> Result:
        await service.queue.room()
        return await _work(request, order, data)

    names = entry_names(uploads, f"-{wish.save}.{wish.format}")
    pieces = zip_of(uploads, names, work, service.queue.workers)
    headers = {"Content-Disposition": 'attachment; filename="latefusion.zip"'}
    return StreamingResponse(pieces, headers=headers, media_type=ZIP)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _only(form: Form, *names: str) -> None:
    """Refuse files with other field names; a photo that is the whole body has the name ""."""
    for name in form.files:
        if name not in ("", *names):
            raise RefusedError(
                400, f"this route has no file field {name[:40]!r}; use {' or '.join(names)}"
            )


def _photo(form: Form, name: str) -> bytes:
    upload: Upload | None = form.one("") or form.one(name)
    if upload is None:
        raise RefusedError(400, f"the request has no photo; send it as the form file {name}")
    return upload.data


def _behind(form: Form) -> bytes | None:
    return _file(form, "background_image")


def _file(form: Form, name: str) -> bytes | None:
    upload = form.one(name)
    return upload.data if upload and (upload.data or upload.name) else None


async def _answer(request: Request, order: Order, data: bytes) -> Response:
    """Run the order and return its picture. Raises GoneError if the client disconnects."""
    result = await unless_gone(request, _work(request, order, data))
    request.scope[FACTS] = {
        "photo_seconds": round(result.seconds, 4),
        "pixels": result.pixels,
        "subject_found": result.facts.subject_found,
        "confidence": result.facts.confidence,
        "notes": result.facts.notes,
    }
    request.scope[HOLD](len(result.data))
    headers = {
        "X-Latefusion-Seconds": f"{result.seconds:.4f}",
        "X-Latefusion-Subject": "found" if result.facts.subject_found else "none",
        "X-Latefusion-Confidence": f"{result.facts.confidence:.4f}",
        "X-Latefusion-Notes": ", ".join(result.facts.notes),
        "X-Latefusion-Warnings": "; ".join(result.facts.warnings),
        "X-Latefusion-Device": result.device,
    }
    if order.ignored:
        headers["X-Latefusion-Ignored"] = ", ".join(order.ignored)
    if request.url.path.startswith(REMOVEBG):
        headers |= _removebg_headers(result.frame, result.facts.subject_found)
    return Response(result.data, headers=headers, media_type=result.media_type)


def _removebg_headers(frame: Frame, subject_found: bool) -> dict[str, str]:
    found = {
        "X-Type": "person" if subject_found else "other",
        "X-Credits-Charged": 0,
        "X-Width": frame.width,
        "X-Height": frame.height,
        "X-Foreground-Top": frame.top,
        "X-Foreground-Left": frame.left,
        "X-Foreground-Width": frame.subject_width,
        "X-Foreground-Height": frame.subject_height,
    }
    return {name: str(value) for name, value in found.items()}


async def _work(request: Request, order: Order, data: bytes) -> Result:
    service = _service(request)
    limits = service.limits
    work = partial(fulfil, order, data, limits, service.readers)
    result = await service.queue.run(work, limits.seconds)
    service.queue.add_seconds(result.seconds)
    service.metrics.add_photo(request.scope["route"].path, result.seconds)
    return result
