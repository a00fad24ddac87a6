"""The network rewritten for inference: the same function in fewer multiplications and less memory.

Two facts of the method. Nearest upsampling copies pixels, so whatever looks at one pixel commutes
with it, and a convolution of an upsampled map is one small convolution per output phase at the low
resolution. And side_0 is linear up to the fusion network's first convolution, so the two compose
into one, and so do the image's own convolution and its slice of that first one.
"""

from copy import deepcopy
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latefusion.model.decoder import Decoder, Deconv
from latefusion.model.layers import conv_of_upsampled, interleaved, shuffle, upsample
from latefusion.model.matting import MattingNetwork

WIDE = 64  # from this width on, multiplications cost more than passing over memory
INNER = 4  # pixels that the four convolutions after the composed one look to each side


class FoldedOutput(NamedTuple):
    """All (B, 1, H, W) in [0, 1], as the same names of `MattingOutput`."""

    alpha: Tensor
    fg: Tensor
    bg: Tensor
    blend: Tensor


class Seam(NamedTuple):
    """Input of the fusion network, made by the branches.

    `features` (B, 2d + 12, H/2 + 2, W/2 + 2): both decoders' seams and the image with the four
    phases of each colour as channels, with a border of one pixel. `rows` (B, C, 2, W) and `columns`
    (B, C, H, 2): the outermost rows and columns of the fusion network's first convolution.
    """

    features: Tensor
    rows: Tensor
    columns: Tensor


class FoldedNetwork(nn.Module):
    """Result of `fold`: forward runs `branches`, then `fusion`; each can also run by itself.

    The image is (B, 3, H, W) RGB 0..255, H and W multiples of 32.
    """

    mean: Tensor

    def __init__(self, network: MattingNetwork) -> None:
        super().__init__()
        self.scale = network.scale
        self.register_buffer("mean", network.mean.clone(), persistent=False)
        self.encoder = fold_norms(network.encoder)
        self.fg = FoldedDecoder(network.fg)
        self.bg = FoldedDecoder(network.bg)
        self.heads = composed_heads(network.fg, network.bg)
        self.phases = image_phases(network.mean, network.scale)
        self.edges = Edges(network)
        self.fusion = FoldedFusion(network)

    def forward(self, image: Tensor) -> FoldedOutput:
        fg, bg, seam = self.branches(image)
        blend = self.fusion(*seam)
        return FoldedOutput(blend * fg + (1 - blend) * (1 - bg), fg, bg, blend)

    def branches(self, image: Tensor) -> tuple[Tensor, Tensor, Seam]:
        """F and B (B, 1, H, W), and the input of `fusion`."""
        x = (image - self.mean) * self.scale
        found = self.encoder(x)
        seams = torch.cat([self.fg(found), self.bg(found)], dim=1)
        rows, columns = self.edges(x, seams)
        padded = F.pad(seams, (1, 1, 1, 1), mode="replicate")
        fg, bg = shuffle(self.heads(padded)).sigmoid().split(1, dim=1)
        around = F.pad(self.phases(image), (1, 1, 1, 1))
        return fg, bg, Seam(torch.cat([padded, around], dim=1), rows, columns)


def fold(network: MattingNetwork) -> FoldedNetwork:
    """A copy of the network for inference, the same function within 1e-4, borders included.

    On perturbed weights of all presets the greatest difference in single precision is 1e-5. The
    copy cannot be trained: it has no batch norms.
    """
    assert not network.training, "batch norms fold in eval mode only"
    with torch.no_grad():
        return FoldedNetwork(network).eval().requires_grad_(False)


