"""The options of each route, checked in the same way in query and form."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from latefusion.errors import shown
from latefusion.inference.options import Declared, MattingOptions, declared
from latefusion.inference.outputs import Kind, Look, Suffix
from latefusion.server.refusals import RefusedError

RemovebgFormat = Literal["auto", "png", "webp", "tiff", "tif", "jpg", "jpeg"]  # auto and Suffix
RemovebgSize = Literal["auto", "preview", "small", "regular", "medium", "hd", "full", "4k", "50mp"]
LEVELS = r"^\s*[0-9]{1,3}(\s*,\s*[0-9]{1,3}){3}\s*$"  # r,g,b,a
LONGEST = 100  # letters of an option
# remove.bg's options that would change the picture, and their values that leave it as it is.
UNCHANGED = {
    "roi": ("0% 0% 100% 100%",),
    "crop_margin": ("0", "0px", "0%"),
    "scale": ("original", "100%"),
    "position": ("original",),
    "add_shadow": ("false", "0", "no"),
}
DEFAULT_ONLY = "Refused, unless it is the default."
NOTES = {"background": " An image is sent as the file background_image, never as a path."}

T = TypeVar("T", MattingOptions, Look)


class Options(BaseModel):
    """The options of any route. An empty option counts as not given, as forms send them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {name: value for name, value in given.items() if value != ""}


def fields_of(*kinds: type[Any]) -> type[Options]:
    """A model with the fields that dataclasses of options declare for clients."""
    found = [each for kind in kinds for each in _for_clients(kind)]
    fields: dict[str, Any] = {each.name: (_type_of(each), _field_of(each)) for each in found}
    return create_model("Fields", __base__=Options, **fields)


def _for_clients(kind: type[Any]) -> list[Declared]:
    return [each for each in declared(kind) if each.option.clients]


def _type_of(each: Declared) -> Any:
    """Its type; where the choices are numbers, a form sends their digits."""
    if each.choices and isinstance(each.choices[0], int):
        return Annotated[each.type, BeforeValidator(_number)]
    return each.type


def _number(text: Any) -> Any:
    return int(text) if isinstance(text, str) and text.isdecimal() else text


def _field_of(each: Declared) -> Any:
    return Field(
        each.default,
        ge=each.option.least,
        le=each.option.most,
        max_length=LONGEST if each.type is str else None,
        description=each.option.help + NOTES.get(each.name, ""),
    )


def _lower(text: Any) -> Any:
    return text.strip().lower() if isinstance(text, str) else text


class MatteOptions(fields_of(MattingOptions, Look)):  # type: ignore[misc]  # a base made of data
    """The options of `latefusion matte`."""

    save: Kind = Field("cutout", description="The kind of result.")
    format: Annotated[Suffix, BeforeValidator(_lower)] = Field(
        "png", description="The file format; jpg holds no transparency."
    )

    def over(self, base: T) -> T:
        """The client's options in place of those in `base`. Raises LatefusionError."""
        given = {each.name: getattr(self, each.name) for each in _for_clients(type(base))}
        return replace(base, **given)


def _is_given(options: Options, name: str) -> bool:
    """True if an option was sent with another value than its default."""
    return bool(getattr(options, name) != type(options).model_fields[name].default)


class RemoveOptions(Options):
    """The options of rembg's server; all names of its models mean the network of this server."""

    model: str = Field(
        "lite", max_length=LONGEST, description="Any of rembg's names; all mean this network."
    )
    a: bool = Field(False, description="Alpha matting: no effect, alpha is soft in any case.")
    af: int = Field(240, ge=0, le=255, description="No effect.")
    ab: int = Field(10, ge=0, le=255, description="No effect.")
    ae: int = Field(10, ge=0, le=10_000, description="No effect.")
    om: bool = Field(False, description="Only the mask.")
    ppm: bool = Field(False, description="Post-process the mask: keep the largest subject.")
    dc: bool = Field(False, description="Decontaminate: no effect, colours are the subject's own.")
    vm: bool = Field(False, description="ViTMatte: no effect.")
    bgc: str | None = Field(None, pattern=LEVELS, description="Background as r,g,b,a.")
    extras: str | None = Field(
        None, max_length=10_000, description="JSON for rembg's models: no effect."
    )

    @property
    def ignored(self) -> list[str]:
        """Names of the options that were given and have no effect."""
        names = ("model", "a", "af", "ab", "ae", "dc", "vm", "extras")
        return [name for name in names if _is_given(self, name)]


