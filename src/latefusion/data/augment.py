"""Augmentation on the device, in batches, image and alpha together: canvases in, views out.

One view of a canvas is one affine sampling (crop, scale, shift, rotation, flip, stretch), after
which some subjects are put on another background, and all pictures go through colour, blur,
noise and JPEG. All randomness comes from torch's global generator, so a seed repeats a batch; what
is drawn never depends on the pictures, so several processes can draw the same for one batch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from kornia.enhance import adjust_gamma
from kornia.enhance.jpeg import jpeg_codec_differentiable
from kornia.filters import gaussian_blur2d
from torch import Tensor

from latefusion.data.share import ALONE, Share

Range = tuple[float, float]
Look = Callable[[Tensor, Share], Tensor]  # pictures (B, 3, H, W) in [0, 1] -> the same, changed


@dataclass(frozen=True)
class Recipe:
    """Probabilities and ranges of one batch's views. Scales are relative to the whole photo."""

    crop: float = 0.35  # views centred on a transition pixel; the others show the whole subject
    crop_scale: Range = (0.3, 0.75)
    whole_scale: Range = (0.8, 1.35)
    composite: float = 0.4  # subjects put on another background
    composite_scale: Range = (0.8, 2.5)  # whole views only: small subjects come from here
    shift: float = 0.12
    stretch: float = 0.12
    rotation: float = 14.0  # degrees, standard deviation
    harmonise: Range = (0.0, 0.6)
    empty: float = 0.0  # of the composites: the background alone, with alpha 0


def photometric(image: Tensor, share: Share) -> Tensor:
    """Gamma, blur, noise and JPEG, each for some of the pictures (B, 3, H, W) in [0, 1]."""
    count, device = len(image), image.device

    def chosen(chance: float) -> Tensor:
        return share.rand(count, device=device) < chance

    def uniform(low: float, high: float) -> Tensor:
        return share.rand(count, device=device) * (high - low) + low

    image = change_some(image, chosen(0.3), uniform(0.7, 1.4), adjust_gamma)
    image = change_some(image, chosen(0.15), uniform(0.3, 1.5), partial(blur, kernel=5))
    image = change_some(image, chosen(0.2), torch.tensor(share.seeds(count)), noise).clamp(0, 1)
    return change_some(image, chosen(0.06), uniform(40, 90), jpeg_codec_differentiable)