class FoldedDecoder(nn.Module):
    """A `Decoder` up to its seam, (B, d, H/2, W/2), batch norms folded."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.deconv5 = FoldedDeconv(decoder.deconv5)
        self.deconv4 = FoldedDeconv(decoder.deconv4)
        self.deconv3 = FoldedDeconv(decoder.deconv3)
        self.deconv2 = FoldedDeconv(decoder.deconv2)
        self.deconv1 = FoldedDeconv(decoder.deconv1)
        self.up4 = deepcopy(decoder.up4)
        self.side3 = deepcopy(decoder.side3)
        self.side2 = deepcopy(decoder.side2)
        self.side1 = deepcopy(decoder.side1)
        self.conv1 = deepcopy(decoder.side0.conv1)

    def forward(self, features: list[Tensor]) -> Tensor:
        r1, r2, r3, r4, bottleneck = features
        x4 = self.deconv5(bottleneck, r4)
        x3 = self.deconv4(x4, r3)
        x2 = self.deconv3(x3, r2)
        x1 = self.deconv2(x2, r1)
        side3 = self.side3(x3, upsample(F.relu(self.up4(x4))))
        side2 = self.side2(x2, upsample(side3))
        side1 = self.side1(x1, upsample(side2))
        seam: Tensor = self.conv1(self.deconv1(x1)) + side1
        return seam


class NormedConv(nn.Module):
    """norm(conv(x)) as one convolution.

    The kernel is kept as it was and multiplied in forward, so that an exported file can hold it in
    the half precision of the checkpoint; runtimes do the multiplication when they load the file.
    """

    factor: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert (conv.padding_mode, conv.dilation) == ("zeros", (1, 1))
        self.conv = deepcopy(conv)
        folded = with_norm(conv, norm)
        self.register_buffer("factor", _factor(norm).view(-1, 1, 1, 1))
        self.register_buffer("bias", _bias(folded).clone())

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        kernel = conv.weight * self.factor
        return F.conv2d(x, kernel, self.bias, conv.stride, conv.padding, groups=conv.groups)


class FoldedDeconv(nn.Module):
    """A `Deconv` as two 1x1 convolutions, one at the low resolution, its batch norm in both."""

    factor: Tensor
    bias: Tensor

    def __init__(self, deconv: Deconv) -> None:
        super().__init__()
        kernel = deconv.conv.weight
        self.low = nn.Parameter(kernel[:, : deconv.width].clone())
        self.high = nn.Parameter(kernel[:, deconv.width :].clone())
        self.register_buffer("factor", _factor(deconv.norm).view(-1, 1, 1, 1))
        self.register_buffer("bias", _bias(with_norm(deconv.conv, deconv.norm)).clone())

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is None:
            return F.relu(F.conv2d(x, self.low * self.factor, self.bias))
        low = upsample(F.conv2d(x, self.low * self.factor))
        return F.relu(low + F.conv2d(skip, self.high * self.factor, self.bias))


class FoldedFusion(nn.Module):
    """The fusion network with its first three convolutions, on side_0 and on the image, as one.

    The composed convolution runs at half the resolution and gives the four phases of the full one.
    It takes the `Seam` of a whole image, or of a part of it. In a part, the blending weight
    (B, 1, h, w) is exact at edges that are also the image's; at all other edges the outermost REACH
    pixels are wrong. Without the rows and columns, which only pixels at the image's edges need, the
    outermost INNER pixels are wrong.
    """

    def __init__(self, network: MattingNetwork) -> None:
        super().__init__()
        fusion = network.fusion
        first = composed_first(*first_convolutions(network))
        self.first = first.by_differences() if network.config.width >= WIDE else first.by_phases()
        pairs = zip(fusion.convs[1:], fusion.norms[1:], strict=True)
        self.rest = nn.ModuleList(NormedConv(conv, norm) for conv, norm in pairs)  # type: ignore[arg-type]
        self.head = deepcopy(fusion.head)

    def forward(self, features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return self.finish(edged(self.begin(features), rows, columns))

    def begin(self, features: Tensor) -> Tensor:
        """The first convolution, (B, C, h, w); its outermost rows and columns are wrong."""
        y: Tensor = self.first(features)
        return y

    def finish(self, y: Tensor) -> Tensor:
        """The blending weight (B, 1, h, w) from the first convolution."""
        for conv in self.rest:
            y = F.relu(conv(y))
        blend: Tensor = self.head(y).sigmoid()
        return blend


def edged(y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`y` (B, C, H, W) with other outermost rows (B, C, 2, W) and columns (B, C, H, 2)."""
    y = torch.cat([rows[:, :, :1], y[:, :, 1:-1], rows[:, :, 1:]], dim=2)
    return torch.cat([columns[:, :, :, :1], y[:, :, :, 1:-1], columns[:, :, :, 1:]], dim=3)


