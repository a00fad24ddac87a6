"""Training: one stage of the table on pairs and backgrounds, run by Lightning into a run folder."""

import hashlib
import logging
import re
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any, TypeAlias

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.strategies import DDPStrategy
from torch.utils.data import DataLoader

from latefusion.data.dataset import (
    Decoded,
    Numbers,
    RandomOrder,
    Sample,
    WithBackgrounds,
    background_canvas,
    canvas,
    pair_view,
)
from latefusion.data.labels import LabelsWarning
from latefusion.data.members import Encoded
from latefusion.data.share import ALONE, Share
from latefusion.data.sources import (
    NAMED_AT_MOST,
    VAL_LIST,
    Cutout,
    Pair,
    key_of,
    named_images,
    read_cutouts,
    read_pairs,
)
from latefusion.errors import DataError, TrainingError
from latefusion.images.regular import read_regular
from latefusion.images.writing import make_folder, remove_parts
from latefusion.model.checkpoint import load_network
from latefusion.model.encoders import ENCODERS
from latefusion.model.matting import PRESETS, MattingNetwork
from latefusion.parallel import usable_cores
from latefusion.training.batch import (
    ROOM,
    Place,
    dividing,
    fitted,
    keeps_canvases,
    keeps_views,
    out_of_memory,
    parts_of,
)
from latefusion.training.callbacks import (
    BEST,
    Bar,
    Forecast,
    Parts,
    Rates,
    Record,
    SaveWeights,
    WholeFiles,
    averaging,
)
from latefusion.training.distributed import (
    LOST_AFTER,
    end_with_parent,
    is_first,
    is_loss,
    launch,
    launch_id,
    restarted,
    told_once,
)
from latefusion.training.memory import is_out_of_memory
from latefusion.training.module import Training
from latefusion.training.optimizers import Horizon
from latefusion.training.settings import STATE, Settings, check_settings
from latefusion.training.stages import STAGES
from latefusion.training.state import read_state, restoring

__all__ = ["Settings", "train"]

log = logging.getLogger(__name__)

Keyed: TypeAlias = Pair | Cutout | tuple[str, Encoded]  # what --exclude may name


