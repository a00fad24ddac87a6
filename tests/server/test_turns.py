import asyncio
from itertools import pairwise

from latefusion.server.limits import LEAST_REST, Turns


def test_one_slice_is_handled_between_two_looks_at_other_events() -> None:
    async def run() -> list[str]:
        turns, seen = Turns(), list[str]()

        async def body(name: str) -> None:
            for _ in range(3):
                await turns.next(0)
                seen.append(name)

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


def test_after_slices_that_took_long_the_workers_get_as_much_time() -> None:
    async def run(*took: float) -> float:
        loop, turns = asyncio.get_running_loop(), Turns()
        start = loop.time()
        for seconds in took:
            await turns.next(seconds)
        return loop.time() - start

    assert asyncio.run(run(0.1, 0.2)) >= 0.3
    assert asyncio.run(run(*[LEAST_REST / 5] * 100)) >= 12 * LEAST_REST  # 20 without what is left