class Edges(nn.Module):
    """The outermost rows and columns of the fusion network's first convolution, the plain way.

    Zero padding between two convolutions cannot be composed. It affects one pixel at each edge of
    the image, so only these are computed step by step, and the result is exact.
    """

    def __init__(self, network: MattingNetwork) -> None:
        super().__init__()
        self.width = network.config.width
        self.first, self.fg, self.bg, self.rgb = first_convolutions(network)

    def forward(self, x: Tensor, seams: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, 2, W) and (B, C, H, 2) for x (B, 3, H, W) and seams (B, 2d, H/2, W/2)."""
        top = self.edge(x[:, :, :4], seams[:, :, :2], -2, first=True)
        bottom = self.edge(x[:, :, -4:], seams[:, :, -2:], -2, first=False)
        left = self.edge(x[..., :4], seams[..., :2], -1, first=True)
        right = self.edge(x[..., -4:], seams[..., -2:], -1, first=False)
        return torch.cat([top, bottom], dim=2), torch.cat([left, right], dim=3)

    def edge(self, x: Tensor, seams: Tensor, dim: int, *, first: bool) -> Tensor:
        """The first or last row (dim -2) or column (-1), after its ReLU.

        From the outermost four pixels of the image and two of the seams, which give the outermost
        two pixels of the three maps; the convolution's edge depends on no others.
        """
        fg, bg = seams.split(self.width, dim=1)
        maps = [
            conv_of_upsampled(fg, self.fg.weight, _bias(self.fg)),
            conv_of_upsampled(bg, self.bg.weight, _bias(self.bg)),
            self.rgb(x),
        ]
        seen = torch.cat(maps, dim=1).narrow(dim, 0 if first else 2, 2)
        kernel = self.first.weight.narrow(dim, 1 if first else 0, 2)
        padding = (0, 1) if dim == -2 else (1, 0)
        return F.relu(F.conv2d(seen, kernel, self.first.bias, padding=padding))


def first_convolutions(network: MattingNetwork) -> tuple[nn.Conv2d, ...]:
    """The fusion network's first one, and before it side_0 of F and of B and the image's own."""
    fusion = network.fusion
    fg, bg = (
        convolution(branch.side0.conv2.weight, branch.side0.conv2.bias, padding=1)
        for branch in (network.fg, network.bg)
    )
    return (
        with_norm(fusion.convs[0], fusion.norms[0]),
        fg,
        bg,
        with_norm(fusion.rgb, fusion.rgb_norm),
    )


def image_phases(mean: Tensor, scale: float) -> nn.Conv2d:
    """pixel_unshuffle((image - mean) * scale, 2) as a convolution."""
    weight = mean.new_zeros(3, 2, 2, 3, 2, 2)
    for row, column in product((0, 1), (0, 1)):
        weight[:, row, column, :, row, column] = scale * torch.eye(3)
    bias = (-mean.flatten() * scale).repeat_interleave(4)
    return convolution(weight.reshape(12, 3, 2, 2), bias, stride=2)


class ComposedFirst(NamedTuple):
    """first([fg(upsample(a)), bg(upsample(b)), rgb(x)]) as one convolution on the upsampled maps.

    `on_seams` (O, 2d, 5, 5) for [a, b], `on_image` (O, 3, 5, 5) for x and `bias` (O,).
    """

    on_seams: Tensor
    on_image: Tensor
    bias: Tensor

    def by_phases(self) -> "ByPhases":
        """On padded [a, b, pixel_unshuffle(x)], as one 3x3 convolution to four phases."""
        weight = torch.cat([of_upsampled(self.on_seams), of_unshuffled(self.on_image)], dim=1)
        return ByPhases(convolution(weight, self.bias.repeat_interleave(4)))

    def by_differences(self) -> "ByDifferences":
        """The same in fewer multiplications and more passes over memory."""
        return ByDifferences(self)


def composed_first(first: nn.Conv2d, fg: nn.Conv2d, bg: nn.Conv2d, rgb: nn.Conv2d) -> ComposedFirst:
    """The fusion network's first convolution, on side_0 of F and of B and on the image's own."""
    on_fg, on_bg, on_rgb = first.weight.split(rgb.out_channels, dim=1)
    constant = torch.cat([_bias(fg), _bias(bg), _bias(rgb)])
    return ComposedFirst(
        torch.cat([compose(on_fg, fg.weight), compose(on_bg, bg.weight)], dim=1),
        compose(on_rgb, rgb.weight),
        _bias(first) + first.weight.sum(dim=(2, 3)) @ constant,
    )


class ByPhases(nn.Module):
    """A convolution to four phases of each channel, ReLU, and the phases brought together."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, features: Tensor) -> Tensor:
        return shuffle(F.relu(self.conv(features)))


