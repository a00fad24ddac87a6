"""Views of canvases: what moves together, what must occur, and what a composite shows."""

import math

import pytest
import torch
from torch import Tensor

from latefusion.data.augment import Recipe, augment, sample, view_transforms
from latefusion.data.share import Share

SIDE = 96
RED, GREEN, BLUE = (200, 40, 40), (40, 200, 40), (40, 40, 200)


def lopsided_alpha() -> Tensor:
    """(S, S) in [0, 1]: a soft disc in the upper left quarter."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    distance = torch.hypot(x - SIDE * 0.3, y - SIDE * 0.35)
    return ((SIDE * 0.25 - distance) / 12).clamp(0, 1)


def flat(colour: tuple[int, int, int], count: int = 1) -> Tensor:
    picture = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1)
    return picture.expand(count, 3, SIDE, SIDE).clone()


def canvases(image: Tensor, count: int) -> Tensor:
    """(N, 7, S, S) of an image (1, 3, S, S) with the lopsided alpha and a green foreground."""
    alpha = (lopsided_alpha() * 255).round().to(torch.uint8).view(1, 1, SIDE, SIDE)
    return torch.cat([image, alpha, flat(GREEN)], dim=1).repeat(count, 1, 1, 1)


def as_it_is(image: Tensor, share: Share) -> Tensor:
    return image


def transforms(count: int, recipe: Recipe, size: tuple[int, int] = (64, 64), aspect: float = 1.0,
               composited: bool = False) -> Tensor:  # fmt: skip
    torch.manual_seed(0)
    alpha = canvases(flat(RED), count)[:, 3]
    chosen = torch.full((count,), composited)
    return view_transforms(alpha, torch.full((count,), aspect), size, chosen, recipe)


def test_the_alpha_moves_with_the_image() -> None:
    torch.manual_seed(1)
    levels = (60 + 120 * lopsided_alpha()).to(torch.uint8)
    pixels = canvases(levels.expand(1, 3, SIDE, SIDE), 24)
    aspect = torch.linspace(0.5, 2, 24)
    image, alpha = augment(pixels, aspect, None, (64, 96), Recipe(), as_it_is)
    assert image.shape == (24, 3, 64, 96)
    assert alpha.shape == (24, 1, 64, 96)
    assert image.max() > 1.5
    for picture, truth in zip(image, alpha, strict=True):
        if truth.std() < 0.05:
            continue
        pair = torch.stack([picture.mean(dim=0).flatten(), truth.flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.98
    sides = alpha[..., :48].mean(dim=(1, 2, 3)) > alpha[..., 48:].mean(dim=(1, 2, 3))
    assert 0 < sides.sum() < 24  # mirrored ones among them


def test_a_view_of_the_whole_photo_is_the_photo() -> None:
    recipe = Recipe(crop=0, whole_scale=(1, 1), shift=0, stretch=0, rotation=0)
    theta = transforms(8, recipe, size=(SIDE, SIDE))
    canvas = canvases(flat(RED), 8)
    views = sample(canvas, theta, (SIDE, SIDE)) * 255
    mirrored = theta[:, 0, 0] < 0
    assert 0 < mirrored.sum() < 8
    expected = torch.where(mirrored.view(-1, 1, 1, 1), canvas.flip(3), canvas)
    torch.testing.assert_close(views, expected.float(), rtol=0, atol=0.01)


@pytest.mark.parametrize("aspect", [0.5, 2.0])
def test_a_photo_keeps_its_proportions_and_fits_the_view(aspect: float) -> None:
    recipe = Recipe(crop=0, whole_scale=(1, 1), shift=0, stretch=0, rotation=20)
    theta = transforms(16, recipe, size=(64, 128), aspect=aspect)
    # A step of one view pixel across and one down, in units of the photo's height.
    unit = torch.tensor([aspect, 1.0]).view(1, 2, 1)
    steps = theta[:, :, :2] * unit / torch.tensor([128, 64]).view(1, 1, 2)
    lengths = steps.norm(dim=1)
    torch.testing.assert_close(lengths[:, 0], lengths[:, 1])
    torch.testing.assert_close((steps[:, :, 0] * steps[:, :, 1]).sum(dim=1), torch.zeros(16))
    shown = lengths[0] * torch.tensor([128, 64])
    assert shown[0] >= aspect - 1e-6
    assert shown[1] >= 1 - 1e-6
    assert shown[0] == pytest.approx(2)  # as high as the photo, twice as wide as high


def test_rotation_goes_beyond_15_degrees() -> None:
    theta = transforms(500, Recipe(stretch=0))
    degrees = (theta[:, 1, 0] / theta[:, 0, 0]).atan() * 180 / math.pi
    share = (degrees.abs() > 15).float().mean().item()
    assert 0.15 < share < 0.45  # 0.284 of a normal distribution lies beyond 15 / 14 deviations
    assert degrees.max() > 25
    assert degrees.min() < -25


def test_small_subjects_occur_and_so_do_close_ones() -> None:
    torch.manual_seed(0)
    pixels, backgrounds = canvases(flat(RED), 64), flat(BLUE, 64)
    recipe = Recipe(composite=1.0)
    _, alpha = augment(pixels, torch.ones(64), backgrounds, (64, 64), recipe, as_it_is)
    whole = lopsided_alpha().mean()
    share = alpha.mean(dim=(1, 2, 3)) / whole
    assert (share < 0.3).sum() >= 4
    assert (share > 1.5).sum() >= 4


def test_a_composite_shows_the_subject_and_the_new_background_only() -> None:
    torch.manual_seed(2)
    pixels, backgrounds = canvases(flat(RED), 32), flat(BLUE, 32)
    recipe = Recipe(composite=1.0, harmonise=(0.0, 0.0))
    image, alpha = augment(pixels, torch.ones(32), backgrounds, (64, 64), recipe, as_it_is)
    coloured = (image.amax(dim=1) - image.amin(dim=1)).flatten(1).amin(dim=1) > 20
    assert coloured.sum() > 20  # one picture in twenty is grey
    strongest, alpha = image[coloured].argmax(dim=1), alpha[coloured, 0]
    assert (strongest[alpha == 0] == 2).all()
    assert (strongest[alpha == 1] == 1).all()
    assert (alpha == 0).any()
    assert (alpha == 1).any()
    assert not (strongest == 0).any()


@pytest.mark.parametrize("composite", [0.0, 0.5])
def test_a_cutout_is_always_composited_and_a_photo_only_as_drawn(composite: float) -> None:
    """The cut-outs of this batch are red photos with a green foreground: red must not be seen."""
    torch.manual_seed(2)
    pixels, backgrounds = canvases(flat(RED), 48), flat(BLUE, 48)
    cutout = torch.arange(48) % 3 == 0
    recipe = Recipe(composite=composite, harmonise=(0.0, 0.0))
    image, alpha = augment(
        pixels, torch.ones(48), backgrounds, (64, 64), recipe, as_it_is, cutout=cutout
    )
    coloured = (image.amax(dim=1) - image.amin(dim=1)).flatten(1).amin(dim=1) > 20
    reds = (image.argmax(dim=1) == 0).flatten(1).any(dim=1)
    assert not reds[cutout & coloured].any()
    photos = reds[~cutout & coloured]
    assert photos.all() if composite == 0 else 0 < photos.sum() < len(photos)
    strongest, soft = image[cutout & coloured].argmax(dim=1), alpha[cutout & coloured, 0]
    assert (strongest[soft == 0] == 2).all()
    assert (strongest[soft == 1] == 1).all()


def test_an_empty_view_is_the_bare_background_and_its_alpha_is_zero() -> None:
    torch.manual_seed(2)
    pixels, backgrounds = canvases(flat(RED), 64), flat(BLUE, 64)
    recipe = Recipe(composite=0.5, empty=0.5)
    image, alpha = augment(pixels, torch.ones(64), backgrounds, (64, 64), recipe, as_it_is)
    coloured = (image.amax(dim=1) - image.amin(dim=1)).flatten(1).amin(dim=1) > 20
    empty = alpha.flatten(1).amax(dim=1) == 0
    assert 8 <= empty.sum() <= 24  # half of the composites, which are half of all
    assert (image[empty & coloured].argmax(dim=1) == 2).all()
    spread = image[empty].flatten(2).amax(dim=2) - image[empty].flatten(2).amin(dim=2)
    assert spread.max() < 1e-3  # no trace of the subject
    photos = (image.argmax(dim=1) == 0).flatten(1).any(dim=1) & coloured
    assert photos.sum() >= 16
    assert not (photos & empty).any()  # a photo keeps its subject


def test_without_empty_views_every_view_keeps_its_subject() -> None:
    torch.manual_seed(2)
    recipe = Recipe(composite=1.0, crop=0.0)
    pixels, backgrounds = canvases(flat(RED), 64), flat(BLUE, 64)
    _, alpha = augment(pixels, torch.ones(64), backgrounds, (64, 64), recipe, as_it_is)
    assert (alpha.flatten(1).amax(dim=1) > 0.5).all()


@pytest.mark.parametrize("cut", [True, False])
def test_a_body_that_is_cut_off_below_stands_on_the_lower_edge(cut: bool) -> None:
    """Views larger than the canvas, whose lower edges would else be anywhere near."""
    torch.manual_seed(0)
    alpha = torch.zeros(32, SIDE, SIDE, dtype=torch.uint8)
    alpha[:, 20 : SIDE if cut else SIDE - 20, 30:50] = 255
    recipe = Recipe(crop=0.0, composite_scale=(1.2, 2.5), rotation=0.0)
    composited = torch.arange(32) % 2 == 0
    theta = view_transforms(alpha, torch.ones(32), (64, 64), composited, recipe)
    lower_edge = theta[:, 1, 1] + theta[:, 1, 2]  # in the canvas, whose own is at 1
    stands = (lower_edge - 1).abs() < 1e-5
    assert torch.equal(stands, composited & torch.tensor(cut))


def test_an_untouched_photo_stays_on_its_own_background() -> None:
    torch.manual_seed(3)
    recipe = Recipe(composite=0.0)
    pixels, backgrounds = canvases(flat(RED), 16), flat(BLUE, 16)
    image, _ = augment(pixels, torch.ones(16), backgrounds, (64, 64), recipe, as_it_is)
    coloured = (image.amax(dim=1) - image.amin(dim=1)).flatten(1).amin(dim=1) > 20
    assert (image[coloured].argmax(dim=1) == 0).all()


def test_the_same_seed_gives_the_same_batch() -> None:
    pixels, backgrounds = canvases(flat(RED), 6), flat(BLUE, 6)
    made = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        made.append(augment(pixels, torch.ones(6), backgrounds, (64, 64), Recipe()))
    torch.testing.assert_close(made[0], made[1], rtol=0, atol=0)
    assert not torch.equal(made[0][0], made[2][0])
    assert not torch.equal(made[0][1], made[2][1])


def test_pictures_stay_in_range_through_colour_blur_noise_and_jpeg() -> None:
    torch.manual_seed(7)
    recipe = Recipe(harmonise=(1.0, 1.0))
    pixels, backgrounds = canvases(flat((255, 250, 0)), 32), flat((0, 0, 255), 32)
    image, alpha = augment(pixels, torch.ones(32), backgrounds, (64, 64), recipe)
    for values, top in ((image, 255), (alpha, 1)):
        assert values.isfinite().all()
        assert values.min() >= 0
        assert values.max() <= top
    assert pixels[0, 0, 0, 0] == 255  # the cached canvas is not written to


def test_crops_are_centred_on_soft_pixels() -> None:
    theta = transforms(64, Recipe(crop=1.0, shift=0.0))
    centre = (theta[:, :, 2] + 1) / 2 * SIDE
    column, row = centre.round().long().unbind(1)
    alpha = lopsided_alpha()[row, column]
    assert (alpha > 0.04).all()
    assert (alpha < 0.96).all()
    assert len(set(zip(row.tolist(), column.tolist(), strict=True))) > 10


def test_crops_of_an_alpha_without_soft_pixels_still_work() -> None:
    torch.manual_seed(0)
    pixels = torch.zeros(4, 7, SIDE, SIDE, dtype=torch.uint8)
    recipe = Recipe(crop=1.0)
    _, alpha = augment(pixels, torch.ones(4), None, (64, 64), recipe, as_it_is)
    assert alpha.max() == 0


def test_a_small_view_of_a_fine_pattern_does_not_alias() -> None:
    stripes = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    stripes[..., ::2] = 255
    theta = torch.tensor([[[3.0, 0, 0], [0, 3.0, 0]]])
    view = sample(stripes, theta, (SIDE, SIDE))[..., 40:56, 40:56]
    assert (view - 0.5).abs().max() < 0.05


@pytest.mark.parametrize("composite", [0.0, 0.5])
def test_shares_of_a_batch_make_up_the_batch_of_one_process(composite: float) -> None:
    """One share of two may hold no composite at all; what it draws must not depend on that."""
    pixels = canvases((60 + 120 * lopsided_alpha()).to(torch.uint8).expand(1, 3, SIDE, SIDE), 12)
    backgrounds, recipe = flat(BLUE, 12), Recipe(composite=composite)

    def views(share: Share, rows: slice) -> Tensor:
        torch.manual_seed(4)
        aspect = torch.linspace(0.5, 2, 12)[rows]
        image, alpha = augment(
            pixels[rows], aspect, backgrounds[rows], (64, 64), recipe, share=share
        )
        return torch.cat([image / 255, alpha], dim=1)

    whole = views(Share(), slice(None))
    shares = [views(Share(rank, 4), slice(3 * rank, 3 * rank + 3)) for rank in range(4)]
    torch.testing.assert_close(torch.cat(shares), whole, rtol=0, atol=1e-5)
