"""What the OpenAPI document says of bodies, answers and errors, which FastAPI cannot see."""

from collections.abc import Mapping
from typing import Any

from latefusion.server.forms import ANY_IMAGE, BYTES, JSON, MULTIPART, URLENCODED
from latefusion.server.options import Options
from latefusion.server.orders import MEDIA_TYPES

BINARY = {"type": "string", "format": "binary"}
HEADERS = {
    "X-Latefusion-Seconds": ("What the photo took, without waiting.", "number"),
    "X-Latefusion-Confidence": ("The chance, in [0, 1], of a good matte.", "number"),
    "X-Latefusion-Device": ("Where the network ran.", "string"),
}
REFUSALS = {
    400: "An option that is none, or a photo that cannot be read.",
    401: "No key, or a wrong one.",
    408: "The body did not arrive in time.",
    413: "More bytes or pixels than are accepted.",
    415: "A body of another kind.",
    429: "All places are taken; Retry-After says when to come again.",
    500: "A bug.",
    503: "Shutting down.",
    504: "The photo took too long.",
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
    """The answers of a route that takes photos."""
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


ZIP = "application/zip"


def body(
    kinds: tuple[str, ...], options: type[Options], files: Mapping[str, Any], needs: list[str]
) -> dict[str, Any]:
    """The request body of a route: options and files as a form, or the photo alone."""
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