class ByDifferences(nn.Module):
    """`ByPhases` in 25 multiplications instead of 36 for the upsampled maps.

    Along one axis a kernel (a, b, c, d, e) on an upsampled map sees three pixels x, y, z of it:
    odd = a x + (b + c) y + (d + e) z, and even = odd + b (x - y) + d (y - z). So three products
    give the odd phase and two more the even one, where each phase by itself takes three. The same
    holds across: of the four phases one sees the map, two its differences along an axis, and the
    last one the differences of these. The image is not upsampled, so it goes along as it is, moved
    by a pixel for kernels that are one shorter.
    """

    def __init__(self, composed: ComposedFirst) -> None:
        super().__init__()
        self.width = composed.on_seams.shape[1]
        taps = composed.on_seams.new_tensor([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]])
        steps = composed.on_seams.new_tensor([[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]])

        def conv(rows: Tensor, columns: Tensor, on_image: Tensor, bias: Tensor) -> nn.Conv2d:
            kernel = torch.einsum("iy,jx,ocyx->ocij", rows, columns, composed.on_seams)
            return convolution(torch.cat([kernel, on_image], dim=1), bias)

        phases = of_unshuffled(composed.on_image).unflatten(0, (-1, 4))
        ee, eo, oe, oo = phases.unbind(1)
        nothing = torch.zeros_like(composed.bias)
        self.odd = conv(taps, taps, oo, composed.bias)
        self.rows_even = conv(steps, taps, _shorter(eo - oo, 2), nothing)
        self.columns_even = conv(taps, steps, _shorter(oe - oo, 3), nothing)
        self.even = conv(steps, steps, _shorter(_shorter(ee - eo - oe + oo, 2), 3), nothing)

    def forward(self, features: Tensor) -> Tensor:
        ee, eo, oe, oo = self.phases(features)
        return F.relu(interleaved(torch.cat([ee, eo, oe, oo], dim=1)))

    def phases(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Even rows and even columns, even rows and odd columns, and so on, (B, O, h, w) each."""
        seams, image = features[:, : self.width], features[:, self.width :]
        along_rows, along_columns = _step(seams, 2), _step(seams, 3)
        images, moved = _moved(image, 2), _moved(image, 3)
        oo = self.odd(features)
        rows = self.rows_even(torch.cat([along_rows, images], dim=1))
        oe = self.columns_even(torch.cat([along_columns, moved], dim=1)) + oo
        both = torch.cat([_step(along_rows, 3), _moved(images, 3)], dim=1)
        ee = self.even(both) + rows + oe
        return ee, rows + oo, oe, oo


def _shorter(kernel: Tensor, dim: int) -> Tensor:
    """A kernel of 3 taps along `dim` as one of 2 on `_moved`: (O, C, ...) -> (O, 2C, ...)."""
    last = torch.zeros_like(kernel.narrow(dim, 0, 2))
    last.narrow(dim, 1, 1).copy_(kernel.narrow(dim, 2, 1))
    return torch.cat([kernel.narrow(dim, 0, 2), last], dim=1)


def _moved(x: Tensor, dim: int) -> Tensor:
    """x without its last row or column, and without its first one, as twice the channels."""
    return torch.cat([x.narrow(dim, 0, x.shape[dim] - 1), x.narrow(dim, 1, x.shape[dim] - 1)], 1)


def _step(x: Tensor, dim: int) -> Tensor:
    """Each pixel minus the next one along `dim`."""
    return x.narrow(dim, 0, x.shape[dim] - 1) - x.narrow(dim, 1, x.shape[dim] - 1)


def composed_heads(fg: Decoder, bg: Decoder) -> nn.Conv2d:
    """The logits of F and B from both seams: one 3x3 convolution 2d -> 2 phases of 4."""
    (on_fg, fg_bias), (on_bg, bg_bias) = fg.head(), bg.head()
    nothing = torch.zeros_like(on_fg)
    weight = torch.cat([torch.cat([on_fg, nothing], dim=1), torch.cat([nothing, on_bg], dim=1)])
    return convolution(of_upsampled(weight), torch.cat([fg_bias, bg_bias]).repeat_interleave(4))


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The kernel of outer(inner(x)): (O, M, h, w) and (M, C, k, k) -> (O, C, h + k - 1, ...)."""
    swapped = inner.flip(2, 3).transpose(0, 1)  # (C, M, k, k)
    k = inner.shape[-1]
    return F.conv2d(outer.double(), swapped.double(), padding=k - 1).to(inner)


def of_upsampled(kernel: Tensor) -> Tensor:
    """A centred 3x3 or 5x5 kernel on upsample(x), as 3x3 on x: (O, C, k, k) -> (4 O, C, 3, 3).

    Output channel 4 o + 2 p + q is the phase of odd rows (p) and odd columns (q).
    """
    reach = kernel.shape[-1] // 2
    spread = kernel.new_zeros(2, 3, kernel.shape[-1])  # phase, pixel of x, of upsample(x)
    for phase in (0, 1):
        for tap in range(-reach, reach + 1):
            spread[phase, (phase + tap) // 2 + 1, tap + reach] = 1
    phases = torch.einsum("pik,qjl,ockl->opqcij", spread, spread, kernel)
    return phases.reshape(-1, kernel.shape[1], 3, 3)


def of_unshuffled(kernel: Tensor) -> Tensor:
    """A centred 5x5 kernel on x, as 3x3 on pixel_unshuffle(x, 2): -> (4 O, 4 C, 3, 3)."""
    reach = kernel.shape[-1] // 2
    spread = kernel.new_zeros(2, 2, 3, kernel.shape[-1])  # phase out, phase in, pixel, tap
    for phase in (0, 1):
        for tap in range(-reach, reach + 1):
            at = phase + tap
            spread[phase, at % 2, at // 2 + 1, tap + reach] = 1
    phases = torch.einsum("pmik,qnjl,ockl->opqcmnij", spread, spread, kernel)
    return phases.reshape(4 * kernel.shape[0], 4 * kernel.shape[1], 3, 3)


def fold_norms(module: nn.Module) -> nn.Module:
    """A copy whose batch norms are in the convolutions before them, as each module's FOLDS says."""
    folded = deepcopy(module)
    for part in list(folded.modules()):
        for conv, norm in getattr(part, "FOLDS", ()):
            merged = NormedConv(part.get_submodule(conv), part.get_submodule(norm))  # type: ignore[arg-type]
            part.set_submodule(conv, merged)
            part.set_submodule(norm, nn.Identity())
    return folded


def with_norm(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """norm(conv(x)) as one convolution."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return torch.nn.utils.fuse_conv_bn_eval(conv, norm)


def convolution(
    weight: Tensor, bias: Tensor | None, padding: int = 0, stride: int = 1
) -> nn.Conv2d:
    """A convolution of these values."""
    assert bias is not None
    out, inputs, height, width = weight.shape
    conv = nn.Conv2d(inputs, out, (height, width), stride, padding, dtype=weight.dtype)
    conv.weight.copy_(weight)
    _bias(conv).copy_(bias)
    return conv


def _factor(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    return norm.weight / torch.sqrt(norm.running_var + norm.eps)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
