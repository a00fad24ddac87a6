"""The package as a whole: what it imports, ships and says about itself."""

import ast
import hashlib
import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import latefusion
from latefusion.runtime.planes import PARTS, SEAM

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "latefusion"
WEIGHTS = SOURCE / "weights"
README = (ROOT / "README.md").read_text(encoding="utf-8")

MEGABYTE = 1_000_000
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
BASE_ROOMS = ("images", "runtime", "inference", "folder")  # need no extra
ROOMS = (*BASE_ROOMS, "video", "server", "cluster", "cli")
IMPORT = """
import importlib, pkgutil, sys
import latefusion, latefusion.cli
for room in sys.argv[1:]:
    package = importlib.import_module(f"latefusion.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def requirements() -> list[Requirement]:
    return [Requirement(line) for line in requires("latefusion") or []]


def applies(need: Requirement, python: str, extra: str = "") -> bool:
    """Tell whether a line counts for a version of Python, on Linux, and an extra."""
    where = {"python_version": python, "python_full_version": f"{python}.1", "extra": extra}
    return not need.marker or need.marker.evaluate(
        {"sys_platform": "linux", "platform_system": "Linux", **where}
    )


def constraints(python: str) -> dict[str, str]:
    """Package -> the version that constraints.txt pins for a version of Python."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return pins_of([line for line in text.splitlines() if not line.startswith("#")], python)


