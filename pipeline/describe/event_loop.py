"""Running asynchronous work to its end, also from within a notebook."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["run_to_end"]

_Result = TypeVar("_Result")


def run_to_end(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run work and give its result, whether or not an event loop is running here.

    Jupyter runs its cells within a loop, in which no second one can start. There the
    work gets a thread with a loop of its own; Ctrl-C ends it at once.

    >>> async def answer() -> int:
    ...     return 42
    >>> async def cell() -> int:
    ...     return run_to_end(answer())
    >>> run_to_end(answer()), asyncio.run(cell())
    (42, 42)
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    stop: list[Callable[[], object]] = []

    async def stoppable() -> _Result:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        return await work

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, stoppable())
        try:
            return done.result()
        except KeyboardInterrupt:
            for end in stop:
                end()
            raise
