"""Percent-encoding and base64 as the standard library reads them, in bounded memory."""

import base64
import tracemalloc
from collections.abc import Callable
from urllib.parse import parse_qsl, quote_plus, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefusion.server.decoding import Pairs, photo_in, unquoted
from latefusion.server.limits import FIELDS, NAME_LETTERS
from latefusion.server.refusals import RefusedError

MB = 1_000_000


def pairs_of(text: bytes, step: int) -> list[tuple[str, str]]:
    pairs = Pairs()
    for start in range(0, len(text), step):
        pairs.add(text[start : start + step])
    return pairs.end()


def peak_of(work: Callable[[], object]) -> float:
    """Megabytes that the work takes at its peak."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / MB
    finally:
        tracemalloc.stop()


@settings(deadline=None)
@given(st.text("%%%+ 012fFgé=").map(str.encode))
def test_escapes_are_decoded_as_the_standard_library_does(text: bytes) -> None:
    assert unquoted(text) == unquote_to_bytes(text.replace(b"+", b" "))


@settings(deadline=None)
@given(st.text("&=%%+ab2Ff", max_size=30), st.integers(1, 7))
def test_pairs_are_the_same_however_they_are_cut(text: str, step: int) -> None:
    wanted = parse_qsl(text, keep_blank_values=True, errors="replace")
    try:
        assert pairs_of(text.encode(), step) == [pair for pair in wanted if pair != ("", "")]
    except UnicodeError:
        assert any("\ufffd" in part for pair in wanted for part in pair)


@pytest.mark.parametrize("filler", [b"%", b"%4", b"%41", b"+", b"=", b"%zz"])
def test_a_form_takes_little_more_memory_than_its_text(filler: bytes) -> None:
    """`parse_qsl` takes 190 MB for a megabyte of %."""
    text = b"image_file_b64=" + filler * (2 * MB // len(filler))
    assert peak_of(lambda: pairs_of(text, 1 << 16)) < 8


def test_names_and_fields_are_limited_while_they_come() -> None:
    with pytest.raises(RefusedError, match=f"more than {FIELDS} fields"):
        Pairs().add(b"a=1&" * FIELDS)
    pairs = Pairs()
    pairs.add(b"a" * NAME_LETTERS)
    with pytest.raises(RefusedError, match="a name in the form"):
        pairs.add(b"a")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 400_000, 1_200_001])
@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
def test_base64_comes_back_whole(size: int, head: str) -> None:
    data = (b"lopsided \xff\x00" * (size // 10 + 1))[:size]
    assert photo_in(head + base64.b64encode(data).decode()) == data
    assert photo_in(head + base64.encodebytes(data).decode().replace("\n", "\r\n")) == data


@pytest.mark.parametrize(
    "text",
    ["%%%%", "AAA", "AA==AAAA", "AA==" + " " * 600_000 + "AAAA", "AAA=A", "ÄAAA", "A-_A", "=", "A"],
)
def test_what_is_not_base64_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        photo_in(text)


def test_base64_with_much_white_space_takes_little_memory() -> None:
    """A list of its words would take 50 bytes for each of them."""
    text = "AB CD\n" * 500_000
    assert peak_of(lambda: photo_in(text)) < 12


def test_a_quoted_photo_survives() -> None:
    text = base64.b64encode(bytes(range(256)) * 3).decode()
    [(name, value)] = pairs_of(f"image_file_b64={quote_plus(text)}".encode(), 5)
    assert (name, photo_in(value)) == ("image_file_b64", bytes(range(256)) * 3)
