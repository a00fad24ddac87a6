"""Lazy fusion: the error is bounded, tiles equal the whole, and only tiles in doubt run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from latefusion import LatefusionError, MattingOptions, Predictor
from latefusion.errors import ImageError, WeightsError
from latefusion.export.files import ExportOptions, export
from latefusion.images.framing import Size, into
from latefusion.images.levels import Plane
from latefusion.model.checkpoint import save_network
from latefusion.parallel import cores_for
from latefusion.runtime.devices import Hardware
from latefusion.runtime.lazy import EPSILON, Reach, Seam, fuse_lazily, in_doubt
from latefusion.runtime.model_file import read_model
from latefusion.runtime.planes import Planes
from latefusion.runtime.runtimes import OnnxNetwork
from tests.helpers.toy_network import TOY, add_toy_preset, export_toy, perturbed

REACH = Reach(4, 6)


def smoothed(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of all pixels within 4 of each one, zeros outside, as (N, 1, h, w)."""
    side = 2 * REACH.inside + 1
    widths = [(0, 0), (REACH.inside, REACH.inside), (REACH.inside, REACH.inside)]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(pixels, widths), (side, side), axis=(1, 2)
    )
    found: NDArray[np.float32] = windows.mean(axis=(3, 4), dtype=np.float32)[:, None]
    return found


class Pieces:
    """A made-up network: F and B of a given doubt, and a blend that depends on its surroundings.

    As in the real one, the outermost pixels are wrong in the features, and right in the rows and
    columns.
    """

    def __init__(self, doubt: Plane) -> None:
        rng = np.random.default_rng(0)
        self.fg = rng.random(doubt.shape, np.float32)
        self.bg = 1 - self.fg + doubt
        self.pixels = rng.random((1, *doubt.shape), np.float32)
        wrong = self.pixels.copy()
        wrong[:, [0, -1]] = wrong[:, :, [0, -1]] = 9
        phases = wrong.reshape(1, doubt.shape[0] // 2, 2, -1, 2).transpose(0, 2, 4, 1, 3)
        self.seam = Seam(
            np.pad(phases.reshape(1, 4, *phases.shape[3:]), [(0, 0), (0, 0), (1, 1), (1, 1)]),
            self.pixels[:, None, [0, -1]],
            self.pixels[:, None, :, [0, -1]],
        )
        self.seen = 0

    def fusion(self, seam: Seam) -> NDArray[np.float32]:
        self.seen += len(seam.features)
        phases = seam.features[:, :, 1:-1, 1:-1]
        count, _, height, width = phases.shape
        pixels = phases.reshape(count, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
        pixels = pixels.reshape(count, 2 * height, 2 * width).copy()
        if len(seam.rows):
            pixels[:, [0, -1]] = seam.rows[:, 0]
            pixels[:, :, [0, -1]] = seam.columns[:, 0]
        return smoothed(pixels)

    def fuse(self, epsilon: float, tile: int) -> Planes:
        return fuse_lazily(self.fg, self.bg, self.seam, self.fusion, REACH, epsilon, [tile])

    def alpha(self) -> Plane:
        blend = smoothed(self.pixels)[0, 0]
        return blend * self.fg + (1 - blend) * (1 - self.bg)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 32), (160, 128)])
@pytest.mark.parametrize("tile", [8, 16, 30, 32, 64, 100])
def test_every_tile_equals_that_of_the_whole_image(size: tuple[int, int], tile: int) -> None:
    pieces = Pieces(np.zeros(size, np.float32))
    found = pieces.fuse(0, tile)
    np.testing.assert_allclose(found.blend, smoothed(pieces.pixels)[0, 0], atol=1e-6)
    np.testing.assert_allclose(found.alpha, pieces.alpha(), atol=1e-6)
    assert found.fused == 1


@given(st.integers(0, 2**32 - 1), st.sampled_from([(50, 70), (64, 64), (130, 171), (512, 300)]))
def test_alpha_is_within_a_level_at_the_size_of_the_photo(seed: int, photo: Size) -> None:
    rng = np.random.default_rng(seed)
    frame = into(photo, (64, 64))
    one = rng.random((64, 64), np.float32)
    # Each pixel differs by half of epsilon, up or down.
    other = one + rng.choice(np.array([-EPSILON / 2, EPSILON / 2], np.float32), one.shape)
    apart = np.abs(frame.restore(one) - frame.restore(other)).max()
    assert apart <= 1 / 255
    assert apart > 0.4 / 255


