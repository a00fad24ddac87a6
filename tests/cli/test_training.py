"""The training commands: words in, one call, words out; wrong words in one line."""

import inspect
import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from latefusion.cli import app
from latefusion.cli.training import train
from latefusion.model.checkpoint import read_notes, save_network
from latefusion.training.settings import Settings
from latefusion.training.settings_file import read_settings
from tests.helpers.toy_network import add_toy_preset, toy_network, write_toy_cutouts

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    add_toy_preset(monkeypatch)
    runner = CliRunner()
    return lambda *words: runner.invoke(app, [str(word) for word in words])


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three photos with a bright subject on the left, and its alphas."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    alpha = np.zeros((60, 80), np.uint8)
    alpha[20:, 5:30] = 255
    for i in range(3):
        photo = np.where(alpha[:, :, None] > 0, np.uint8(220), np.uint8(30 + 20 * i))
        cv2.imwrite(str(folder / f"{i}.jpg"), photo.repeat(3, axis=2))
        cv2.imwrite(str(folder / f"{i}.png"), alpha)
    return folder


@pytest.mark.slow
def test_a_run_is_trained_exported_described_and_used(run: Run, pairs: Path) -> None:
    out = pairs.parent / "run"
    words = ("--data", pairs, "--out", out, "--input-size", "64,64", "--epochs", 1)
    trained = run("train", "segmentation", "--preset", "toy", "--batch-size", 2, *words)
    assert trained.exit_code == 0, trained.output
    weights = Path(trained.stdout.strip().splitlines()[-1])
    model = pairs.parent / "mine.onnx"
    exported = run("export", weights, "-o", model)
    assert exported.exit_code == 0, exported.output
    assert json.loads(model.with_suffix(".json").read_text())["input"]["side"] == 64
    for what in (weights, model):
        assert "segmentation" in run("info", what).stdout
    cut = run("matte", pairs / "0.jpg", "--model", model, "-o", pairs.parent / "cut.png")
    assert cut.exit_code == 0, cut.output
    assert cv2.imread(str(pairs.parent / "cut.png"), cv2.IMREAD_UNCHANGED).shape == (60, 80, 4)


@pytest.mark.slow
def test_shards_are_trained_on(run: Run, pairs: Path) -> None:
    shards = pairs.parent / "shards"
    for name, words in (("pairs", ()), ("rooms", ("--backgrounds",))):
        packed = run("shard", pairs, "--out", shards / name, "--pairs", 2, *words)
        assert packed.exit_code == 0, packed.output
    words = ("--data", shards / "pairs", "--backgrounds", shards / "rooms", "--workers", 1)
    sizes = ("--input-size", "64,64", "--epochs", 1, "--batch-size", 2)
    out = ("--preset", "toy", "--out", pairs.parent / "run")
    trained = run("train", "segmentation", *words, *sizes, *out)
    assert trained.exit_code == 0, trained.output
    assert (pairs.parent / "run" / "best.safetensors").is_file()


def test_cutouts_are_prepared_packed_and_trained_on(run: Run, pairs: Path) -> None:
    src = write_toy_cutouts(pairs.parent / "src", 3)
    prepared = run("prepare", src, "--out", pairs.parent / "ready")
    assert prepared.exit_code == 0, prepared.output
    cutouts = pairs.parent / "ready" / "cutouts"
    assert prepared.stdout == f"{cutouts}: 3 cut-outs for --cutouts\n"
    packed = run("shard", cutouts, "--cutouts", "--out", pairs.parent / "shards")
    assert f"{pairs.parent / 'shards'}: 3 cut-outs in 1 shards" in packed.stdout
    words = ("--data", pairs, "--backgrounds", pairs, "--cutouts", pairs.parent / "shards")
    sizes = ("--input-size", "64,64", "--epochs", 1, "--batch-size", 2, "--cutout-portion", 0.5)
    out = ("--preset", "toy", "--out", pairs.parent / "run")
    trained = run("train", "segmentation", *words, *sizes, *out)
    assert trained.exit_code == 0, trained.output
    assert read_notes(pairs.parent / "run" / "best.safetensors")["step"] == "3"  # six pictures


def test_four_pairs_are_prepared_for_the_next_command(run: Run, pairs: Path) -> None:
    out = pairs.parent / "ready"
    prepared = run("prepare", pairs, "--out", out)
    assert prepared.stdout == f"{out}: 2 pairs to train on, 1 to validate\n"
    packed = run("shard", out / "val_set.txt", "--out", pairs.parent / "shards")
    assert packed.exit_code == 0, packed.output
    alone = run("prepare", pairs, "--out", out, "--train-ratio", 1)
    assert alone.stdout == f"{out}: 3 pairs to train on, 0 to validate\n"
    assert "no pair is left to validate with; train without --validation" in alone.stderr


