"""Augmentation on the device, in batches, image and alpha together: canvases in, views out.

One view of a canvas is one affine sampling (crop, scale, shift, rotation, flip, stretch), after
which some subjects are put on another background, and all pictures go through colour, blur,
noise and JPEG. All randomness comes from torch's global generator, so a seed repeats a batch.
"""

import math
from dataclasses import dataclass

import kornia.augmentation as K
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Range = tuple[float, float]


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


def photometric() -> nn.Module:
    """Gamma, blur, noise and JPEG for (B, 3, H, W) pictures in [0, 1]."""
    return nn.Sequential(
        K.RandomGamma((0.7, 1.4), p=0.3),
        K.RandomGaussianBlur((5, 5), (0.3, 1.5), p=0.15),
        K.RandomGaussianNoise(std=0.03, p=0.2),
        K.RandomJPEG(jpeg_quality=(40.0, 90.0), p=0.06),
    )


def colour(image: Tensor) -> Tensor:
    """Random exposure, contrast, saturation and white balance, as one colour matrix a picture.

    image (B, 3, H, W) in [0, 1]; what leaves the range is clipped. One picture in twenty is grey.
    """
    count, device = len(image), image.device

    def spread(deviation: float, *shape: int) -> Tensor:
        return (torch.randn(count, *shape, device=device) * deviation).exp()

    contrast = spread(0.15, 1, 1) * spread(0.15, 1, 1)
    saturation = spread(0.3, 1, 1) * (torch.rand(count, 1, 1, device=device) > 0.05)
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
    colours: nn.Module,
) -> tuple[Tensor, Tensor]:
    """Random views of a batch of canvases.

    pixels (B, 7, S, S) uint8 (image, alpha, straight foreground), aspect (B,), backgrounds
    (B, 3, S, S) uint8 or None for no compositing. Gives image (B, 3, H, W) in 0..255 and
    alpha (B, 1, H, W).
    """
    count = len(pixels)
    device = pixels.device
    chance = recipe.composite if backgrounds is not None else 0.0
    composited = torch.rand(count, device=device) < chance
    canvas = torch.where(composited.view(-1, 1, 1, 1), pixels[:, 4:7], pixels[:, 0:3])
    canvas = torch.cat([canvas, pixels[:, 3:4]], dim=1)
    theta = view_transforms(pixels[:, 3], aspect, size, composited, recipe)
    view = sample(canvas, theta, size)
    image, alpha = view[:, :3], view[:, 3:]
    if backgrounds is not None and composited.any():
        behind = background_views(backgrounds[composited], size)
        front = harmonise(image[composited], alpha[composited], behind, recipe.harmonise)
        mask = alpha[composited]
        image[composited] = mask * front + (1 - mask) * behind
    return colours(colour(image)).clamp(0, 1) * 255, alpha


def view_transforms(
    alpha: Tensor, aspect: Tensor, size: tuple[int, int], composited: Tensor, recipe: Recipe
) -> Tensor:
    """(B, 2, 3) affine maps from a view's coordinates to its canvas's, both in [-1, 1].

    In units of the photo's height a photo is `aspect` wide and 1 high, so that views keep the
    photo's proportions whatever the canvas did to them.
    """
    count, device = len(alpha), alpha.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, device=device) * (high - low) + low

    def log_uniform(limits: Range) -> Tensor:
        return uniform(math.log(limits[0]), math.log(limits[1])).exp()

    fit = torch.maximum(torch.ones_like(aspect), aspect * size[0] / size[1])  # the whole photo
    cropped = torch.rand(count, device=device) < recipe.crop
    whole_scale = torch.where(
        composited, log_uniform(recipe.composite_scale), log_uniform(recipe.whole_scale)
    )
    scale = fit * torch.where(cropped, log_uniform(recipe.crop_scale), whole_scale)
    stretch = uniform(-recipe.stretch, recipe.stretch).exp()
    half_height = scale / 2 * stretch
    half_width = scale / 2 * size[1] / size[0] / stretch

    around = transition_points(alpha) * torch.stack([aspect, torch.ones_like(aspect)], dim=1)
    middle = torch.stack([aspect / 2, torch.full_like(aspect, 0.5)], dim=1)
    jitter = torch.stack([half_width, half_height], dim=1) * recipe.shift * 2
    shift = torch.rand(count, 2, device=device).mul(2).sub(1) * jitter
    centre = torch.where(cropped.unsqueeze(1), around, middle) + shift

    angle = torch.randn(count, device=device) * math.radians(recipe.rotation)
    flip = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
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


def transition_points(alpha: Tensor) -> Tensor:
    """One random soft pixel of each alpha (B, S, S) uint8, (x, y) in [0, 1]; any if none is."""
    sparse = alpha[:, ::4, ::4]
    soft = (sparse > 12) & (sparse < 243)
    weights = soft.flatten(1).float() + 1e-8
    index = torch.multinomial(weights, 1).squeeze(1)
    width = soft.shape[2]
    return torch.stack([index % width / width, index // width / soft.shape[1]], dim=1)


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


def background_views(backgrounds: Tensor, size: tuple[int, int]) -> Tensor:
    """Random crops of (B, 3, S, S) uint8 backgrounds, some mirrored, some out of focus."""
    count, device = len(backgrounds), backgrounds.device
    share = torch.tensor([size[1], size[0]], device=device) / max(size)  # of the square canvas
    scale = (torch.rand(count, 1, device=device) * 0.5 + 0.5) * share  # (B, 2): across, down
    centre = (torch.rand(count, 2, device=device) * 2 - 1) * (1 - scale)
    flip = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(flip)
    theta = torch.stack(
        [
            torch.stack([flip * scale[:, 0], zero, centre[:, 0]], 1),
            torch.stack([zero, scale[:, 1], centre[:, 1]], 1),
        ],
        dim=1,
    )
    views = sample(backgrounds, theta, size)
    return K.RandomGaussianBlur((13, 13), (1.0, 4.0), p=0.35)(views)


def harmonise(front: Tensor, alpha: Tensor, behind: Tensor, strength: Range) -> Tensor:
    """Move the subject's mean and contrast part of the way towards its new background's.

    All (B, 3, H, W) and alpha (B, 1, H, W); each picture's share is drawn from `strength`.
    """
    low, high = strength
    share = torch.rand(len(front), 1, 1, 1, device=front.device) * (high - low) + low
    area = alpha.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)
    mean = (front * alpha).sum(dim=(2, 3), keepdim=True) / area
    deviation = ((front - mean).square() * alpha).sum(dim=(2, 3), keepdim=True).div(area).sqrt()
    target = behind.mean(dim=(2, 3), keepdim=True)
    gain = (behind.std(dim=(2, 3), keepdim=True) / deviation.clamp_min(0.05)).clamp(0.6, 1.5)
    gain = 1 + share * (gain - 1)
    return ((front - mean) * gain + mean + share * 0.6 * (target - mean)).clamp(0, 1)