def train(settings: Settings, watchers: Sequence[pl.Callback] = ()) -> Path:
    """Train one stage; give the path of the best weights, `<out>/best.safetensors`.

    Writes to `settings.out`: best and last .safetensors (averaged weights), last.ckpt (everything
    that resuming needs), settings.yaml, metrics.csv and TensorBoard events. `watchers` are
    more callbacks for Lightning. Under torchrun, and with `devices` and `nodes`, this process does
    its share of every batch; a run that torchrun has restarted is resumed. Raises DataError,
    WeightsError, and TrainingError when a loss is not finite, another process is lost or there is
    nothing to resume.
    """
    with told_once(), quiet_lightning():
        if restarted() and is_of_this_launch(settings.out / STATE):
            settings = replace(settings, resume=True)
        check_settings(settings)
        end_with_parent()
        # torch counts the cores of the affinity, but knows no CPU quota.
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
        torch.manual_seed(settings.seed)
        stage = STAGES[settings.stage]
        epochs = settings.epochs or stage.epochs
        parts = Parts()
        trainer = make_trainer(settings, epochs, [*watchers, parts])
        share = Share(trainer.global_rank, trainer.world_size)
        network = start_network(settings)
        bf16 = trainer.precision == "bf16-mixed"
        place = Place(trainer.strategy.root_device, bf16, trainer.num_devices)
        settings, room = fitted(settings, network.config, share, place)
        loader, views = loaders(settings, share, room)
        horizon = Horizon(len(loader) // parts_of(loader), settings.horizon or epochs)
        order = order_digest(settings, loader)
        canvases = canvases_of(loader) if settings.resident else None
        module = Training(network, stage, settings, horizon, share, order, canvases)
        parts.loader = loader
        make_folder(settings.out)
        if is_first():
            remove_parts(settings.out)
        fit(trainer, module, loader, views)
    return settings.out / BEST


def is_of_this_launch(state: Path) -> bool:
    """True for the state of a run that began under the same torchrun; only those are resumed."""
    if not state.exists():
        return False
    return bool(read_state(state).get("launch") == launch_id())


def order_digest(settings: Settings, loader: DataLoader[Sample]) -> str:
    """Digest of what all processes must have in common; their folders may have other names."""
    data = canvases_of(loader)
    names = [Path(pair.key).name for pair in data.pairs.items]
    drawn = (settings.cutout_portion, settings.passes, settings.batch_size, settings.seed)
    parts = (*names, len(data.backgrounds), *drawn)
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogateescape")).hexdigest()


def canvases_of(loader: DataLoader[Any]) -> WithBackgrounds:
    """The canvases that a training loader gives, or gives the indices of."""
    data = loader.dataset
    data = data.data if isinstance(data, Numbers) else data
    assert isinstance(data, WithBackgrounds)
    return data


def fit(trainer: pl.Trainer, module: Training, loader: DataLoader[Sample], views: Any) -> None:
    """Run Lightning's fit, its errors as ours; the processes it started end with this one."""
    state = module.settings.out / STATE
    try:
        if not module.settings.resume:
            trainer.fit(module, loader, views)
        else:
            with restoring(state, lambda: module.begun):
                trainer.fit(module, loader, views, ckpt_path=state)
    except DataError as error:  # a worker process puts its traceback before the message
        raise DataError(str(error).rpartition("DataError: ")[2].strip()) from None
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise TrainingError(out_of_memory(module.settings)) from None
        if not is_loss(error):
            raise
        cure = "pass --resume" if state.exists() else "start again"
        raise TrainingError(f"another process of the run has ended; {cure}") from None
    except SystemExit as end:  # what Lightning makes of an interrupt
        raise KeyboardInterrupt(*getattr(end.__context__, "args", ())) from None
    finally:
        if trainer.interrupted and trainer.strategy.launcher:
            trainer.strategy.launcher.kill(signal.SIGKILL)


def start_network(settings: Settings) -> MattingNetwork:
    """The network of an earlier stage, or a new one with a pretrained encoder."""
    if settings.start:
        network = load_network(settings.start)
        if settings.preset and network.config != PRESETS[settings.preset]:
            held = f"{settings.weights} does not hold a {settings.preset} network"
            raise TrainingError(f"{held}; leave --preset out")
        return network
    config = PRESETS[settings.preset or "lite"]
    network = MattingNetwork(config)
    encoder = ENCODERS[config.encoder]
    if settings.encoder_weights or encoder.packaged:
        encoder.load_pretrained(network.encoder, settings.encoder_weights)
    elif is_first():
        name = config.encoder
        log.warning("the %s encoder starts from random values; pass --encoder-weights", name)
    return network


def loaders(
    settings: Settings, share: Share = ALONE, room: int = ROOM
) -> tuple[DataLoader[Sample], DataLoader[Sample] | None]:
    """A process's share of the training canvases, in random order, and of the validation views.

    Canvases stay in memory where they fit into `room` bytes.
    """
    cutouts = read_cutouts(settings.cutouts)
    backgrounds = named_images(settings.backgrounds) if settings.backgrounds else []
    pairs, cutouts, backgrounds = leave_out(
        read_pairs(settings.data), cutouts, backgrounds, settings.exclude
    )
    side = settings.canvas_side
    cache, room = keeps_canvases(settings, len(pairs) + len(cutouts), len(backgrounds), room)
    data = WithBackgrounds(
        Decoded([*pairs, *cutouts], partial(canvas, size=side), cache),
        Decoded([image for _, image in backgrounds], partial(background_canvas, size=side), cache),
    )
    batch = min(settings.batch_size, max(1, round(len(pairs) * min(1, settings.passes))))
    order = RandomOrder(
        len(pairs),
        len(backgrounds),
        settings.seed,
        batch,
        share,
        cutouts=len(cutouts),
        portion=settings.cutout_portion,
        passes=settings.passes,
    )
    own = share.batch(batch, len(pairs))
    loader: DataLoader[Any] = DataLoader(
        Numbers(data) if settings.resident else data,
        batch_size=own // dividing(own, settings.accumulate or 1),
        sampler=order,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
    )
    if not settings.validation:
        return loader, None
    view = partial(pair_view, box=settings.input_size)
    checks = read_pairs(settings.validation, listed=VAL_LIST)
    shared = {pair.key for pair in pairs} & {pair.key for pair in checks}
    if shared:
        raise DataError(f"{min(shared)} is in both --data and --validation; keep them apart")
    mine = share.filled(checks)
    views = Decoded(mine, view, cache=keeps_views(settings, len(mine), room))
    return loader, DataLoader(views, batch_size=1)


def leave_out(
    pairs: list[Pair],
    cutouts: list[Cutout],
    backgrounds: list[tuple[str, Encoded]],
    exclude: Path | None,
) -> tuple[list[Pair], list[Cutout], list[tuple[str, Encoded]]]:
    """The pairs, cut-outs and backgrounds whose keys are not in the list.

    A line names a key, or its last part, with or without the ending of a picture. Raises DataError
    for lines that name nothing.
    """
    if exclude is None:
        return pairs, cutouts, backgrounds
    items: list[Keyed] = [*pairs, *cutouts, *backgrounds]
    known = {name for item in items for name in _names_of(item)}
    listed = _listed(exclude)
    keys = {line if line in known else key_of(line) for line in listed}
    if unknown := [line for line in listed if line not in known and key_of(line) not in known]:
        more = f" and {len(unknown) - NAMED_AT_MOST} more" * (len(unknown) > NAMED_AT_MOST)
        raise DataError(
            f"{exclude}: no such key in the data: {', '.join(unknown[:NAMED_AT_MOST])}{more};"
            " correct the spelling, or remove the line"
        )
    kept = [pair for pair in pairs if not keys & _names_of(pair)]
    kept_cutouts = [cutout for cutout in cutouts if not keys & _names_of(cutout)]
    kept_backgrounds = [each for each in backgrounds if not keys & _names_of(each)]
    for before, after in ((pairs, kept), (cutouts, kept_cutouts), (backgrounds, kept_backgrounds)):
        if before and not after:
            raise DataError(f"{exclude} leaves nothing to train on; remove keys from it")
    return kept, kept_cutouts, kept_backgrounds


def _listed(exclude: Path) -> list[str]:
    """The lines of the list without comments and empty ones."""
    try:
        text = read_regular(exclude).decode("utf-8-sig")  # editors on Windows add a mark
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{exclude}: cannot be read as a list of keys ({error})") from None
    lines = [re.split(r"(?:^|\s)#", line)[0].strip() for line in text.splitlines()]
    return [line for line in lines if line]


def _names_of(item: Keyed) -> set[str]:
    key = key_of(item[0]) if isinstance(item, tuple) else item.key
    return {key, PurePath(key).name}


def make_trainer(settings: Settings, epochs: int, watchers: Sequence[pl.Callback]) -> pl.Trainer:
    """Lightning's loop in the launched processes, bf16 on a GPU, gradients clipped at norm 5."""
    devices, nodes = launch(settings.devices, settings.nodes)
    means = averaging(settings.ema_decay)
    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return pl.Trainer(
        accelerator="auto",
        devices=devices,
        num_nodes=nodes,
        strategy="auto" if devices * nodes == 1 else DDPStrategy(timeout=LOST_AFTER),
        plugins=[WholeFiles()],
        use_distributed_sampler=False,
        precision="bf16-mixed" if has_bf16 else "32-true",
        max_epochs=epochs,
        gradient_clip_val=5.0,
        logger=TensorBoardLogger(settings.out, name="", version="events"),
        callbacks=[
            SaveWeights(settings.out, means, settings.keep_epochs),
            means,  # after SaveWeights, see there
            ModelCheckpoint(
                settings.out,
                filename=Path(STATE).stem,
                enable_version_counter=False,
                save_on_train_epoch_end=True,
            ),
            Rates(),
            Forecast(),
            Record(settings),
            *([Bar()] if settings.progress else []),
            *watchers,
        ],
        enable_model_summary=False,
        enable_progress_bar=settings.progress,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning without its tips and without its advice on workers and loggers."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():  # also torch's, on the strides of a 1x1 kernel's gradient
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("default", LabelsWarning)
            # Lightning 2.6 asks torch for the type of tree leaves in the old way.
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
