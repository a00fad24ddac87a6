"""Pairs as canvases and views, and the order they are shown in."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from latefusion.data.dataset import (
    Decoded,
    Numbers,
    RandomOrder,
    Resident,
    WithBackgrounds,
    background_canvas,
    canvas,
    pair_canvas,
    pair_view,
)
from latefusion.data.share import Share
from latefusion.data.sources import Cutout, Pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A wide photo: an orange left third, which is the subject, and a blue rest."""
    photo = np.full((40, 120, 3), (20, 30, 220), np.uint8)
    photo[:, :40] = (240, 120, 10)
    alpha = np.zeros((40, 120), np.uint8)
    alpha[:, :40] = 255
    cv2.imwrite(str(tmp_path / "a.png"), photo[:, :, ::-1])
    cv2.imwrite(str(tmp_path / "a-alpha.png"), alpha)
    return Pair("a", tmp_path / "a.png", tmp_path / "a-alpha.png")


def test_a_canvas_is_the_stretched_photo_with_alpha_and_foreground(pair: Pair) -> None:
    sample = pair_canvas(pair, 60)
    pixels = sample["pixels"]
    assert pixels.shape == (7, 60, 60)
    assert pixels.dtype == torch.uint8
    assert sample["aspect"] == 3
    assert pixels[:3, 30, 5].tolist() == [240, 120, 10]
    assert pixels[:3, 30, 55].tolist() == [20, 30, 220]
    assert pixels[3, 30].tolist() == [255] * 20 + [0] * 40
    assert pixels[4:, 30, 5].tolist() == [240, 120, 10]
    orange, blue = pixels[4:, 30, 22].int(), pixels[4:, 30, 55].int()
    assert orange[0] > orange[2] + 100  # beyond the outline the subject's colour goes on
    assert blue.tolist() == [0, 0, 0]


@pytest.fixture
def cutout() -> Cutout:
    """A wide picture: an orange left third with a soft edge; what is transparent is black."""
    rgba = np.zeros((40, 120, 4), np.uint8)
    rgba[:, :40] = (240, 120, 10, 255)
    rgba[:, 40:44] = (240, 120, 10, 100)
    bgra = rgba[:, :, [2, 1, 0, 3]]
    return Cutout("c", cv2.imencode(".png", bgra)[1].tobytes())


def test_the_canvas_of_a_cutout_has_its_colour_beyond_the_outline(cutout: Cutout) -> None:
    sample = canvas(cutout, 60)
    pixels = sample["pixels"]
    assert (sample["key"], sample["cutout"], sample["aspect"]) == ("c", True, 3)
    assert pixels.shape == (7, 60, 60)
    assert torch.equal(pixels[:3], pixels[4:])  # there is nothing else but the foreground
    assert pixels[3, 30].tolist() == [255] * 20 + [100] * 2 + [0] * 38
    around = pixels[4:, :, :32].flatten(1)  # ten pixels more than are opaque or soft
    assert around.unique(dim=1).tolist() == [[240], [120], [10]]


def test_a_shrunk_cutout_has_no_dark_fringe() -> None:
    """Thin strands: black transparent pixels must not be mixed into their colour."""
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[:, ::4] = (240, 120, 10, 255)
    shrunk = canvas(Cutout("c", cv2.imencode(".png", rgba[:, :, [2, 1, 0, 3]])[1].tobytes()), 16)
    assert 40 < shrunk["pixels"][3].float().mean() < 90  # a quarter of 255
    colours = shrunk["pixels"][4:].flatten(1).float()
    assert (colours - torch.tensor([[240.0], [120], [10]])).abs().max() <= 1


def test_a_background_canvas_is_the_middle_square(tmp_path: Path) -> None:
    picture = np.zeros((30, 90, 3), np.uint8)
    picture[:, 30:60] = (200, 10, 90)
    cv2.imwrite(str(tmp_path / "b.png"), picture[:, :, ::-1])
    canvas = background_canvas(tmp_path / "b.png", 24)
    assert canvas.shape == (3, 24, 24)
    assert canvas.flatten(1).unique(dim=1).tolist() == [[200], [10], [90]]


@pytest.mark.parametrize(("box", "size"), [((64, 192), (64, 192)), ((64, 64), (32, 64)),
                                           ((256, 128), (32, 128))])  # fmt: skip
def test_a_view_is_the_whole_photo_in_multiples_of_32_within_the_box(
    pair: Pair, box: tuple[int, int], size: tuple[int, int]
) -> None:
    view = pair_view(pair, box)
    assert view["image"].shape == (3, *size)
    assert view["image"].dtype == torch.uint8
    assert view["alpha"].shape == (1, *size)
    assert view["image"][:, 10, 3].tolist() == [240, 120, 10]
    assert view["alpha"].max() == 1
    assert view["alpha"].mean().item() == pytest.approx(1 / 3, abs=0.02)


def test_every_pair_is_seen_once_an_epoch_in_an_order_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[tuple[int, int]]:
        sampler = RandomOrder(50, 7, seed)
        sampler.set_epoch(epoch)
        assert len(sampler) == 50
        return list(sampler)

    first = order(0, 0)
    assert sorted(pair for pair, _ in first) == list(range(50))
    assert {background for _, background in first} == set(range(7))
    assert order(0, 0) == first
    assert order(0, 1) != first
    assert order(1, 0) != first


