"""The routes that take photos: /api/matte, /api/remove, /api/batch and /v1.0/removebg."""

import base64
import binascii
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

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
    merged,
)
from latefusion.server.orders import (
    Order,
    Result,
    fulfil,
    order_matte,
    order_remove,
    order_removebg,
)
from latefusion.server.queue import unless_gone
from latefusion.server.refusals import RefusedError
from latefusion.server.service import Service
from latefusion.server.watch import FACTS, HOLD
from latefusion.server.zips import entry_names, zip_of

ONE = (MULTIPART, BYTES, ANY_IMAGE)
FORM = (MULTIPART,)
ANY_FORM = (MULTIPART, URLENCODED, JSON)
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


@photos.post(
    "/v1.0/removebg",
    response_class=Response,
    responses=responses(),
    openapi_extra=body(ANY_FORM, RemovebgFields, {"image_file": BINARY}, []),
)
async def removebg(request: Request) -> Response:
    """Return a picture as remove.bg does.

    Send the photo as `image_file`, `image_file_b64` or, if the server allows it, `image_url`.
    """
    service = _service(request)
    service.queue.refuse_if_full()
    form = await read_form(request, ANY_FORM, service.limits.body)
    _only(form, "image_file")
    wish = merged(RemovebgOptions.model_construct(set()), form.fields, RemovebgFields)
    order = order_removebg(service.predictor, wish)
    return await _answer(request, order, await _removebg_photo(request, form, wish))


async def _removebg_photo(request: Request, form: Form, wish: RemovebgFields) -> bytes:
    service = _service(request)
    upload = form.one("image_file")
    given = [upload is not None, bool(wish.image_file_b64), bool(wish.image_url)]
    if sum(given) != 1:
        raise RefusedError(400, "send one of image_file, image_file_b64 and image_url")
    if upload:
        return upload.data
    if wish.image_file_b64:
        try:
            return base64.b64decode(wish.image_file_b64.rpartition(";base64,")[2], validate=True)
        except (binascii.Error, ValueError):
            raise RefusedError(400, "image_file_b64 is not valid base64") from None
    if not service.urls:
        raise RefusedError(400, "this server does not accept image_url; send image_file instead")
    if service.fetches.locked():
        message = "too many downloads of image_url at a time; retry in 5 s"
        raise RefusedError(429, message, {"Retry-After": "5"})
    data = await unless_gone(request, _fetched(service, str(wish.image_url)))
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
    upload = form.one("background_image")
    return upload.data if upload and (upload.data or upload.name) else None


async def _answer(request: Request, order: Order, data: bytes) -> Response:
    """Run the order and return its picture. Raises GoneError if the client disconnects."""
    result = await unless_gone(request, _work(request, order, data))
    request.scope[FACTS] = {
        "photo_seconds": round(result.seconds, 4),
        "pixels": result.pixels,
        **result.facts._asdict(),
    }
    request.scope[HOLD](len(result.data))
    headers = {
        "X-Latefusion-Seconds": f"{result.seconds:.4f}",
        "X-Latefusion-Subject": "found" if result.facts.subject_found else "none",
        "X-Latefusion-Confidence": f"{result.facts.confidence:.4f}",
        "X-Latefusion-Notes": ", ".join(result.facts.notes),
        "X-Latefusion-Device": result.device,
    }
    return Response(result.data, headers=headers, media_type=result.media_type)


async def _work(request: Request, order: Order, data: bytes) -> Result:
    service = _service(request)
    limits = service.limits
    work = partial(fulfil, order, data, limits.pixels)
    result = await service.queue.run(work, limits.seconds)
    service.queue.add_seconds(result.seconds)
    service.metrics.add_photo(request.scope["route"].path, result.seconds)
    return result