def test_the_largest_difference_at_the_size_of_the_photo() -> None:
    """The worst case: differences whose signs are those of the bicubic kernel."""
    signs = np.resize(np.array([-1, 1, 1, -1], np.float32), 64)
    one = np.full((64, 64), 0.5, np.float32)
    other = one + EPSILON / 2 * np.outer(signs, signs)
    frame = into((500, 500), (64, 64))
    apart = float(np.abs(frame.restore(one) - frame.restore(other)).max())
    assert 0.93 * MOST < apart <= MOST + 1e-6


MOST = 1.375**2 * EPSILON / 2


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.3), st.sampled_from([16, 32, 48]))
def test_alpha_is_within_half_of_epsilon(seed: int, epsilon: float, tile: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, epsilon, (4, 6)) * (rng.random((4, 6)) < 0.5)
    pieces = Pieces(np.kron(coarse, np.ones((16, 16))).astype(np.float32))
    found = pieces.fuse(epsilon, tile)
    assert np.abs(found.alpha - pieces.alpha()).max() <= epsilon / 2 + 1e-6
    doubtful = in_doubt(np.abs(pieces.fg + pieces.bg - 1), tile, epsilon)
    assert pieces.seen == doubtful.sum()
    assert found.fused == doubtful.mean()


def test_the_tile_size_follows_the_doubt() -> None:
    all_ = Pieces(np.ones((512, 256), np.float32))
    fuse_lazily(all_.fg, all_.bg, all_.seam, all_.fusion, REACH, 0.5)
    assert all_.seen == 2  # of 256 x 256
    one = np.zeros((256, 256), np.float32)
    one[70, 70] = 1
    some = Pieces(one)
    planes = fuse_lazily(some.fg, some.bg, some.seam, some.fusion, REACH, 0.5)
    assert some.seen == 1
    assert planes.fused == 1 / 64  # of 32 x 32


def test_only_the_tiles_in_doubt_run() -> None:
    doubt = np.zeros((96, 64), np.float32)
    doubt[40, 31] = -0.5
    doubt[95, 63] = 0.1
    assert in_doubt(np.abs(doubt), 32, 0.1).tolist() == [
        [False, False],
        [True, False],
        [False, True],
    ]
    assert in_doubt(np.abs(doubt), 32, 0.2).sum() == 1
    assert in_doubt(np.abs(doubt), 80, 0.1).tolist() == [[True], [True]]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy network as two files, and the same as one beside it."""
    exports = {"whole.onnx": ExportOptions(side=192), "lazy.onnx": ExportOptions("lazy", side=192)}
    return export_toy(tmp_path_factory.mktemp("lazy"), lambda: perturbed(TOY), exports)


@pytest.fixture
def exported(exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of the two files, which a test may change."""
    add_toy_preset(monkeypatch)
    shutil.copytree(exports, tmp_path, dirs_exist_ok=True)
    return tmp_path / "lazy.onnx"


def test_two_files_give_the_planes_of_the_whole_network(exported: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 160, 192), np.float32) * 255
    whole = OnnxNetwork(read_model(exported.with_name("whole.onnx")))(image)
    found = OnnxNetwork(read_model(exported), epsilon=0)(image)
    for name in ("alpha", "fg", "bg", "blend"):
        true = getattr(whole, name)
        np.testing.assert_allclose(getattr(found, name), true, atol=1e-5, err_msg=name)
        assert true.std() > 1e-3
    assert (whole.fused, found.fused) == (1, 1)
    doubt = np.abs(whole.fg + whole.bg - 1)
    epsilon = float(np.median(doubt))
    loose = OnnxNetwork(read_model(exported), epsilon=epsilon)(image)
    assert np.abs(loose.alpha - whole.alpha).max() <= epsilon / 2 + 1e-5
    never = OnnxNetwork(read_model(exported), epsilon=1)(image)
    assert never.fused == 0
    np.testing.assert_allclose(never.alpha, (whole.fg + 1 - whole.bg) / 2, atol=1e-5)