class RemoveUrlOptions(RemoveOptions):
    """The options of rembg's server for a photo from the web."""

    url: str = Field(max_length=2000, description="Its address; needs --allow-urls.")


class RemovebgOptions(Options):
    """The options of remove.bg that have a meaning here."""

    size: Annotated[RemovebgSize, BeforeValidator(_lower)] = Field(
        "auto",
        description="Megapixels at most: preview, small and regular 0.25, medium 1.5, hd 4, 4k 10,"
        " 50mp 50; auto and full as the photo is.",
    )
    format: Annotated[RemovebgFormat, BeforeValidator(_lower)] = Field(
        "auto", description="auto: png, or on a background jpg."
    )
    bg_color: str | None = Field(None, max_length=LONGEST, description="A name or hex digits.")
    crop: bool = Field(False, description="Crop to the subject.")
    channels: Literal["rgba", "alpha"] = Field("rgba", description="alpha: the matte alone.")
    type: str = Field("auto", max_length=LONGEST, description="No effect: people are cut out.")
    type_level: str = Field("1", max_length=LONGEST, description="No effect.")
    semitransparency: str = Field("true", max_length=LONGEST, description="No effect.")
    shadow_opacity: str = Field("", max_length=LONGEST, description="No effect without a shadow.")
    roi: str = Field("0% 0% 100% 100%", max_length=LONGEST, description=DEFAULT_ONLY)
    crop_margin: str = Field("0", max_length=LONGEST, description=DEFAULT_ONLY)
    scale: str = Field("original", max_length=LONGEST, description=DEFAULT_ONLY)
    position: str = Field("original", max_length=LONGEST, description=DEFAULT_ONLY)
    add_shadow: str = Field("false", max_length=LONGEST, description=DEFAULT_ONLY)
    bg_image_url: str = Field(
        "", max_length=2000, description="Refused; send the background as bg_image_file."
    )

    @property
    def ignored(self) -> list[str]:
        """Names of the options that were given and have no effect."""
        names = ("type", "type_level", "semitransparency", "shadow_opacity")
        asked = [name for name in names if _is_given(self, name)]
        return [name for name in asked if (name, self.type) != ("type", "person")]

    def check(self) -> None:
        """Raise RefusedError for an option that would change the picture and is not supported."""
        for name, values in UNCHANGED.items():
            value = " ".join(getattr(self, name).lower().split())
            if value not in values:
                message = f"{name} is not supported and would change the picture; leave it out"
                raise RefusedError(400, message)
        if self.bg_image_url:
            raise RefusedError(
                400, "bg_image_url is not fetched; send it as the file bg_image_file"
            )


class RemovebgFields(RemovebgOptions):
    """The options of remove.bg, and a photo that is not sent as the file image_file."""

    image_file_b64: str | None = Field(None, description="The photo in base64.")
    image_url: str | None = Field(
        None, max_length=2000, description="Its address, where the server was told --allow-urls."
    )


Some = TypeVar("Some", bound=Options)


def merged(query: Options, fields: Mapping[str, str], kind: type[Some]) -> Some:
    """The options of a query and a form; the form counts where both name one.

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
        return f"unknown option {name}; see /docs"
    if first["type"] == "string_pattern_mismatch":  # only bgc has a pattern
        return f"{name} is not r,g,b,a with levels from 0 to 255; use e.g. 255,255,255,255"
    return f"{name}: {shown(first['msg'][:200])}"
