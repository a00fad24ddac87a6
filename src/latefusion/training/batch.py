"""What of a run fits the memory: parts of a batch, canvases; and what it loses by that."""

import logging
import math
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch.utils.data import BatchSampler, DataLoader

from latefusion.data.dataset import RandomOrder
from latefusion.data.share import ALONE, Share
from latefusion.errors import TrainingError
from latefusion.model.matting import NetworkConfig
from latefusion.parallel import Memory, usable_memory
from latefusion.training.distributed import is_first
from latefusion.training.memory import Need, device_memory, step_need
from latefusion.training.settings import Settings
from latefusion.training.settings_file import SETTINGS, read_settings
from latefusion.training.stages import STAGES

log = logging.getLogger(__name__)

GIB = 2**30
TOLD_FROM = GIB  # what a step takes; less fits anywhere
ROOM = 8 * GIB  # for canvases, where the free memory is not known


class Place(NamedTuple):
    """The device of a process, its precision, and how many processes share the machine."""

    device: torch.device
    bf16: bool
    processes: int


def fitted(
    settings: Settings, config: NetworkConfig, share: Share, place: Place
) -> tuple[Settings, int]:
    """The settings with parts of a batch that the memory holds, and the bytes left for canvases.

    Says what a step takes and what is lost. Raises TrainingError where not even one picture fits.
    """
    tell_canvas(settings)
    memory = device_memory(place.device, place.processes)
    need = step_need(config, STAGES[settings.stage], settings, place.bf16)
    settings = replace(settings, accumulate=parts_that_fit(settings, need, memory, share))
    if memory:
        tell_memory(settings, need, memory, share)
    if place.device.type == "cuda" and not settings.resident:
        host = usable_memory()
        return settings, host.free // place.processes if host else ROOM
    return settings, memory.free - need.of(at_once(settings, share)) if memory else ROOM