def test_photos_and_masks_of_two_folders_are_prepared_by_label(run: Run, pairs: Path) -> None:
    mattes = pairs.parent / "marked"
    mattes.mkdir()
    for alpha in pairs.glob("*.png"):
        mask = np.asarray(cv2.imread(str(alpha), cv2.IMREAD_UNCHANGED)) // 17
        mask[:9, 50:] = 8
        cv2.imwrite(str(mattes / alpha.name), mask)
        alpha.unlink()
    words = ("--images", pairs, "--mattes", mattes, "--out", pairs.parent / "ready")
    refused = run("prepare", *words)
    assert refused.exit_code == 1
    assert "0.png is a mask of labels (8 and 15), not an alpha" in refused.stderr
    for label in ("15", "15, 3", "any"):
        assert "2 pairs to train on, 1 to" in run("prepare", *words, "--label", label).stdout
    for label in ("person", "-1", ""):
        result = run("prepare", *words, "--label", label)
        assert result.exit_code == 2
        assert "names no labels" in result.stderr
    for wrong in ((pairs, "--mattes", mattes), ("--images", pairs), ()):
        result = run("prepare", *wrong, "--out", pairs.parent / "ready")
        assert result.exit_code == 2
        assert "give either SRC or both --images and --mattes" in result.stderr


def test_a_shard_is_of_one_kind(run: Run, pairs: Path) -> None:
    result = run("shard", pairs, "--out", pairs.parent / "out", "--backgrounds", "--cutouts")
    assert result.exit_code == 2
    assert "exclude each other" in result.stderr


def test_cutouts_need_backgrounds(run: Run, pairs: Path) -> None:
    words = ("--data", pairs, "--cutouts", pairs, "--out", pairs.parent / "run")
    result = run("train", "segmentation", *words)
    assert result.exit_code == 1
    assert "pass --backgrounds" in result.stderr


def test_an_unknown_preset_is_a_wrong_use(run: Run, pairs: Path) -> None:
    words = ("--data", pairs, "--out", pairs.parent / "run", "--preset", "big")
    result = run("train", "segmentation", *words)
    assert result.exit_code == 1
    assert "'big' is unknown; use one of lite, lite-mobilenetv2, densenet201" in result.stderr


def test_info_counts_a_preset(run: Run) -> None:
    printed = run("info", "lite").stdout
    assert "3,184,017 parameters, 11.74 GMAC at 512 x 512" in printed


def test_info_of_something_else_is_one_line(run: Run) -> None:
    result = run("info", "nothing")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "nothing is not a preset" in result.stderr


@pytest.mark.parametrize("size", ["100", "64x64", "64,", "64,64,64"])
def test_an_input_size_is_two_numbers(run: Run, pairs: Path, size: str) -> None:
    words = ("--data", pairs, "--out", pairs.parent / "run", "--input-size", size)
    result = run("train", "segmentation", *words)
    assert result.exit_code == 2
    assert "is not H,W" in result.stderr


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (("joint",), "stage joint starts from fusion"),
        (("fusion", "--preset", "lite"), "does not hold a lite network"),
    ],
)
def test_weights_of_the_wrong_stage_or_preset_are_refused(
    run: Run, pairs: Path, tmp_path: Path, asked: tuple[str, ...], reason: str
) -> None:
    save_network(tmp_path / "a.safetensors", toy_network(), stage="segmentation")
    words = ("--data", pairs, "--out", tmp_path / "run", "--weights", tmp_path / "a.safetensors")
    result = run("train", *asked, *words)
    assert result.exit_code == 1
    assert reason in result.stderr


def test_validation_photos_may_not_be_trained_on(run: Run, pairs: Path, tmp_path: Path) -> None:
    words = ("--data", pairs, "--validation", pairs, "--out", tmp_path / "run")
    result = run("train", "segmentation", "--preset", "toy", *words)
    assert result.exit_code == 1
    assert "both --data and --validation" in result.stderr


def test_a_run_is_repeated_from_its_settings_bit_for_bit(run: Run, pairs: Path) -> None:
    first, again, other = (pairs.parent / name for name in ("first", "again", "other"))
    words = ("--preset", "toy", "--data", pairs, "--input-size", "64,96", "--epochs", 1)
    trained = run("train", "segmentation", *words, "--batch-size", 2, "--seed", 3, "--out", first)
    assert trained.exit_code == 0, trained.output
    config = ("--config", first / "settings.yaml")
    refused = run("train", *config)
    assert "first holds a run already; pass --resume or another --out" in refused.stderr
    for out, more in ((again, ()), (other, ("--batch-size", 3))):
        repeated = run("train", *config, "--out", out, *more)
        assert repeated.exit_code == 0, repeated.output
    one, same, unlike = (load_file(out / "best.safetensors") for out in (first, again, other))
    assert all(torch.equal(same[name], value) for name, value in one.items())
    assert any(not torch.equal(unlike[name], value) for name, value in one.items())
    assert read_settings(other / "settings.yaml")["batch_size"] == 3
    assert read_settings(other / "settings.yaml")["seed"] == 3


