"""From image files to vectors: who reads, who computes, and when.

Three arrangements, one result:

- **A pipeline**, on an accelerator: the processor's threads read and decode a few
  batches ahead, and two lanes take turns at the accelerator: while it works on the
  batch of one, the other has the next batch copied there and its last vectors copied
  back.
- **Lanes**, on a processor: each core takes a batch of its own from file to vector, in
  one thread. Cores never wait for each other, and while one decodes another computes.
- **Turns**, on a processor: all cores decode a batch, then all compute it. This needs
  the memory of one batch only.

On the processor lanes are usually faster, but that depends on the model and on the
machine, so on a long job both are tried on its first batches and the faster goes on.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..images.reading import ImageItem, ReadImage
from .batches import Encoded

__all__ = [
    "Arrangement",
    "EncodedBatch",
    "encode_images",
    "plan_lanes",
    "plan_pipeline",
]

#: More lanes than this wait for memory rather than for cores.
_MOST_LANES = 16
#: Batches of each lane in a trial; the first warms up and is not timed.
_TRIAL_ROUNDS = 3
#: Each lane should have so many batches before it, until they are as small as this.
_ROUNDS_AHEAD, _LEAST_BATCH = 2, 4
#: Batches that wait for a lane, so that none waits for the caller.
_WAITING_PER_LANE = 2
#: Of an accelerator: one computes, one copies.
_PIPELINE_LANES = 2
_PIPELINE_LOOKAHEAD = 3
#: Images that a reading thread takes at once: to hand over one costs some 50 µs.
_READ_TOGETHER = 4
#: A trial is worth it where at most a tenth of the job is done the slower way.
_TRIAL_SHARE = 0.1


@dataclass(frozen=True)
class Arrangement:
    """How the cores share the work.

    Attributes:
        lanes: Batches that are worked on side by side.
        threads: Threads of each forward pass.
        lookahead: Batches to read ahead of the lanes; 0: each lane reads its own.
        workers: Threads that read and decode, beside the lanes or in turn with one.
    """

    lanes: int
    threads: int
    lookahead: int
    workers: int


@dataclass(frozen=True)
class EncodedBatch:
    """One batch of files, read and encoded.

    Attributes:
        read: What became of each file.
        encoded: Vectors of those that needed one.
        read_seconds: Time that reading took or, in a pipeline, was waited for.
    """

    read: Sequence[ReadImage]
    encoded: Encoded
    read_seconds: float


Read = Callable[[ImageItem], ReadImage]
Encode = Callable[[Sequence[ReadImage]], Encoded]
SetThreads = Callable[[int], None]


def plan_lanes(cores: int, workers: int) -> tuple[Arrangement, Arrangement]:
    """Lanes and turns for a processor.

    Args:
        cores: That may be used.
        workers: Threads that decode where cores take turns.

    >>> plan_lanes(2, 2)[0]
    Arrangement(lanes=2, threads=1, lookahead=0, workers=1)
    >>> plan_lanes(64, 64)[0].threads
    4
    """
    lanes = min(cores, _MOST_LANES)
    return (
        Arrangement(lanes, max(1, cores // lanes), 0, 1),
        Arrangement(1, cores, 0, workers),
    )


def plan_pipeline(workers: int) -> Arrangement:
    """For an accelerator.

    Args:
        workers: Threads that read and decode.
    """
    return Arrangement(_PIPELINE_LANES, 1, _PIPELINE_LOOKAHEAD, workers)


def encode_images(
    items: Sequence[ImageItem],
    read: Read,
    encode: Encode,
    arrangements: Sequence[Arrangement],
    *,
    batch_size: int,
    set_threads: SetThreads,
    cut_finer: bool = False,
    stop: Callable[[], None] = lambda: None,
) -> Generator[tuple[EncodedBatch, Arrangement]]:
    """Read and encode files in order, a batch at a time.

    Args:
        items: What to read.
        read: Reads one of them.
        encode: Gives the vectors of what was read; called from several threads at
            once where there are several lanes.
        arrangements: One, or several to choose from by trial.
        batch_size: Images in a forward pass.
        set_threads: Tells the calling thread's forward passes how many threads to use.
        cut_finer: Make the last batches smaller, so that no lane waits long for
            the last batch of another.
        stop: Called where the work ends before its end: makes `read` give up, because
            the threads that read are waited for.

    Yields:
        Batches in the order of `items`, and how the cores shared them.
    """
    first, rounds = 0, _TRIAL_ROUNDS * max(one.lanes for one in arrangements)
    trial = rounds * batch_size
    speeds = []
    if len(arrangements) > 1 and trial <= _TRIAL_SHARE * len(items):
        for arrangement in arrangements:
            parts = _cut(items[first : first + trial], batch_size)
            started, timed = time.perf_counter(), 0
            batches = _encode(parts, read, encode, arrangement, set_threads, stop)
            for number, batch in enumerate(batches, start=1):
                yield batch, arrangement
                if number == arrangement.lanes:
                    started, timed = time.perf_counter(), 0
                else:
                    timed += len(batch.read)
            speeds.append(timed / (time.perf_counter() - started))
            first += trial
    best = arrangements[int(np.argmax(speeds))] if speeds else arrangements[0]
    parts = _cut(items[first:], batch_size, best.lanes if cut_finer else 0)
    for batch in _encode(parts, read, encode, best, set_threads, stop):
        yield batch, best


Batches = Iterable[Sequence[ImageItem]]


def _cut(
    items: Sequence[ImageItem], batch_size: int, lanes: int = 0
) -> Iterator[Sequence[ImageItem]]:
    """Cut a job into batches, smaller towards the end if several lanes share it.

    >>> items = [ImageItem(str(i), "", "") for i in range(40)]
    >>> [len(batch) for batch in _cut(items, 16)]
    [16, 16, 8]
    >>> [len(batch) for batch in _cut(items, 16, lanes=2)]
    [10, 8, 6, 4, 4, 4, 4]
    """
    first = 0
    while first < len(items):
        size = batch_size
        if lanes > 1:
            share = -(-(len(items) - first) // (_ROUNDS_AHEAD * lanes))
            size = min(batch_size, max(_LEAST_BATCH, share))
        yield items[first : first + size]
        first += size


def _encode(
    batches: Batches,
    read: Read,
    encode: Encode,
    arrangement: Arrangement,
    set_threads: SetThreads,
    stop: Callable[[], None],
) -> Iterator[EncodedBatch]:
    work = _in_lanes if arrangement.lanes > 1 else _in_turns
    return work(batches, read, encode, arrangement, set_threads, stop)


def _in_turns(
    batches: Batches,
    read: Read,
    encode: Encode,
    arrangement: Arrangement,
    set_threads: SetThreads,
    stop: Callable[[], None],
) -> Iterator[EncodedBatch]:
    set_threads(arrangement.threads)
    with (
        ThreadPoolExecutor(arrangement.workers, thread_name_prefix="decode") as reading,
        _stopping(stop),
    ):
        for batch in batches:
            started = time.perf_counter()
            files = list(reading.map(read, batch))
            read_seconds = time.perf_counter() - started
            yield EncodedBatch(files, encode(files), read_seconds)


@contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Call it where the block ends before its end."""
    try:
        yield
    except BaseException:
        stop()
        raise


