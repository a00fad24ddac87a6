"""The network: fast layers equal plain ones, the decoder the figure; encoders fit the table."""

from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latefusion.errors import WeightsError
from latefusion.model.complexity import PARTS, gmac_per_part, parameters_per_part
from latefusion.model.decoder import Branch, Decoder, Deconv, Side
from latefusion.model.encoders.efficientnet_lite import lite0, load_imagenet, packaged_weights
from latefusion.model.layers import conv_of_upsampled
from latefusion.model.matting import PRESETS, MattingNetwork, Window
from tests.helpers.toy_network import TOY, add_toy_preset, perturb_norms, toy_network

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 2), (3, 4)])
def test_a_convolution_of_an_upsampled_map_needs_no_upsampled_map(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    weight, bias = torch.randn(4, 3, 3, 3).double(), torch.randn(4).double()
    padded = F.pad(F.interpolate(x, scale_factor=2.0), (1, 1, 1, 1), mode="replicate")
    torch.testing.assert_close(conv_of_upsampled(x, weight, bias), F.conv2d(padded, weight, bias))


def figure(decoder: Decoder, features: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """The decoder as the paper draws it: everything upsampled first. Four outputs and side_0."""

    def up(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest")

    def deconv(block: Deconv, x: Tensor, *skip: Tensor) -> Tensor:
        return block.norm(block.conv(torch.cat([up(x), *skip], dim=1))).relu()

    def side(block: Side, x: Tensor, coarser: Tensor) -> Tensor:
        x = block.conv1(x) + up(coarser)
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv2d(padded, block.conv2.weight, block.conv2.bias)

    r1, r2, r3, r4, x = features
    x4 = deconv(decoder.deconv5, x, r4)
    x3 = deconv(decoder.deconv4, x4, r3)
    x2 = deconv(decoder.deconv3, x3, r2)
    x1 = deconv(decoder.deconv2, x2, r1)
    x0 = deconv(decoder.deconv1, x1)
    side3 = side(decoder.side3, x3, decoder.up4(x4).relu())
    side2 = side(decoder.side2, x2, side3)
    side1 = side(decoder.side1, x1, side2)
    side0 = side(decoder.side0, x0, side1)
    steps = [(decoder.side0, side0), (decoder.side1, side1), (decoder.side2, side2)]
    small = [block.conv3(x).sigmoid() for block, x in [*steps, (decoder.side3, side3)]]
    full = side0.shape[-2:]
    outputs = [F.interpolate(x, full, mode="bilinear", align_corners=True) for x in small]
    return outputs, side0


def outputs_of(decoder: Decoder, branch: Branch) -> tuple[list[Tensor], Tensor]:
    return [branch.probability, *branch.scales], decoder.feature(branch.seam)


def decoder_and_features(widths: tuple[int, ...]) -> tuple[Decoder, list[Tensor]]:
    torch.manual_seed(0)
    decoder = Decoder(widths, 6).double()
    perturb_norms(decoder)
    sizes = [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    features = [
        torch.randn(2, width, *size, dtype=torch.float64)
        for width, size in zip(widths, sizes, strict=True)
    ]
    return decoder, features


# Skips narrower and wider than d, and one of width d at the finest step and at 1/4.
@pytest.mark.parametrize("widths", [(4, 5, 7, 8, 9), (9, 6, 6, 8, 7)])
@pytest.mark.parametrize("training", [False, True])
def test_the_decoder_equals_the_figure(widths: tuple[int, ...], training: bool) -> None:
    ours, features = decoder_and_features(widths)
    theirs = deepcopy(ours)
    pred = outputs_of(ours.train(training), ours(features))
    true = figure(theirs.train(training), features)
    # The heads give single precision whatever comes in.
    torch.testing.assert_close(pred, true, check_dtype=False, rtol=0, atol=1e-6)
    for name, value in ours.state_dict().items():
        # A half-resolution batch has a quarter of the pixels in n / (n - 1) of its variance.
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-3, atol=1e-9)


def test_the_decoder_learns_as_the_figure_would() -> None:
    ours, features = decoder_and_features((4, 5, 7, 8, 9))
    theirs = deepcopy(ours)
    probabilities, feature = outputs_of(ours, ours(features))
    sum(((i + 1) * x.square()).mean() for i, x in enumerate([*probabilities, feature])).backward()
    probabilities, feature = figure(theirs, features)
    sum(((i + 1) * x.square()).mean() for i, x in enumerate([*probabilities, feature])).backward()
    for pred, true in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(pred.grad, true.grad, rtol=1e-4, atol=1e-7)


def test_alpha_is_the_blend_of_both_branches() -> None:
    network = toy_with_preset()
    image = torch.rand(2, 3, 64, 96) * 255
    with torch.no_grad():
        output = network(image)
        halves = network.branches(image)
    fused = output.blend * output.fg + (1 - output.blend) * (1 - output.bg)
    torch.testing.assert_close(output.alpha, fused)
    torch.testing.assert_close(halves.alpha, (output.fg + 1 - output.bg) / 2)
    assert output.blend.std() > 1e-4
    for plane in (*output[:4], *output.fg_scales, *output.bg_scales):
        assert plane.shape == (2, 1, 64, 96)
        assert plane.min() >= 0
        assert plane.max() <= 1


def test_probabilities_are_single_precision_under_autocast() -> None:
    network = toy_with_preset()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = network(torch.rand(1, 3, 64, 96) * 255)
    planes = (*output[:4], *output.fg_scales, *output.bg_scales)
    assert {plane.dtype for plane in planes} == {torch.float32}


def toy_with_preset() -> MattingNetwork:
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        return toy_network()


def test_a_third_encoder_needs_one_table_row() -> None:
    network = toy_with_preset()
    assert network.encoder.widths == TOY.encoder_args["widths"]
    assert network.fg.deconv5.conv.in_channels == 9 + 8


def test_plain_pixels_go_in_and_mean_and_scale_live_inside() -> None:
    network = toy_with_preset()
    mean = torch.tensor(network.encoder.mean).view(1, 3, 1, 1)
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(mean.expand(1, 3, 64, 64))
        network(mean.expand(1, 3, 64, 64) + 64)
    assert seen[0].abs().max() == 0
    assert torch.equal(seen[1], torch.ones(1, 3, 64, 64))


def test_lite_keeps_to_its_size() -> None:
    network = MattingNetwork(PRESETS["lite"])
    parameters = sum(parameters_per_part(network).values())
    assert parameters == sum(p.numel() for p in network.parameters()) <= 8e6
    gmac = gmac_per_part(network)
    assert tuple(gmac) == PARTS
    assert all(cost > 1 for cost in gmac.values())
    assert sum(gmac.values()) <= 20


def test_the_cost_of_a_part_is_that_of_its_convolutions() -> None:
    network = toy_with_preset()
    network.train()
    before = deepcopy(network.state_dict())
    gmac = gmac_per_part(network, (64, 96))
    inputs, macs = 3, 0
    for step, width in enumerate(network.encoder.widths, start=1):
        macs += 9 * inputs * width * (64 >> step) * (96 >> step)
        inputs = width
    assert gmac["encoder"] == pytest.approx(macs / 1e9)
    assert gmac["fg"] == gmac["bg"] > 0
    convs = [network.fusion.rgb, *network.fusion.convs, network.fusion.head]
    values = sum(conv.weight.numel() for conv in convs)
    assert gmac["fusion"] == pytest.approx(values * 64 * 96 / 1e9)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_lite0_holds_the_weights_of_the_package() -> None:
    encoder = lite0()
    load_imagenet(encoder, None)
    packaged = torch.load(packaged_weights(), weights_only=True)
    expected = [v for k, v in packaged.items() if not k.startswith(("_conv_head", "_bn1", "_fc"))]
    for ours, theirs in zip(encoder.state_dict().values(), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_lite0_gives_five_features_of_its_widths() -> None:
    with torch.no_grad():
        features = lite0().eval()(torch.zeros(1, 3, 64, 96))
    shapes = [tuple(feature.shape[1:]) for feature in features]
    assert shapes == [(16, 32, 48), (24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]


def test_lite0_with_its_classifier_knows_what_is_on_the_sample_photo() -> None:
    encoder = lite0().eval()
    load_imagenet(encoder, None)
    state = torch.load(packaged_weights(), weights_only=True)
    norm = nn.BatchNorm2d(1280, eps=1e-3).eval()
    norm.load_state_dict({k.removeprefix("_bn1."): v for k, v in state.items() if "_bn1" in k[:5]})
    photo = cv2.resize(cv2.imread(str(ASTRONAUT))[:, :, ::-1], (224, 224))  # type: ignore[index]
    x = torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        feature = encoder((x - 127) / 128)[-1]
        pooled = norm(F.conv2d(feature, state["_conv_head.weight"])).clamp(0, 6).mean(dim=(2, 3))
        scores = F.linear(pooled, state["_fc.weight"], state["_fc.bias"]).softmax(dim=1)[0]
    assert scores.argmax() == 560  # football helmet; the astronaut holds hers


def test_other_weights_than_lite0s_are_refused(tmp_path: Path) -> None:
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth: missing .*EfficientNet-Lite0"):
        load_imagenet(lite0(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no such file"):
        load_imagenet(lite0(), tmp_path / "absent.pth")


@pytest.mark.parametrize("corner", [(0, 0), (10, 34), (32, 64)])
def test_a_window_shows_what_the_whole_picture_has_there(
    monkeypatch: pytest.MonkeyPatch, corner: tuple[int, int]
) -> None:
    """Borders included: of the window inside the picture, and of the picture itself."""
    add_toy_preset(monkeypatch)
    network = toy_network().double().eval()
    perturb_norms(network)
    image = torch.rand(2, 3, 64, 96, dtype=torch.float64) * 255
    window = Window(*corner, 32, 32)
    whole, part = network(image), network.windowed(image, window)
    torch.testing.assert_close(part.alpha, window.of(whole.alpha))
    torch.testing.assert_close(part.blend, window.of(whole.blend))
    torch.testing.assert_close(part.fg, whole.fg)
    assert part.window == window