def test_settings_that_are_missing_or_unknown_are_named(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    words = ("train", "--config", config)
    texts = {
        "stage: joint\n": (2, "data is missing; give it here or in the file of --config"),
        "rate: 3\n": (1, "unknown setting rate; choose stage, data, out"),
        "seed: many\n": (1, "mine.yaml: seed cannot be 'many'"),
        "epochs: 2.5\n": (1, "mine.yaml: epochs cannot be 2.5"),
        "window: [32]\n": (1, "mine.yaml: window cannot be [32]"),
        "recipe: {turn: 3}\n": (1, "mine.yaml: recipe cannot be {'turn': 3}"),
        "- joint\n": (1, "mine.yaml: holds no settings"),
        "a: [\n": (1, "mine.yaml: cannot be read as settings"),
    }
    for text, (code, reason) in texts.items():
        config.write_text(text)
        result = run(*words)
        assert result.exit_code == code, text
        assert reason in " ".join(result.stderr.replace("│", " ").split()), text
        assert result.stderr.count("\n") == 1 or code == 2
    config.unlink()
    assert "mine.yaml: cannot be read as settings: " in run(*words).stderr


def test_options_and_settings_have_the_same_defaults() -> None:
    """The command shows them, but leaves what is not typed to Settings."""
    of_settings = {
        each.name: each.default for each in fields(Settings) if each.default is not MISSING
    }
    for name, parameter in inspect.signature(train).parameters.items():
        if name in of_settings:
            default = of_settings[name]
            as_text = ",".join(map(str, default)) if default and name == "input_size" else default
            assert parameter.default == (as_text if as_text != () else None), name


@pytest.mark.parametrize("target", [("--target", "onnx"), ()])
def test_the_names_of_the_write_up_are_for_tensorflow(run: Run, target: tuple[str, ...]) -> None:
    result = run("export", "lite", "-o", "a.onnx", "--names", "write-up", *target)
    assert result.exit_code == 2
    assert "--names write-up is for --target tensorflow, not" in result.stderr


def test_an_export_with_the_names_of_the_write_up_is_made(run: Run, tmp_path: Path) -> None:
    save_network(tmp_path / "toy.safetensors", toy_network(), stage="joint")
    words = ("--target", "tensorflow", "--names", "write-up", "--size", "64,96")
    result = run("export", tmp_path / "toy.safetensors", "-o", tmp_path / "lfm.pb", *words)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'lfm.pb'}\n")
    assert json.loads((tmp_path / "lfm.json").read_text())["target"] == "write-up"


@pytest.mark.parametrize(
    "words",
    [
        ("parity", "lite", "--cpp", "gone"),
        ("quantize", "lite", "--data", "gone", "-o", "a.onnx"),
        ("export", "lite", "-o", "a.txt"),
        ("parity", "gone.onnx", "--checkpoint", "lite"),
        ("matte", "gone.jpg", "--model", "lite"),
        ("video", "gone.mp4", "--model", "lite", "-o", "a.mov"),
        ("train", "joint", "--weights", "lite", "--data", "gone", "--out", "run"),
        ("evaluate", "--model", "lite", "--data", "gone"),
    ],
)
def test_each_command_takes_the_name_of_the_built_in_network(
    run: Run, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of these fail, but for something else."""
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.exit_code == 1, result.output
    assert "lite" not in result.stderr.replace("latefusion", "").replace("lite.onnx", "")
    assert "gone" in result.stderr or "a.txt" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("train", "fusion", "--weights", "lfm.h5", "--data", "pairs", "--out", "run"),
        ("train", "segmentation", "--weights", "lfm.h5", "--data", "pairs", "--out", "run"),
        ("export", "lfm.h5", "-o", "a.onnx"),
        ("parity", "lite", "--checkpoint", "lfm.h5"),
        ("info", "lfm.h5"),
        ("matte", "gone.jpg", "--model", "lfm.h5"),
        ("evaluate", "--model", "lfm.h5", "--data", "pairs"),
        ("quantize", "lfm.h5", "--data", "pairs", "-o", "a.onnx"),
        ("serve", "--model", "lfm.h5", "--port", "0"),
        ("video", "gone.mp4", "--model", "lfm.h5", "-o", "a.mov"),
    ],
)
@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("lfm.h5", "latefusion import-keras lfm.h5 lfm.safetensors"),
        ("lfm.HDF5", "latefusion import-keras lfm.HDF5 lfm.safetensors"),
        (
            "lfm.keras",
            "model.save('lfm.h5'), and make a checkpoint of that: latefusion import-keras",
        ),
    ],
)
def test_a_file_of_keras_is_sent_to_import_keras(
    run: Run,
    pairs: Path,
    words: tuple[str, ...],
    name: str,
    cure: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(pairs.parent)
    (pairs.parent / name).write_bytes(b"\x89HDF")
    result = run(*(word.replace("lfm.h5", name) for word in words))
    assert result.exit_code == 1, result.output
    assert cure in result.stderr
    assert not (pairs.parent / "run").exists()


def test_import_keras_names_the_format_that_it_reads(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lfm.keras").write_bytes(b"PK")
    result = run("import-keras", tmp_path / "lfm.keras", tmp_path / "lfm.safetensors")
    assert result.exit_code == 1
    assert "save it there as .h5, model.save('lfm.h5')" in result.stderr
    assert not (tmp_path / "lfm.safetensors").exists()