def pictures_of(settings: Settings, share: Share) -> int:
    """A process's pictures of a batch."""
    return max(1, settings.batch_size // share.world)


def at_once(settings: Settings, share: Share) -> int:
    """The pictures that a process computes at a time."""
    own = pictures_of(settings, share)
    return own // dividing(own, settings.accumulate or 1)


def parts_that_fit(settings: Settings, need: Need, memory: Memory | None, share: Share) -> int:
    """The parts that a batch is computed in: those set, those of a resumed run, or what fits."""
    if settings.accumulate:
        return settings.accumulate
    kept = settings.out / SETTINGS
    if settings.resume and kept.exists():
        return int(read_settings(kept).get("accumulate", 1))
    own = pictures_of(settings, share)
    return dividing(own, math.ceil(own / need.pictures_in(memory.free))) if memory else 1


def dividing(pictures: int, parts: int) -> int:
    """The least number of equal parts, `parts` or more, that so many pictures divide into."""
    return next(n for n in range(min(parts, pictures), pictures + 1) if pictures % n == 0)


def parts_of(loader: DataLoader[Any]) -> int:
    """The parts that a training loader gives a process's pictures of a batch in."""
    order, parts = loader.sampler, loader.batch_sampler
    assert isinstance(order, RandomOrder)
    assert isinstance(parts, BatchSampler)
    return order.share.batch(order.batch) // parts.batch_size


def divide(loader: DataLoader[Any], parts: int) -> None:
    """Let a training loader give a process's pictures of a batch in so many parts."""
    order, given = loader.sampler, loader.batch_sampler
    assert isinstance(order, RandomOrder)
    assert isinstance(given, BatchSampler)
    given.batch_size = order.share.batch(order.batch) // parts


def tell_parts(asked: int, own: int, parts: int) -> None:
    """Say why the parts are not those `asked` for: `own` divide a batch, all take `parts`."""
    if is_first() and own != asked:
        log.warning("%d parts do not divide a batch evenly; it is computed in %d", asked, own)
    if is_first() and parts != own:
        log.warning(
            "another process needs %d parts of a batch; so all compute it in %d", parts, parts
        )


def tell_memory(settings: Settings, need: Need, memory: Memory, share: Share = ALONE) -> None:
    """Say what a step takes, and what is done where the memory does not hold it.

    `settings.accumulate` is the number of parts in use. Raises TrainingError where the tensors of
    one picture are more than the whole memory.
    """
    own = pictures_of(settings, share)
    part = at_once(settings, share)
    height, width = settings.input_size
    what = f"{settings.stage} at {height} x {width} takes about {gib(need.picture)} a picture"
    if need.least > memory.total:
        raise TrainingError(
            f"{what}, and the memory is {gib(memory.total)} in all; {cures(settings, 1)}"
        )
    if not is_first() or need.of(own) < TOLD_FROM:
        return
    log.warning("%s and %s besides; %s of memory are free", what, gib(need.fixed), gib(memory.free))
    if part < own:
        log.warning(
            "a batch is computed in %d parts of %d, one after the other (--accumulate); batch "
            "norms in training see %d pictures, not %d",
            *(own // part, part, part, own),
        )
    if need.of(part) > memory.free:
        log.warning(
            "%d at a time take about %s, more than is free; %s",
            *(part, gib(need.of(part)), cures(settings, own)),
        )


def out_of_memory(settings: Settings) -> str:
    """The message for a run that ran out of memory."""
    height, width = settings.input_size
    cure = cures(settings, settings.batch_size)
    return f"the memory does not hold a step of {settings.stage} at {height} x {width}; {cure}"


def cures(settings: Settings, pictures: int) -> str:
    """What takes less memory for a process's share of a batch."""
    parts = min(pictures, 2 * (settings.accumulate or 1))
    fewer = [f"--accumulate {parts}"] if parts > (settings.accumulate or 1) else []
    again = [] if settings.recompute else ["--recompute"]
    return f"pass {', '.join([*fewer, *again, 'a smaller --input-size'])}"


def tell_canvas(settings: Settings) -> None:
    """Say what views lose whose canvases are smaller than they are."""
    side, longer = settings.canvas_side, max(settings.input_size)
    if side >= longer or not is_first():
        return
    height, width = settings.input_size
    known = min(side, height) * min(side, width) / (height * width)
    log.warning(
        "canvases of %d x %d are smaller than views of %d x %d: at most %.0f %% of the pixels of a "
        "view of a whole photo are known, the rest is enlarged; leave canvas out, or set it to %d",
        *(side, side, height, width, 100 * known, longer),
    )


def keeps_canvases(
    settings: Settings, pictures: int, backgrounds: int, room: int
) -> tuple[bool, int]:
    """True if decoded canvases stay in memory, and the bytes of `room` that are left then.

    A canvas has image, alpha and foreground, that of a background only its image. Each worker
    would keep its own, and resident ones are decoded once.
    """
    side = settings.canvas_side
    needed = side * side * (7 * pictures + 3 * backgrounds)
    if settings.workers and not settings.resident:
        return False, room
    if needed <= room:
        return not settings.resident, room - needed
    if is_first():
        log.warning(
            "canvases of %d x %d take %s, and there is room for %s; %s",
            *(side, side, gib(needed), gib(max(0, room)), NO_ROOM[settings.resident]),
        )
    return False, room


NO_ROOM = {  # by `resident`
    False: "photos are decoded anew in each epoch, which --workers can do meanwhile; "
    "a smaller --canvas fits, but has less detail",
    True: "choose a smaller canvas, which has less detail, or leave resident out",
}


def keeps_views(settings: Settings, photos: int, room: int) -> bool:
    """True if so many views of validation, 3 bytes and one float32 a pixel, fit in `room`."""
    height, width = settings.input_size
    return 7 * height * width * photos <= room


def gib(count: float) -> str:
    """Bytes in GiB, one decimal."""
    return f"{count / GIB:.1f} GiB"
