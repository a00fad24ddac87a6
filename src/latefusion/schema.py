"""A dataclass as the schema of a file's entries: values of other types are refused, not converted.

Files come from other people, and what is read of them gets into pages, paths and sizes.
"""

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Check = Callable[[Any], bool]

LARGEST = 2**63  # beyond any number in the files, and safe to compute with
MOST_LEVELS = 16  # of lists in lists


def read_entries(kind: type[T], given: object) -> T:
    """Build a dataclass from a mapping of JSON; entries without a field are passed over.

    Lists become tuples. Raises ValueError that names the first entry that is missing or does not
    fit the type of its field.
    """
    if not isinstance(given, dict):
        raise ValueError(f"expected entries, not {brief(given)}")
    checks, required = _schema(kind)  # type: ignore[arg-type]  # types are hashable
    if missing := required - given.keys():
        raise ValueError(f"{min(missing)} is missing")
    values = {}
    for name, check in checks.items():
        if name in given:
            value = given[name]
            if not check(value):
                raise ValueError(f"{name} cannot be {brief(value)}")
            values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def brief(value: object) -> str:
    """A value in a few words, however large it is or deep."""
    return reprlib.repr(value)


def is_shallow(value: object, levels: int = MOST_LEVELS) -> bool:
    """True if lists and mappings lie in each other at most that deep."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(is_shallow(each, levels - 1) for each in inner)


@cache
def _schema(kind: type) -> tuple[dict[str, Check], set[str]]:
    """The check of each field of a dataclass, and the fields without a default."""
    hints = get_type_hints(kind)
    required = {
        each.name
        for each in fields(kind)
        if each.default is MISSING and each.default_factory is MISSING
    }
    return {each.name: check_of(hints[each.name]) for each in fields(kind)}, required


@cache
def check_of(hint: Any) -> Check:
    """A function that tells if a value of JSON is of an annotated type.

    Whole numbers count as float, but true and false not as numbers; nan and inf count as none.
    """
    inner = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        checks = tuple(check_of(each) for each in inner)
        return lambda value: any(check(value) for check in checks)
    if get_origin(hint) in (Sequence, tuple):
        item = check_of(inner[0])
        return lambda value: isinstance(value, list | tuple) and all(map(item, value))
    if get_origin(hint) is dict:
        item = check_of(inner[1])
        return lambda value: isinstance(value, dict) and all(map(item, value.values()))
    return PLAIN[hint]


PLAIN: dict[Any, Check] = {
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    int: lambda value: type(value) is int and -LARGEST < value < LARGEST,
    float: lambda value: type(value) in (int, float) and -LARGEST < value < LARGEST,
    NoneType: lambda value: value is None,
    Any: lambda value: True,
}