def change_some(
    image: Tensor, chosen: Tensor, how: Tensor, change: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """`change(pictures, how)` for the chosen (B,) of the pictures (B, 3, H, W) and their `how`."""
    rows = chosen.nonzero().squeeze(1)
    if len(rows) == 0:
        return image
    return image.index_copy(0, rows, change(image[rows], how[rows.to(how.device)]))


def blur(image: Tensor, sigma: Tensor, kernel: int) -> Tensor:
    """Each picture out of focus by its sigma (B,) in pixels."""
    return gaussian_blur2d(image, (kernel, kernel), sigma.unsqueeze(1).expand(-1, 2))


def noise(image: Tensor, seeds: Tensor, deviation: float = 0.03) -> Tensor:
    """Normal noise on each picture from a seed of its own (B,)."""
    generator = torch.Generator(image.device)
    drawn = [
        torch.randn(
            image.shape[1:], generator=generator.manual_seed(int(seed)), device=image.device
        )
        for seed in seeds
    ]
    return image + torch.stack(drawn) * deviation


def colour(image: Tensor, share: Share) -> Tensor:
    """Random exposure, contrast, saturation and white balance, as one colour matrix a picture.

    image (B, 3, H, W) in [0, 1]; what leaves the range is clipped. One picture in twenty is grey.
    """
    count, device = len(image), image.device

    def spread(deviation: float, *shape: int) -> Tensor:
        return (share.randn(count, *shape, device=device) * deviation).exp()

    contrast = spread(0.15, 1, 1) * spread(0.15, 1, 1)
    saturation = spread(0.3, 1, 1) * (share.rand(count, 1, 1, device=device) > 0.05)
    balance = spread(0.07, 1, 3)
    grey = torch.tensor([0.299, 0.587, 0.114], device=device).expand(3, 3)
    matrix = saturation * torch.eye(3, device=device) + (1 - saturation) * grey
    middle = image.mean(dim=(1, 2, 3)).view(-1, 1, 1)
    offset = middle * (spread(0.15, 1, 1) - contrast)
    mixed = torch.baddbmm(offset, contrast * matrix * balance, image.flatten(2))
    return mixed.view_as(image).clamp(0, 1)


def augment(
    pixels: Tensor,
    aspect: Tensor,
    backgrounds: Tensor | None,
    size: tuple[int, int],
    recipe: Recipe,
    look: Look = photometric,
    share: Share = ALONE,
    cutout: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Random views of a batch of canvases.

    pixels (B, 7, S, S) uint8 (image, alpha, straight foreground), aspect (B,), backgrounds
    (B, 3, S, S) uint8 or None for no compositing, `cutout` (B,) True for canvases that have no
    background of their own, which need backgrounds; all are this process's share of a batch.
    Gives image (B, 3, H, W) in 0..255 and alpha (B, 1, H, W).
    """
    count = len(pixels)
    device = pixels.device
    chance = recipe.composite if backgrounds is not None else 0.0
    composited = share.rand(count, device=device) < chance
    if cutout is not None:  # there is no photo to show them on
        composited = composited | cutout
    canvas = torch.where(composited.view(-1, 1, 1, 1), pixels[:, 4:7], pixels[:, 0:3])
    canvas = torch.cat([canvas, pixels[:, 3:4]], dim=1)
    theta = view_transforms(pixels[:, 3], aspect, size, composited, recipe, share)
    view = sample(canvas, theta, size)
    image, alpha = view[:, :3], view[:, 3:]
    if backgrounds is not None:
        behind = background_views(backgrounds, composited, size, share)
        low, high = recipe.harmonise
        pull = share.rand(count, 1, 1, 1, device=device) * (high - low) + low
        if recipe.empty:
            gone = composited & (share.rand(count, device=device) < recipe.empty)
            alpha = alpha * ~gone.view(-1, 1, 1, 1)
        if composited.any():
            mask = alpha[composited]
            front = harmonise(image[composited], mask, behind, pull[composited])
            image[composited] = mask * front + (1 - mask) * behind
    return look(colour(image, share), share).clamp(0, 1) * 255, alpha


def view_transforms(
    alpha: Tensor,
    aspect: Tensor,
    size: tuple[int, int],
    composited: Tensor,
    recipe: Recipe,
    share: Share = ALONE,
) -> Tensor:
    """(B, 2, 3) affine maps from a view's coordinates to its canvas's, both in [-1, 1].

    In units of the photo's height a photo is `aspect` wide and 1 high, so that views keep the
    photo's proportions whatever the canvas did to them.
    """
    count, device = len(alpha), alpha.device

    def uniform(low: float, high: float) -> Tensor:
        return share.rand(count, device=device) * (high - low) + low

    def log_uniform(limits: Range) -> Tensor:
        return uniform(math.log(limits[0]), math.log(limits[1])).exp()

    fit = torch.maximum(torch.ones_like(aspect), aspect * size[0] / size[1])  # the whole photo
    cropped = share.rand(count, device=device) < recipe.crop
    whole_scale = torch.where(
        composited, log_uniform(recipe.composite_scale), log_uniform(recipe.whole_scale)
    )
    scale = fit * torch.where(cropped, log_uniform(recipe.crop_scale), whole_scale)
    stretch = uniform(-recipe.stretch, recipe.stretch).exp()
    half_height = scale / 2 * stretch
    half_width = scale / 2 * size[1] / size[0] / stretch

    around = transition_points(alpha, share) * torch.stack([aspect, torch.ones_like(aspect)], dim=1)
    middle = torch.stack([aspect / 2, torch.full_like(aspect, 0.5)], dim=1)
    jitter = torch.stack([half_width, half_height], dim=1) * recipe.shift * 2
    shift = share.rand(count, 2, device=device).mul(2).sub(1) * jitter
    centre = torch.where(cropped.unsqueeze(1), around, middle) + shift
    # A body that its canvas cuts off below stands on the lower edge of the view.
    stands = composited & ~cropped & (alpha[:, -1] > 127).any(dim=1) & (half_height > 0.5)
    centre[:, 1] = torch.where(stands, 1 - half_height, centre[:, 1])

    angle = share.randn(count, device=device) * math.radians(recipe.rotation)
    flip = torch.where(share.rand(count, device=device) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    across, down = 2 / aspect, torch.full_like(aspect, 2.0)  # photo units to [-1, 1]
    return torch.stack(
        [
            torch.stack([flip * cos * half_width, -sin * half_height, centre[:, 0]], 1)
            * across.unsqueeze(1),
            torch.stack([flip * sin * half_width, cos * half_height, centre[:, 1]], 1)
            * down.unsqueeze(1),
        ],
        dim=1,
    ) - torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], device=device)


def transition_points(alpha: Tensor, share: Share) -> Tensor:
    """One random soft pixel of each alpha (B, S, S) uint8, (x, y) in [0, 1]; any if none is."""
    sparse = alpha[:, ::4, ::4]
    height, width = sparse.shape[1:]
    soft = ((sparse > 12) & (sparse < 243)).flatten(1)
    met = (soft | ~soft.any(dim=1, keepdim=True)).cumsum(dim=1)  # pixels to choose from, so far
    wanted = (share.rand(len(alpha), 1, device=alpha.device) * met[:, -1:]).long() + 1
    index = torch.searchsorted(met, wanted).squeeze(1)
    return torch.stack([index % width / width, index // width / height], dim=1)


def sample(canvas: Tensor, theta: Tensor, size: tuple[int, int]) -> Tensor:
    """Views (B, C, H, W) in [0, 1] of canvases (B, C, S, S) uint8, from the mip level that fits.

    The edge is repeated outside a canvas. A view that shrinks its canvas more than 1.5 times is
    taken from a 2 or 4 times smaller one, so that it does not alias.
    """
    span = theta[:, :, :2].norm(dim=1)  # canvas halves a half view covers, across and down
    extent = torch.tensor([size[1], size[0]], device=theta.device)
    shrink = (span * canvas.shape[-1] / extent).amax(dim=1)
    level = (shrink / 1.5).log2().ceil().clamp(0, 2).long()
    views = torch.empty(len(canvas), canvas.shape[1], *size, device=canvas.device)
    for step in range(3):
        chosen = (level == step).nonzero().squeeze(1)
        if len(chosen) == 0:
            continue
        source = canvas[chosen].float() / 255
        if step:
            source = F.avg_pool2d(source, 2**step)
        grid = F.affine_grid(theta[chosen], [len(chosen), 1, *size], align_corners=False)
        views[chosen] = F.grid_sample(source, grid, padding_mode="border", align_corners=False)
    return views


def background_views(
    backgrounds: Tensor, chosen: Tensor, size: tuple[int, int], share: Share
) -> Tensor:
    """Random crops of the chosen (B, 3, S, S) uint8, some mirrored, some out of focus."""
    count, device = len(backgrounds), backgrounds.device
    part = torch.tensor([size[1], size[0]], device=device) / max(size)  # of the square canvas
    scale = (share.rand(count, 1, device=device) * 0.5 + 0.5) * part  # (B, 2): across, down
    centre = (share.rand(count, 2, device=device) * 2 - 1) * (1 - scale)
    flip = torch.where(share.rand(count, device=device) < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(flip)
    theta = torch.stack(
        [
            torch.stack([flip * scale[:, 0], zero, centre[:, 0]], 1),
            torch.stack([zero, scale[:, 1], centre[:, 1]], 1),
        ],
        dim=1,
    )
    blurred = share.rand(count, device=device) < 0.35
    sigma = share.rand(count, device=device) * 3 + 1
    views = sample(backgrounds[chosen], theta[chosen], size)
    return change_some(views, blurred[chosen], sigma[chosen], partial(blur, kernel=13))


def harmonise(front: Tensor, alpha: Tensor, behind: Tensor, pull: Tensor) -> Tensor:
    """Move the subject's mean and contrast by `pull` of the way towards its new background's.

    All (B, 3, H, W), alpha (B, 1, H, W) and pull (B, 1, 1, 1).
    """
    area = alpha.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)
    mean = (front * alpha).sum(dim=(2, 3), keepdim=True) / area
    deviation = ((front - mean).square() * alpha).sum(dim=(2, 3), keepdim=True).div(area).sqrt()
    target = behind.mean(dim=(2, 3), keepdim=True)
    gain = (behind.std(dim=(2, 3), keepdim=True) / deviation.clamp_min(0.05)).clamp(0.6, 1.5)
    gain = 1 + pull * (gain - 1)
    return ((front - mean) * gain + mean + pull * 0.6 * (target - mean)).clamp(0, 1)