def test_epochs_of_a_third_show_each_pair_once_in_three() -> None:
    sampler = RandomOrder(10, 7, seed=0, passes=1 / 3)
    shown: list[int] = []
    for epoch in range(10):
        sampler.set_epoch(epoch)
        shown += [pair for pair, _ in sampler]
        assert len(sampler) == 3
    assert sorted(shown) == sorted(3 * list(range(10)))
    assert [sorted(shown[start : start + 10]) for start in (0, 10, 20)] == 3 * [list(range(10))]
    assert shown[:10] != shown[10:20]


def test_cutouts_are_drawn_among_the_pairs_as_their_portion() -> None:
    sampler = RandomOrder(30, 7, seed=0, cutouts=5, portion=0.25, passes=2)
    drawn = [item for item, _ in sampler]
    assert len(sampler) == len(drawn) == 80
    assert sorted(item for item in drawn if item < 30) == sorted(2 * list(range(30)))
    cut = [item for item in drawn if item >= 30]
    assert len(cut) == 20  # a quarter
    assert set(cut) == set(range(30, 35))
    for part in (drawn[:40], drawn[40:]):
        assert 5 <= sum(item >= 30 for item in part) <= 15


def test_the_order_with_cutouts_is_of_seed_and_epoch_only() -> None:
    def order(seed: int, epoch: int) -> list[tuple[int, int]]:
        sampler = RandomOrder(30, 7, seed, cutouts=5, portion=0.25, passes=2)
        sampler.set_epoch(epoch)
        return list(sampler)

    first = order(0, 0)
    assert order(0, 0) == first
    assert order(0, 1) != first
    assert order(1, 0) != first


def test_two_shares_with_cutouts_and_passes_make_up_the_batches_of_one() -> None:
    def order(share: Share) -> RandomOrder:
        return RandomOrder(15, 7, 3, batch=8, share=share, cutouts=4, portion=0.2, passes=3)

    whole = list(order(Share()))
    shares = [list(order(Share(rank, 2))) for rank in range(2)]
    assert len(whole) == 2 * len(shares[0]) == 2 * len(order(Share(1, 2))) == 56
    for batch in range(7):
        part = slice(4 * batch, 4 * batch + 4)
        assert shares[0][part] + shares[1][part] == whole[8 * batch : 8 * batch + 8]


@pytest.mark.parametrize("rooms", [0, 3])
def test_a_resident_batch_is_what_the_loader_would_give(
    pair: Pair, cutout: Cutout, rooms: int
) -> None:
    def data() -> WithBackgrounds:
        return WithBackgrounds(
            Decoded([pair, cutout], lambda item: canvas(item, 32), cache=False),
            Decoded(range(rooms), lambda level: torch.full((3, 32, 32), level), cache=False),
        )

    order = RandomOrder(1, rooms, 0, cutouts=1, portion=0.5)
    (decoded,) = DataLoader(data(), batch_size=2, sampler=order)
    ((items, behind),) = DataLoader(Numbers(data()), batch_size=2, sampler=order)
    resident = Resident(data(), torch.device("cpu")).batch(items, behind)
    assert resident.keys() == decoded.keys()
    assert resident["key"] == decoded["key"]
    for name in decoded.keys() - {"key"}:
        assert torch.equal(resident[name], decoded[name]), name
        assert resident[name].dtype == decoded[name].dtype, name
    assert sorted(resident["cutout"].tolist()) == [False, True]


def test_canvases_come_in_batches_with_their_backgrounds(pair: Pair) -> None:
    torch.manual_seed(0)
    pairs = Decoded([pair, pair], lambda item: pair_canvas(item, 32), cache=True)
    backgrounds = Decoded([1, 2, 3], lambda level: torch.full((3, 32, 32), level), cache=True)
    loader = DataLoader(
        WithBackgrounds(pairs, backgrounds), batch_size=2, sampler=RandomOrder(2, 3, 0)
    )
    (batch,) = loader
    assert batch["pixels"].shape == (2, 7, 32, 32)
    assert batch["aspect"].dtype == torch.float32
    drawn = [background for _, background in RandomOrder(2, 3, 0)]
    assert batch["background"][:, 0, 0, 0].tolist() == [level + 1 for level in drawn]


def test_without_backgrounds_a_sample_has_none(pair: Pair) -> None:
    pairs = Decoded([pair], lambda item: pair_canvas(item, 32), cache=False)
    samples = WithBackgrounds(pairs, Decoded([], background_canvas, cache=False))
    assert list(RandomOrder(1, 0, 0)) == [(0, 0)]
    assert sorted(samples[0, 0]) == ["aspect", "cutout", "key", "pixels"]


@pytest.mark.parametrize(("cache", "decoded"), [(True, ["a", "b"]), (False, ["a", "b", "a"])])
def test_a_cache_decodes_each_item_once(cache: bool, decoded: list[str]) -> None:
    asked: list[str] = []

    def decode(item: str) -> str:
        asked.append(item)
        return item.upper()

    items = Decoded(["a", "b"], decode, cache)
    assert [items[0], items[1], items[0]] == ["A", "B", "A"]
    assert asked == decoded
