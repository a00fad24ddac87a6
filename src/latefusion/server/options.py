"""What can be asked for: the options of each route, named and checked once for query and form."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from latefusion.errors import shown
from latefusion.server.refusals import RefusedError

Kind = Literal["cutout", "alpha", "foreground", "trimap", "doubt", "branches", "preview"]
Format = Literal["png", "webp", "tiff", "jpg"]
Bits = Annotated[Literal[8, 16], BeforeValidator(lambda text: int(text) if text else text)]
LEVELS = r"^\s*[0-9]{1,3}(\s*,\s*[0-9]{1,3}){3}\s*$"  # r,g,b,a
LONGEST = 100  # letters of an option


class Options(BaseModel):
    """Of any route. An empty option counts as not given, as forms send them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {name: value for name, value in given.items() if value != ""}


class MatteOptions(Options):
    """As `latefusion matte` has them."""

    save: Kind = Field("cutout", description="What to make of the photo.")
    background: str = Field(
        "transparent",
        max_length=LONGEST,
        description="Behind the cut-out: a colour, blur, blur:RADIUS or transparent. An image is"
        " sent as the file background_image.",
    )
    linear: bool = Field(False, description="Mix subject and background in linear light.")
    crop: bool = Field(False, description="Crop the result to the subject.")
    margin: float = Field(
        0.05, ge=0, le=10, description="With crop: room, as a share of its longer side."
    )
    format: Format = Field("png", description="jpg where nothing is transparent.")
    bits: Bits = Field(8, description="Of the alpha, in png and tiff.")
    framing: Literal["auto", "whole"] = Field(
        "auto", description="auto looks a second time, closer, at a small subject."
    )
    tiles: bool = Field(
        False, description="See the outline of a large photo in its own pixels; takes longer."
    )
    refine: Literal["closed-form", "off"] = Field(
        "closed-form", description="closed-form solves the outline anew from the photo's colours."
    )
    subject: str = Field(
        "all", max_length=30, description="Whom to keep: all, largest, or the one at X,Y."
    )
    fill_holes: bool = Field(False, description="Close small gaps that the subject encloses.")
    rotate_search: bool = Field(False, description="Try quarter turns where it is not sure.")


class RemoveOptions(Options):
    """rembg's. The names of its models all mean the network of this server."""

    model: str = Field("u2net", max_length=LONGEST, description="Any of rembg's names.")
    a: bool = Field(False, description="Alpha matting: no effect, alpha is soft in any case.")
    af: int = Field(240, ge=0, le=255, description="No effect.")
    ab: int = Field(10, ge=0, le=255, description="No effect.")
    ae: int = Field(10, ge=0, le=10_000, description="No effect.")
    om: bool = Field(False, description="Only the mask.")
    ppm: bool = Field(False, description="Post-process the mask: keep the largest subject.")
    bgc: str | None = Field(None, pattern=LEVELS, description="Background as r,g,b,a.")


class RemovebgOptions(Options):
    """Those of remove.bg that have a meaning here."""

    size: Literal["auto", "preview", "small", "regular", "medium", "hd", "full", "4k"] = Field(
        "auto",
        description="Megapixels at most: preview, small and regular 0.25, medium 1.5, hd 4, 4k 10;"
        " auto and full as the photo is.",
    )
    format: Literal["auto", "png", "jpg", "webp"] = Field(
        "auto", description="auto: png, or with bg_color jpg."
    )
    bg_color: str | None = Field(None, max_length=LONGEST, description="A name or hex digits.")
    crop: bool = Field(False, description="Crop to the subject.")
    channels: Literal["rgba", "alpha"] = Field("rgba", description="alpha: the matte alone.")
    type: Literal["auto", "person"] = Field("auto", description="People are what is cut out.")


class RemovebgFields(RemovebgOptions):
    """With the two that say what the photo is, where it does not come as the file image_file."""

    image_file_b64: str | None = Field(None, description="The photo in base64.")
    image_url: str | None = Field(
        None, max_length=2000, description="Its address, where the server was told --allow-urls."
    )


Some = TypeVar("Some", bound=Options)


def merged(query: Options, fields: Mapping[str, str], kind: type[Some]) -> Some:
    """The options of a query and of a form, which counts where both name one.

    Raises RefusedError.
    """
    given: dict[str, Any] = query.model_dump(exclude_unset=True)
    try:
        return kind.model_validate({**given, **fields})
    except ValidationError as error:
        raise RefusedError(
            400, told(error.errors(include_url=False, include_context=False, include_input=False))
        ) from None


def told(errors: Any) -> str:
    """The first of pydantic's errors in one line."""
    first = errors[0]
    name = shown(str(first["loc"][-1])[:40])
    if first["type"] == "extra_forbidden":
        return f"{name} is no option; /docs names them all"
    return f"{name}: {shown(first['msg'][:200])}"
