"""Checkpoints: what is written comes back, and nothing else is taken for one."""

import json
import pickle
import resource
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latefusion.errors import OutputError, WeightsError
from latefusion.model.checkpoint import load_network, read_config, read_notes, save_network
from latefusion.model.matting import PRESETS, MattingNetwork
from tests.helpers.toy_network import TOY, add_toy_preset, toy_network


@pytest.fixture(autouse=True)
def toy_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    add_toy_preset(monkeypatch)


def test_a_network_comes_back_with_every_bit(tmp_path: Path) -> None:
    network = toy_network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_network(tmp_path / "a.safetensors", network, stage="joint")
    loaded = load_network(tmp_path / "a.safetensors")
    assert loaded.config == TOY
    assert not loaded.training
    torch.testing.assert_close(loaded.state_dict(), network.state_dict(), rtol=0, atol=0)
    assert read_notes(tmp_path / "a.safetensors")["stage"] == "joint"
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_half_storage_rounds_kernels_and_keeps_statistics(tmp_path: Path) -> None:
    network = toy_network()
    variance = network.encoder.norms[0].running_var
    variance[:2] = torch.tensor([1e-9, 1e6])  # both beyond fp16
    save_network(tmp_path / "a.safetensors", network, half=True)
    stored = load_file(tmp_path / "a.safetensors")
    assert stored["fg.up4.weight"].dtype == torch.float16
    loaded = load_network(tmp_path / "a.safetensors")
    assert loaded.fg.up4.weight.dtype == torch.float32
    assert torch.equal(loaded.encoder.norms[0].running_var, variance)
    expected = {
        name: value.half().float() if value.ndim > 1 else value
        for name, value in network.state_dict().items()
    }
    torch.testing.assert_close(loaded.state_dict(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("preset", ["lite", "densenet201", "toy"])
def test_a_preset_is_recognised_in_a_checkpoint(tmp_path: Path, preset: str) -> None:
    with torch.device("meta"):
        network = MattingNetwork(PRESETS[preset])
    network = network.to_empty(device="cpu")
    for value in network.state_dict().values():
        value.zero_()
    save_network(tmp_path / "a.safetensors", network, half=True)
    assert read_config(tmp_path / "a.safetensors") == PRESETS[preset]


def write_with_config(path: Path, config: object) -> Path:
    state = {"mean": torch.zeros(3)}
    save_file(state, path, {"config": config if isinstance(config, str) else json.dumps(config)})
    return path


GOOD = {"encoder": "toy", "width": 6, "fusion": [4, 5, 4, 3, 4],
        "encoder_args": {"widths": [4, 5, 7, 8, 9]}}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "configuration is damaged"),
        ([1, 2], "configuration is damaged"),
        ({"encoder": "toy"}, "configuration is damaged"),
        (GOOD | {"encoder_args": 3}, "configuration is damaged"),
        (GOOD | {"encoder": "vgg"}, "no encoder 'vgg'"),
        (GOOD | {"width": "wide"}, "damaged .width cannot be 'wide'"),
        (GOOD | {"width": 6.0}, "configuration is damaged"),
        (GOOD | {"fusion": "abcde"}, "configuration is damaged"),
        (GOOD | {"encoder": ["toy"]}, "configuration is damaged"),
        ("[" * 900 + "]" * 900, "configuration is damaged"),
        ("[" * 10**5 + "]" * 10**5, "configuration is damaged"),
        (GOOD | {"encoder_args": {"depth": 3}}, "do not fit"),
        (GOOD, "do not fit"),
    ],
)
def test_a_configuration_that_builds_nothing_is_named(
    tmp_path: Path, config: object, reason: str
) -> None:
    path = write_with_config(tmp_path / "a.safetensors", config)
    with pytest.raises(WeightsError, match=rf"a\.safetensors: .*{reason}"):
        load_network(path)


@pytest.mark.parametrize(
    "config",
    [
        GOOD | {"width": 10**6},  # 500 TB
        GOOD | {"width": 10**18},
        GOOD | {"fusion": [4] * 3000},
        {"encoder": "densenet201", "width": 6, "fusion": [4, 5, 4, 3, 4],
         "encoder_args": {"blocks": [3000, 3000, 1, 1]}},
    ],
)  # fmt: skip
def test_a_configuration_that_claims_more_than_the_file_has_costs_nothing(
    tmp_path: Path, config: dict[str, object]
) -> None:
    path = write_with_config(tmp_path / "a.safetensors", config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match="do not fit its configuration"):
        load_network(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":' * 10**5,
        b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        b'{"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,4]}}',
    ],
)
@pytest.mark.parametrize("claimed", [None, 99_000_000, 2**63])
def test_a_header_that_lies_is_refused_in_one_line(
    tmp_path: Path, header: bytes, claimed: int | None
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", claimed or len(header)) + header + bytes(4))
    with pytest.raises(WeightsError, match="is not a readable safetensors file") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_safetensors_of_others_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors was not written by latefusion"):
        load_network(tmp_path / "other.safetensors")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_network(path, toy_network())
    whole = path.read_bytes()
    for part in (b"", whole[:4], whole[:200], whole[:-1]):
        path.write_bytes(part)
        with pytest.raises(WeightsError, match=r"a\.safetensors is not a readable safetensors"):
            load_network(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.safetensors"):
        with pytest.raises(WeightsError, match="no such file"):
            load_network(path)


class Trap:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_network(path)
    assert not (tmp_path / "sprung").exists()


def test_weights_that_cannot_be_written_are_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("file", "absent"):
        with pytest.raises(OutputError, match=r"a\.safetensors cannot be written"):
            save_network(tmp_path / folder / "a.safetensors", toy_network())
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
