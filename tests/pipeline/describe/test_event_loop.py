"""Work is run to its end, with and without an event loop around it."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from retune.pipeline.describe.event_loop import run_to_end


async def _answer() -> int:
    await asyncio.sleep(0)
    return 42


async def _fail() -> int:
    raise ValueError("no")


def test_without_a_loop_it_runs_in_this_thread() -> None:
    async def where() -> int:
        return threading.get_ident()

    assert run_to_end(where()) == threading.get_ident()


def test_errors_come_out_in_both_places() -> None:
    async def cell() -> int:
        return run_to_end(_fail())

    with pytest.raises(ValueError, match="no"):
        run_to_end(_fail())
    with pytest.raises(ValueError, match="no"):
        asyncio.run(cell())


def test_ctrl_c_in_a_cell_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    started = threading.Event()

    async def endless() -> int:
        started.set()
        try:
            return await asyncio.Future()
        finally:
            ended.set()

    def interrupted(_: "Future[int]") -> int:
        assert started.wait(10)
        raise KeyboardInterrupt

    async def cell() -> None:
        with pytest.raises(KeyboardInterrupt):
            run_to_end(endless())

    monkeypatch.setattr(Future, "result", interrupted)
    asyncio.run(cell())
    assert ended.is_set()
