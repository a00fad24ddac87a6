"""What of a run fits the memory: parts of a batch, canvases; and what it loses by that."""

import logging
import math
from dataclasses import replace

import torch

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


def fitted(
    settings: Settings, config: NetworkConfig, share: Share, processes: int
) -> tuple[Settings, int | None]:
    """The settings with parts of a batch that the memory holds, and the bytes left for canvases.

    `processes` share this machine. Says what a step takes and what is lost. The bytes are None
    where the memory is not known. Raises TrainingError where not even one picture fits.
    """
    tell_canvas(settings)
    gpu = torch.cuda.is_available()
    memory = device_memory(processes)
    need = step_need(config, STAGES[settings.stage], settings, bf16=gpu)
    settings = replace(settings, accumulate=parts_that_fit(settings, need, memory, share))
    if memory:
        tell_memory(settings, need, memory, share)
    if gpu and not settings.resident:
        host = usable_memory()
        return settings, host.free // processes if host else None
    taken = need.of(at_once(settings, share))
    return settings, memory.free - taken if memory else None


def at_once(settings: Settings, share: Share) -> int:
    """The pictures that a process computes at a time."""
    own = max(1, settings.batch_size // share.world)
    return own // dividing(own, settings.accumulate or 1)


def parts_that_fit(settings: Settings, need: Need, memory: Memory | None, share: Share) -> int:
    """The parts that a batch is computed in: those set, those of a resumed run, or what fits."""
    if settings.accumulate:
        return settings.accumulate
    kept = settings.out / SETTINGS
    if settings.resume and kept.exists():
        return int(read_settings(kept).get("accumulate", 1))
    own = max(1, settings.batch_size // share.world)
    return dividing(own, math.ceil(own / need.pictures_in(memory.free))) if memory else 1


def dividing(pictures: int, parts: int) -> int:
    """The least number of equal parts, `parts` or more, that so many pictures divide into."""
    return next(n for n in range(min(parts, pictures), pictures + 1) if pictures % n == 0)


def tell_memory(settings: Settings, need: Need, memory: Memory, share: Share = ALONE) -> None:
    """Say what a step takes, and what is done where the memory does not hold it.

    `settings.accumulate` is the number of parts in use. Raises TrainingError where the tensors of
    one picture are more than the whole memory.
    """
    own = max(1, settings.batch_size // share.world)
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
    settings: Settings, pictures: int, backgrounds: int, room: int | None
) -> tuple[bool, int | None]:
    """True if decoded canvases stay in memory, and the bytes that are left then; None for no limit.

    A canvas has image, alpha and foreground, that of a background only its image. Each worker
    would keep its own, and resident ones are decoded once.
    """
    side = settings.canvas_side
    needed = side * side * (7 * pictures + 3 * backgrounds)
    if settings.workers or room is None:
        return not (settings.workers or settings.resident), room
    if needed <= room:
        return not settings.resident, room - needed
    if is_first():
        log.warning(
            "canvases of %d x %d take %s, and %s of memory are left; %s",
            *(side, side, gib(needed), gib(max(0, room)), NO_ROOM[settings.resident]),
        )
    return False, room


NO_ROOM = {  # by `resident`
    False: "photos are decoded anew in each epoch, which --workers can do meanwhile; "
    "a smaller --canvas fits, but has less detail",
    True: "choose a smaller canvas, which has less detail, or leave resident out",
}


def keeps_views(settings: Settings, photos: int, room: int | None) -> bool:
    """True if so many views of validation, 3 bytes and one float32 a pixel, fit in `room`."""
    height, width = settings.input_size
    return room is None or 7 * height * width * photos <= room


def gib(count: float) -> str:
    """Bytes in GiB, one decimal."""
    return f"{count / GIB:.1f} GiB"
