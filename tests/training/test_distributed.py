"""Shares of a batch, and what the environment says of the processes."""

import pytest
import torch

from latefusion.data.dataset import RandomOrder
from latefusion.data.share import ALONE, Share
from latefusion.errors import TrainingError
from latefusion.training.distributed import Launch, launch, mean_over_processes, merged, restarted

CPU = torch.device("cpu")


@pytest.mark.parametrize("draw", ["rand", "randn"])
def test_shares_of_random_numbers_make_up_those_of_one_process(draw: str) -> None:
    def drawn(share: Share, count: int) -> torch.Tensor:
        torch.manual_seed(1)
        made: torch.Tensor = getattr(share, draw)(count, 2, device=CPU)
        return made

    shares = [drawn(Share(rank, 3), 2) for rank in range(3)]
    assert torch.equal(torch.cat(shares), drawn(ALONE, 6))


def test_shares_of_an_epoch_make_up_its_batches() -> None:
    whole = list(RandomOrder(50, 7, 0, batch=12))
    shares = [list(RandomOrder(50, 7, 0, 12, Share(rank, 3))) for rank in range(3)]
    assert len(whole) == len(RandomOrder(50, 7, 0, 12)) == 48
    assert [len(share) for share in shares] == [len(RandomOrder(50, 7, 0, 12, Share(1, 3)))] * 3
    for batch in range(4):
        part = slice(4 * batch, 4 * batch + 4)
        together = [item for share in shares for item in share[part]]
        assert together == whole[12 * batch : 12 * batch + 12]
    assert len({pair for pair, _ in whole}) == 48


def test_every_process_gets_as_many_photos_and_none_is_left_out() -> None:
    shares = [Share(rank, 4).filled("abcde") for rank in range(4)]
    assert shares == [["a", "b"], ["c", "d"], ["e", "e"], ["e", "e"]]


@pytest.mark.parametrize(("batch", "better"), [(6, "4 or 8"), (3, "4"), (17, "16 or 20")])
def test_a_batch_that_does_not_divide_is_named_with_the_nearest(batch: int, better: str) -> None:
    with pytest.raises(TrainingError, match=f"batch of {batch} .* 4 processes; use {better}$"):
        Share(0, 4).batch(batch)
    assert Share(0, 4).batch(8) == 2


def test_a_batch_that_all_pairs_are_is_made_smaller_only() -> None:
    with pytest.raises(TrainingError, match=r"batch of 5 .* 2 processes; use 4$"):
        Share(0, 2).batch(5, pairs=5)
    with pytest.raises(TrainingError, match="1 pairs are too few for 2 processes"):
        Share(0, 2).batch(1, pairs=1)


def test_torchrun_says_how_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch(None, None) == Launch(1, 1)
    assert launch(2, 3) == Launch(2, 3)
    assert not restarted()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    monkeypatch.setenv("WORLD_SIZE", "32")
    assert launch(None, None) == Launch(8, 4)
    assert restarted()
    with pytest.raises(TrainingError, match="leave --devices and --nodes out"):
        launch(8, None)


def test_srun_has_to_start_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "6")
    for asked in ((None, None), (6, None)):  # the second one lacks --ntasks-per-node
        with pytest.raises(TrainingError, match=r"srun has started 6 processes, not .*--nodes"):
            launch(*asked)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    with pytest.raises(TrainingError, match="srun has started 6 processes"):
        launch(2, None)
    assert launch(2, 3) == Launch(2, 3)


def test_more_devices_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launch(4, None) == Launch(4, 1)
    with pytest.raises(TrainingError, match="8 devices are more than the 4 GPUs here; use 4"):
        launch(8, None)


def test_a_process_alone_has_nothing_to_wait_for() -> None:
    value = torch.tensor([1.0, 2.0])
    assert mean_over_processes(value) is value
    assert merged({"a": 1}) == {"a": 1}
