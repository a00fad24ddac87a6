import asyncio
from itertools import pairwise

from latefusion.server.bodies import LONGEST_REST, SHARE, Turns


def test_one_slow_slice_is_handled_between_two_looks_at_other_events() -> None:
    async def run() -> list[str]:
        turns, seen = Turns(), list[str]()
        turns.add(SHARE)

        async def body(name: str) -> None:
            for _ in range(3):
                await turns.next()
                seen.append(name)
                turns.add(SHARE)

        async def look() -> None:
            while True:
                seen.append("look")
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        await asyncio.gather(*(body(name) for name in "abcd"))
        looking.cancel()
        return seen

    seen = asyncio.run(run())
    slices = [place for place, name in enumerate(seen) if name != "look"]
    assert sorted(seen[place] for place in slices) == sorted("aaabbbcccddd")
    assert all(after - before > 1 for before, after in pairwise(slices))


def test_quick_slices_of_many_bodies_share_a_turn() -> None:
    async def run() -> int:
        turns, passes = Turns(), 0

        async def body() -> None:
            for _ in range(10):
                await turns.next()
                turns.add(SHARE / 100)

        async def look() -> None:
            nonlocal passes
            while True:
                passes += 1
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        await asyncio.gather(*(body() for _ in range(8)))
        looking.cancel()
        return passes

    assert asyncio.run(run()) < 5


def test_after_slices_that_took_long_the_workers_get_as_much_time() -> None:
    async def run(*took: float) -> float:
        loop, turns = asyncio.get_running_loop(), Turns()
        start = loop.time()
        for seconds in took:
            turns.add(seconds)
            await turns.next()
        return loop.time() - start

    assert asyncio.run(run(0.05, 0.08)) >= 0.13
    assert asyncio.run(run(1000.0)) < 900 * LONGEST_REST