def _in_lanes(
    batches: Batches,
    read: Read,
    encode: Encode,
    arrangement: Arrangement,
    set_threads: SetThreads,
    stop: Callable[[], None],
) -> Iterator[EncodedBatch]:
    """Lanes that read their own batches, or in a pipeline those that workers read."""
    ahead = ThreadPoolExecutor(arrangement.workers, thread_name_prefix="decode")

    def begin(batch: Sequence[ImageItem]) -> Callable[[], list[ReadImage]]:
        if not arrangement.lookahead:
            return lambda: [read(item) for item in batch]
        parts = _cut(list(batch), _READ_TOGETHER)
        pending = [ahead.submit(lambda p: [read(i) for i in p], part) for part in parts]
        return lambda: [one for future in pending for one in future.result()]

    def work(finish: Callable[[], list[ReadImage]]) -> EncodedBatch:
        started = time.perf_counter()
        files = finish()
        read_seconds = time.perf_counter() - started
        return EncodedBatch(files, encode(files), read_seconds)

    lanes = ThreadPoolExecutor(
        arrangement.lanes,
        thread_name_prefix="lane",
        initializer=set_threads,
        initargs=(arrangement.threads,),
    )
    most_waiting = arrangement.lookahead + _WAITING_PER_LANE * arrangement.lanes
    waiting: deque[Future[EncodedBatch]] = deque()
    try:
        with _stopping(stop):
            for batch in batches:
                waiting.append(lanes.submit(work, begin(batch)))
                if len(waiting) >= most_waiting:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        ahead.shutdown(wait=True, cancel_futures=True)
        lanes.shutdown(wait=True, cancel_futures=True)