def test_the_predictor_reports_its_share_of_tiles(exported: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    assert Predictor(exported, MattingOptions(epsilon=0))(photo).fused == 1
    assert Predictor(exported, MattingOptions(epsilon=1))(photo).fused == 0


@pytest.mark.parametrize("epsilon", [-0.1, 1.5, float("nan")])
def test_epsilon_is_a_difference_of_probabilities(exported: Path, epsilon: float) -> None:
    with pytest.raises(LatefusionError, match=r"is not a number from 0 to 1"):
        Predictor(exported, MattingOptions(epsilon=epsilon))


def test_the_sidecar_describes_both_files(exported: Path) -> None:
    model = read_model(exported)
    assert model.fusion == exported.with_name("lazy.fusion.onnx").read_bytes()
    assert model.card["fusion"]["reach"] == [REACH.inside, REACH.border]
    assert model.card["outputs"] == ["fg", "bg", "features", "rows", "columns"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def swap(path: Path) -> None:
    path.write_bytes(path.with_name("whole.onnx").read_bytes())


@pytest.mark.parametrize("harm", [cut, swap])
@pytest.mark.parametrize("name", ["lazy.onnx", "lazy.fusion.onnx"])
def test_a_wrong_file_of_the_two_is_refused(
    exported: Path, harm: Callable[[Path], None], name: str
) -> None:
    harm(exported.with_name(name))
    with pytest.raises(WeightsError, match=rf"{name} does not match its sidecar lazy\.json"):
        read_model(exported)


@pytest.mark.parametrize(
    "fusion",
    [
        *(None, [], {}, "x", {"reach": [4, 6]}, {"reach": 6}, {"reach": [4]}, {"reach": [4, 5]}),
        *({"reach": [2, 6]}, {"reach": [4, 4]}, {"reach": [4, 10**30]}, {"reach": [True, 6]}),
    ],
)
def test_a_sidecar_with_a_damaged_second_entry_is_refused(exported: Path, fusion: object) -> None:
    sidecar = exported.with_suffix(".json")
    card = json.loads(sidecar.read_text())
    if isinstance(fusion, dict) and fusion.get("reach") != [4, 6]:
        fusion = card["fusion"] | {"reach": None} | fusion
    sidecar.write_text(json.dumps(card | {"fusion": fusion}))
    with pytest.raises(WeightsError, match=r"lazy\.json is a damaged sidecar"):
        read_model(exported)


def test_both_files_are_needed(exported: Path) -> None:
    exported.with_name("lazy.fusion.onnx").unlink()
    with pytest.raises(WeightsError, match=r"lazy\.fusion\.onnx cannot be read.*second half"):
        read_model(exported)


def test_a_network_without_a_trained_fusion_is_not_exported_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_toy_preset(monkeypatch)
    source = tmp_path / "toy.safetensors"
    save_network(source, perturbed(TOY), stage="segmentation")
    with pytest.raises(WeightsError, match="is not trained yet; use --target onnx"):
        export(source, tmp_path / "a.onnx", ExportOptions("lazy"))


def test_threads_do_not_change_the_planes(exported: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 64, 96), np.float32) * 255
    one = OnnxNetwork(read_model(exported), Hardware(threads=1))(image)
    two = OnnxNetwork(read_model(exported), Hardware(threads=2))(image)
    np.testing.assert_allclose(one.alpha, two.alpha, atol=1e-6)


def test_both_sessions_use_the_threads_and_release_idle_cores(exported: Path) -> None:
    network = OnnxNetwork(read_model(exported), Hardware(threads=3))
    assert network._fusion
    for part in (network._main, network._fusion):
        options = part._session.get_session_options()
        assert options.intra_op_num_threads == cores_for(3)
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_several_images_at_once_are_refused(exported: Path) -> None:
    with pytest.raises(ImageError, match=r"one image, \(1, 3, H, W\), not \(2, 3, 64, 64\)"):
        OnnxNetwork(read_model(exported))(np.zeros((2, 3, 64, 64), np.float32))
