"""Request bodies, responses and errors for the OpenAPI document; FastAPI cannot derive them."""

from collections.abc import Mapping
from typing import Any

from latefusion.server.forms import ANY_IMAGE, BYTES, JSON, MULTIPART, URLENCODED
from latefusion.server.options import Options
from latefusion.server.orders import MEDIA_TYPES

BINARY = {"type": "string", "format": "binary"}
ZIP = "application/zip"
HEADERS = {
    "X-Latefusion-Seconds": ("Seconds of work on the photo, without waiting.", "number"),
    "X-Latefusion-Subject": ("found, or none where nobody was found.", "string"),
    "X-Latefusion-Confidence": (
        "Estimated probability, in [0, 1], that the matte is good.",
        "number",
    ),
    "X-Latefusion-Notes": (
        "What to look at: no-subject, unsure, parts, separated by commas, or nothing.",
        "string",
    ),
    "X-Latefusion-Warnings": ("What could not be followed, or nothing.", "string"),
    "X-Latefusion-Device": ("The device that the network ran on.", "string"),
    "X-Latefusion-Ignored": ("Options of the request without effect, if any.", "string"),
}
REFUSALS = {
    400: "An invalid option, or a photo that cannot be read.",
    401: "A missing or wrong API key.",
    408: "The body did not arrive in time.",
    413: "More bytes or pixels than the limits allow.",
    415: "A Content-Type that this route does not accept.",
    429: "The queue is full; Retry-After says when to retry.",
    500: "A bug.",
    503: "The server is shutting down.",
    504: "The photo took longer than the time limit.",
}
ERROR = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "string"}},
        }
    }
}


def responses(media_types: tuple[str, ...] = tuple(MEDIA_TYPES.values())) -> dict[Any, Any]:
    """The responses of a route that takes photos, by status."""
    fine = {
        "description": "The result.",
        "content": {media_type: {"schema": BINARY} for media_type in media_types},
    }
    if media_types != (ZIP,):
        fine["headers"] = {
            name: {"description": what, "schema": {"type": type_}}
            for name, (what, type_) in HEADERS.items()
        }
    refusals = {
        status: {"description": what, "content": ERROR} for status, what in REFUSALS.items()
    }
    return {200: fine, **refusals}


def body(
    kinds: tuple[str, ...], options: type[Options], files: Mapping[str, Any], needs: list[str]
) -> dict[str, Any]:
    """The request body of a route: a form of options and files, or the photo alone.

    `kinds` are the accepted content types, and `needs` the fields that a form must have.
    """
    fields = {
        "type": "object",
        "additionalProperties": False,
        "required": needs,
        "properties": {**files, **options.model_json_schema()["properties"]},
    }
    texts = {**fields, "properties": options.model_json_schema()["properties"], "required": []}
    schemas = {
        MULTIPART: fields,
        URLENCODED: texts,
        JSON: texts,
        BYTES: BINARY,
        ANY_IMAGE: BINARY,
    }
    content = {kind: {"schema": schemas[kind]} for kind in kinds}
    return {"requestBody": {"required": True, "content": content}}