def locked(name: str, python: str) -> dict[str, str]:
    """Package -> its version in a lock for a version of Python; each has a hash."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    text = re.sub(r" \\\n +--hash=sha256:[0-9a-f]{64}(?= \\\n|\n)", " hashed", text)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[^\\]+?( hashed)+", line) for line in lines)
    return pins_of([line.replace(" hashed", "") for line in lines], python)


def pins_of(lines: list[str], python: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pin in (Requirement(line) for line in lines):
        if applies(pin, python):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice for Python {python}"
            found[name] = str(pin.specifier).removeprefix("==")
    return found


def block_after(mark: str) -> list[str]:
    """The lines of the README's code block that follows the comment `mark`."""
    found = re.search(rf"^<!-- {mark} -->\n+```\w*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no code block after <!-- {mark} -->"
    return found[1].splitlines()


def mapped_files() -> list[Path]:
    """The files in docs/architecture.md: under a heading with a folder, a line for each."""
    paths, folder = [], ROOT
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        if room := re.fullmatch(r"## `(.+/)`", line):
            folder = ROOT / room[1]
            assert folder.is_dir(), f"the map names {folder}, which is not there"
        elif file := re.match(r"- `(.+?)`", line):
            assert line[file.end() :].startswith(": "), f"the map does not say what {file[1]} is"
            paths.append(folder / file[1])
    return paths


def loaded_with(*rooms: str) -> set[str]:
    """The packages that Python holds once every module of these rooms is imported."""
    python = [sys.executable, "-c", IMPORT, *rooms]
    done = subprocess.run(python, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def holds_code(module: Path) -> bool:
    """False where a module is empty or a docstring alone."""
    body = ast.parse(module.read_text(encoding="utf-8")).body
    return any(not isinstance(node, ast.Expr) for node in body)


def imported_by(module: Path) -> set[str]:
    """The packages that a module names in an import, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.fixture(scope="module")
def sidecar() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((WEIGHTS / "lite.json").read_text(encoding="utf-8"))
    return loaded


def test_what_runs_a_model_loads_without_pytorch() -> None:
    assert {"torch", "pytorch_lightning", "numba"} & loaded_with(*ROOMS) == set()


def test_photos_and_the_command_line_need_no_package_of_an_extra() -> None:
    extras = {
        need.name.replace("-", "_") for need in requirements() if "extra ==" in str(need.marker)
    }
    assert "torch" in extras
    assert extras & loaded_with(*BASE_ROOMS) == set()


def test_the_version_is_the_same_everywhere() -> None:
    assert version("latefusion") == latefusion.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == latefusion.__version__


def test_every_line_of_the_map_names_a_file() -> None:
    paths = mapped_files()
    assert [path for path in paths if not path.is_file()] == []
    assert len(paths) == len(set(paths))


def test_every_module_has_a_line_in_the_map() -> None:
    modules = {module for module in SOURCE.rglob("*.py") if holds_code(module)}
    assert modules - set(mapped_files()) == set()


def test_ci_takes_the_readme_commands_and_they_are_there() -> None:
    names = re.findall(r'^ *run_readme "(.+)"$', (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert names == ["set-up: use", "set-up: develop", "check"]
    for name in names:
        assert len(block_after(name)) == 1


@pytest.mark.parametrize("python", PYTHONS)
def test_every_direct_dependency_is_pinned_within_its_bound(python: str) -> None:
    pins = constraints(python)
    extras = {
        "",
        *re.findall(r"extra == ['\"](\w+)", " ".join(str(n.marker) for n in requirements())),
    }
    assert {"serve", "train"} < extras
    for need in requirements():
        if any(applies(need, python, extra) for extra in extras):
            pin = pins.get(canonicalize_name(need.name))
            assert pin, f"constraints.txt does not pin {need.name}"
            assert need.specifier.contains(pin), f"{need.name}=={pin}"


@pytest.mark.parametrize("python", PYTHONS)
def test_a_server_is_installed_from_hashes_of_the_pinned_versions(python: str) -> None:
    """`.ci/lock` makes the locks anew."""
    pins = constraints(python)
    serve, build = locked("serve.txt", python), locked("build.txt", python)
    for lock in (serve, build):
        assert lock.items() <= pins.items()
    for need in requirements():
        if any(applies(need, python, extra) for extra in ("", "serve", "heic")):
            assert canonicalize_name(need.name) in serve, (
                f"requirements/serve.txt lacks {need.name}"
            )
    assert "hatchling" in build


def test_every_package_that_is_imported_is_declared() -> None:
    """As a dependency, or in an extra for users."""
    need_names = {need.name for need in requirements() if 'extra == "dev"' not in str(need.marker)}
    declared = {canonicalize_name(name) for name in need_names}
    owners = packages_distributions()
    imported = {name for module in SOURCE.rglob("*.py") for name in imported_by(module)}
    ours = {"latefusion", "PyInstaller"}  # only PyInstaller itself imports its hooks
    others = imported - sys.stdlib_module_names - ours
    assert {"numpy", "torch", "fastapi"} < others
    undeclared = {
        name
        for name in others
        if not declared & {canonicalize_name(owner) for owner in owners.get(name, ())}
    }
    assert undeclared == set()


def test_the_pinned_torch_is_the_one_with_a_cpu_build() -> None:
    pins = constraints("3.12")
    assert pins["torch"] == "2.13.0"
    assert [name for name in pins if name.startswith(("nvidia", "cuda", "triton"))] == []


def test_the_sidecar_describes_the_shipped_network(sidecar: dict[str, Any]) -> None:
    network = WEIGHTS / "lite.onnx"
    assert sidecar["format"] == "latefusion/2"
    assert sidecar["target"] == "lazy"
    assert sidecar["preset"] == "lite"
    assert sidecar["sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == [sidecar["input"]["name"]] == ["image"]
    outputs = [output.name for output in session.get_outputs()]
    assert outputs == sidecar["outputs"] == list(PARTS)
    fusion = WEIGHTS / "lite.fusion.onnx"
    assert sidecar["fusion"]["sha256"] == hashlib.sha256(fusion.read_bytes()).hexdigest()
    session = onnxruntime.InferenceSession(fusion, providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == list(SEAM)


def test_the_sidecar_states_the_input_convention(sidecar: dict[str, Any]) -> None:
    assert sidecar["input"] == {
        "name": "image",
        "layout": "NCHW",
        "channels": "RGB",
        "range": [0, 255],
        "multiple": 32,
        "size": "dynamic",
        "side": 512,
    }


def test_the_sidecar_says_where_the_weights_come_from(sidecar: dict[str, Any]) -> None:
    training = sidecar["training"]
    assert training["data"]
    assert training["stages"]
    assert re.fullmatch(r"[0-9a-f]{40}", training["commit"])
    assert sidecar["dev"]
    assert "research" in sidecar["terms"]


def test_the_shipped_network_is_the_export_of_the_shipped_checkpoint(
    sidecar: dict[str, Any],
) -> None:
    checkpoint = (WEIGHTS / "lite.safetensors").read_bytes()
    assert sidecar["checkpoint"] == hashlib.sha256(checkpoint).hexdigest()
    assert sidecar["bytes"] == (WEIGHTS / "lite.onnx").stat().st_size


def test_the_default_network_keeps_within_its_size(sidecar: dict[str, Any]) -> None:
    assert sidecar["gmac"]["at"] == [512, 512]
    assert 0 < sidecar["gmac"]["total"] <= 20
    assert 0 < sidecar["parameters"]["total"] <= 8_000_000
    assert sidecar["opset"] >= 13
    assert (WEIGHTS / "lite.onnx").stat().st_size <= 16 * MEGABYTE


def test_all_weight_files_together_stay_small() -> None:
    files = list(WEIGHTS.iterdir())
    assert any(path.suffix == ".safetensors" for path in files), "nothing continues the training"
    assert sum(path.stat().st_size for path in files) < 32 * MEGABYTE
