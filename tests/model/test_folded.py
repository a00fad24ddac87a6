"""A folded network is the same function, borders included."""

import pytest
import torch
from torch import nn

from latefusion.images.reading import read_photo
from latefusion.inference.golden import SAMPLE
from latefusion.model.checkpoint import load_network
from latefusion.model.folded import ComposedFirst, fold, of_unshuffled, of_upsampled
from latefusion.model.layers import upsample
from latefusion.model.matting import PRESETS, MattingNetwork, NetworkConfig
from latefusion.runtime.model_file import PACKAGED
from tests.helpers.toy_network import TOY, add_toy_preset, perturbed

SMALL_DENSENET = NetworkConfig(
    "densenet201", 12, (10, 8, 6, 5, 7), {"blocks": (2, 3, 2, 2), "growth": 8}
)
WIDE = NetworkConfig(TOY.encoder, 64, (10, 8, 6, 5, 7), TOY.encoder_args)  # another first one
NETWORKS = {
    "toy": TOY,
    "wide": WIDE,
    "lite": PRESETS["lite"],
    "lite-mobilenetv2": PRESETS["lite-mobilenetv2"],
    "densenet": SMALL_DENSENET,
}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 160), (128, 32), (32, 32)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_is_the_same_function(
    name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_toy_preset(monkeypatch)
    network = perturbed(NETWORKS[name]).double()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    image = torch.rand(2, 3, *size).double() * 255
    folded = fold(network)
    with torch.no_grad():
        found, expected = folded(image), network(image)
    for key, plane in found._asdict().items():
        true = getattr(expected, key)
        torch.testing.assert_close(plane.float(), true, rtol=0, atol=1e-6, msg=key)
        assert true.std() > 1e-2, key
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.slow
def test_the_shipped_network_folds_in_single_precision() -> None:
    network = load_network(PACKAGED.with_suffix(".safetensors"))
    photo = torch.from_numpy(read_photo(SAMPLE).image.copy()).permute(2, 0, 1)[None].float()
    image = torch.nn.functional.interpolate(photo, (256, 320), mode="bilinear")
    with torch.no_grad():
        found, expected = fold(network)(image), network(image)
    for key, plane in found._asdict().items():
        torch.testing.assert_close(plane, getattr(expected, key), rtol=0, atol=2e-5, msg=key)


def test_a_training_network_is_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    add_toy_preset(monkeypatch)
    with pytest.raises(AssertionError, match="eval mode"):
        fold(MattingNetwork(TOY).train())


@pytest.mark.parametrize("side", [3, 5])
def test_a_kernel_on_an_upsampled_map_is_four_on_the_map(side: int) -> None:
    torch.manual_seed(0)
    x, kernel = torch.rand(1, 2, 6, 7), torch.randn(3, 2, side, side)
    true = nn.functional.conv2d(upsample(x), kernel, padding=side // 2)
    found = nn.functional.conv2d(x, of_upsampled(kernel), padding=1)
    found = nn.functional.pixel_shuffle(found, 2)
    torch.testing.assert_close(found[..., 2:-2, 2:-2], true[..., 2:-2, 2:-2])


def test_differences_of_phases_are_the_phases() -> None:
    torch.manual_seed(0)
    composed = ComposedFirst(torch.randn(5, 4, 5, 5), torch.randn(5, 3, 5, 5), torch.randn(5))
    features = torch.randn(2, 4 + 12, 7, 9)
    with torch.no_grad():
        differences = composed.by_differences()
        found, true = differences(features), composed.by_phases()(features)
    torch.testing.assert_close(found, true, rtol=0, atol=2e-4)
    assert true.min() == 0  # after its ReLU
    kernels = [conv.kernel_size for conv in differences.children() if isinstance(conv, nn.Conv2d)]
    assert sum(height * width for height, width in kernels) == 25


def test_a_kernel_on_an_image_is_four_on_its_phases() -> None:
    torch.manual_seed(0)
    x, kernel = torch.rand(1, 3, 12, 14), torch.randn(4, 3, 5, 5)
    true = nn.functional.conv2d(x, kernel, padding=2)
    unshuffled = nn.functional.pixel_unshuffle(x, 2)
    found = nn.functional.conv2d(unshuffled, of_unshuffled(kernel), padding=1)
    torch.testing.assert_close(nn.functional.pixel_shuffle(found, 2), true)
