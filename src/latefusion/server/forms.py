"""Request bodies in memory: multipart and other forms, JSON, or the photo alone."""

import asyncio
import json
import re
import string
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple, TypeAlias

from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from latefusion.server.bodies import soon, stream_of
from latefusion.server.decoding import Pairs
from latefusion.server.limits import (
    BATCH_PHOTOS,
    FIELDS,
    NAME_LETTERS,
    TEXT_LETTERS,
)
from latefusion.server.refusals import RefusedError

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
JSON = "application/json"
BYTES = "application/octet-stream"
ANY_IMAGE = "image/*"
UTF_8 = (b"utf-8", b"utf8")
MOST_SIGNS = 1000  # brackets and commas in JSON
MOST_ESCAPES = 1 / 8  # share of backslashes in JSON; base64 with escaped line breaks has 1 / 19
BASE64 = f"{string.ascii_letters}{string.digits}+/=".encode()
WIDE_ESCAPE = re.compile(rb"\\u(?:[1-9a-fA-F]|0[1-9a-fA-F])")  # of a letter outside Latin-1
CUT_ESCAPE = 3  # bytes of a wide escape before the last one
PHOTO = "image_file_b64"  # the only field that may be longer than TEXT_LETTERS
SMALL = 100_000  # bytes of JSON that are parsed in less than a millisecond
NOT_ASCII = "a field with letters outside ASCII is too long"
CURES = {URLENCODED: "; with curl add -H 'Content-Type: application/octet-stream'"}


class Upload(NamedTuple):
    """An uploaded file with the name that its sender gave it, which is not to be trusted."""

    name: str
    data: bytes


@dataclass
class Form:
    """The fields and files of a body."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[Upload]] = field(default_factory=dict)

    def one(self, name: str) -> Upload | None:
        """The file of that name, or None. Raises RefusedError for several."""
        found = self.files.get(name, [])
        if len(found) > 1:
            raise RefusedError(400, f"{len(found)} files are called {name}; send one")
        return found[0] if found else None


class _InMemory(MultiPartParser):
    """Starlette's parser without temporary files: the limit of a body is much lower."""

    spool_max_size = 2**62

    def on_part_end(self) -> None:
        """Refuse long text that is not ASCII before it takes four bytes a letter."""
        text = self._current_part.data
        if len(text) > TEXT_LETTERS and not text.isascii():
            raise MultiPartException(NOT_ASCII)
        super().on_part_end()


async def _multipart(request: Request, most: int) -> Form:
    _, parameters = parse_options_header(request.headers["content-type"])
    if parameters.get(b"charset", b"utf-8").strip().lower() not in UTF_8:
        # Some of Python's decoders, such as punycode, take hours for a few megabytes.
        raise RefusedError(400, "the form's charset is not UTF-8; send it in UTF-8")
    parser = _InMemory(
        request.headers,
        stream_of(request, most),
        max_files=BATCH_PHOTOS + 1,
        max_fields=FIELDS,
        max_part_size=most,
    )
    try:
        return await _sorted(await parser.parse())
    except MultiPartException as error:
        raise RefusedError(400, f"the form is broken: {error.message}") from None
    except (ValueError, LookupError):  # an unknown charset, or one that is not for text
        raise RefusedError(400, "the form is broken: its text is not UTF-8") from None


async def _sorted(data: FormData) -> Form:
    form = Form()
    try:
        for name, value in data.multi_items():
            if isinstance(value, UploadFile):
                upload = Upload(value.filename or "", await value.read())
                await value.close()
                form.files.setdefault(name, []).append(upload)
            else:
                _add(form, name, value)
    finally:
        await data.close()
    return form


def _add(form: Form, name: str, value: str) -> None:
    if len(name) > NAME_LETTERS:
        raise RefusedError(400, f"a name in the form is over {NAME_LETTERS} letters long")
    if len(value) > TEXT_LETTERS and name != PHOTO:
        raise RefusedError(400, f"{name[:40]!r} is over {TEXT_LETTERS} letters long; shorten it")
    if len(value) > TEXT_LETTERS and not value.isascii():
        raise RefusedError(400, f"the form is broken: {NOT_ASCII}")
    if form.fields.setdefault(name, value) != value:
        raise RefusedError(400, f"the form gives {name[:40]!r} twice; send one value")


