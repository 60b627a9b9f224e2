"""Handlers as tasks: in order within a lane, side by side otherwise."""

import asyncio

from relay_client.aio.lanes import Lanes
from relay_client.jobs import Job


def test_jobs_of_a_lane_run_in_order_and_lanes_side_by_side() -> None:
    async def test() -> None:
        lanes, done, finish = Lanes(), [], asyncio.Event()

        async def slow(name: str) -> None:
            await finish.wait()
            done.append(name)

        lanes.submit("slow", Job(lambda: slow("first")))
        lanes.submit("slow", Job(lambda: done.append("second")))
        lanes.submit("quick", Job(finish.set))
        await asyncio.sleep(0)
        await finish.wait()
        await lanes.close(10)
        assert done[:1] == ["first"]

    asyncio.run(test())


def test_the_outcome_goes_where_it_belongs() -> None:
    async def test() -> None:
        lanes, outcomes, error = Lanes(), [], ValueError("no")

        async def fail() -> None:
            raise error

        async def succeed() -> int:
            return 5

        through = asyncio.Event()
        for function in (succeed, fail, lambda: 6):
            lanes.submit("a", Job(function, outcomes.append, outcomes.append))
        lanes.submit("a", Job(through.set))
        await through.wait()
        assert outcomes == [5, error, 6]
        await lanes.close(0)

    asyncio.run(test())


def test_closing_starts_nothing_more() -> None:
    async def test() -> None:
        lanes, done, finish = Lanes(), [], asyncio.Event()
        lanes.submit("a", Job(finish.wait))
        lanes.submit("a", Job(lambda: done.append("second")))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(finish.set)
        await lanes.close(10)
        lanes.submit("a", Job(lambda: done.append("third")))
        assert done == []

    asyncio.run(test())