async def _urlencoded(request: Request, most: int) -> Form:
    pairs, form = Pairs(), Form()
    async for piece in stream_of(request, most):
        pairs.add(piece)
    try:
        found = pairs.end()
    except UnicodeError:
        raise RefusedError(400, "the form is broken: its text is not UTF-8") from None
    for name, value in found:
        _add(form, name, value)
    return form


async def _json(request: Request, most: int) -> Form:
    found = await _loaded(request, await _json_body(request, most))
    if not isinstance(found, dict):
        raise RefusedError(400, 'the JSON is not an object; send e.g. {"size": "auto"}')
    if len(found) > FIELDS:
        raise RefusedError(400, f"the JSON has more than {FIELDS} fields")
    form = Form()
    for name, value in found.items():
        if value is not None:
            _add(form, name, _text(name, value))
    return form


async def _json_body(request: Request, most: int) -> bytes:
    """Read JSON that is quick to parse. Raises RefusedError for other JSON."""
    data, signs, escapes, wide, end = BytesIO(), 0, 0, False, b""
    async for piece in stream_of(request, most):
        size = data.tell() + data.write(piece)
        odd = piece.translate(None, BASE64)
        signs += sum(odd.count(sign) for sign in b"[{,")
        escapes += odd.count(b"\\")
        if signs > MOST_SIGNS:
            raise RefusedError(400, "the JSON has too many parts; send only options")
        if escapes > SMALL + MOST_ESCAPES * size:
            raise RefusedError(400, "the JSON has too many backslashes; send base64 without any")
        wide = wide or not odd.isascii() or bool(WIDE_ESCAPE.search(end + piece))
        if size > SMALL and wide:
            raise RefusedError(400, f"the JSON is broken: {NOT_ASCII}")
        end = (end + piece)[-CUT_ESCAPE:]
    return data.getvalue()  # the bytes themselves, not a copy


async def _loaded(request: Request, data: bytes) -> Any:
    try:
        if len(data) <= SMALL:
            return from_json(data)
        async with request.app.state.service.parsing:
            return await asyncio.to_thread(from_json, data)
    except ValueError:  # with lone surrogates, too, which no answer could repeat
        raise RefusedError(400, "the body is not JSON") from None


def _text(name: str, value: object) -> str:
    if isinstance(value, dict | list):
        raise RefusedError(400, f"{name[:40]!r} is neither text nor a number; send one of these")
    return value if isinstance(value, str) else json.dumps(value)


async def _alone(request: Request, most: int) -> Form:
    data = BytesIO()  # one block, where many pieces would leave holes in the heap
    async for piece in stream_of(request, most):
        data.write(piece)
    return Form(files={"": [Upload("", data.getvalue())]})


Reader: TypeAlias = Callable[[Request, int], Awaitable[Form]]
READERS: Mapping[str, Reader] = {
    MULTIPART: _multipart,
    URLENCODED: _urlencoded,
    JSON: _json,
    BYTES: _alone,
    ANY_IMAGE: _alone,
}


async def read_form(request: Request, kinds: tuple[str, ...], most: int) -> Form:
    """Read a body of one of these kinds of READERS, of at most `most` bytes.

    The format of an image is taken from its bytes, not from Content-Type. Raises RefusedError.
    """
    given = request.headers.get("content-type", BYTES).partition(";")[0].strip().lower()
    kind = ANY_IMAGE if given.startswith("image/") else given
    if kind not in kinds:
        cure = f"use {' or '.join(kinds)}{CURES.get(kind, '')}"
        raise RefusedError(415, f"a body of this Content-Type is not supported; {cure}")
    return await soon(request, READERS[kind](request, most))
