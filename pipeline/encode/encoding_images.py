"""From image files to vectors: who reads, who computes, and when.

Three arrangements, one result:

- **A pipeline**, on an accelerator: the processor's threads read and decode a few
  batches ahead while the accelerator works on one.
- **Lanes**, on a processor: each core takes a batch of its own from file to vector, in
  one thread. Cores never wait for each other, and while one decodes another computes.
- **Turns**, on a processor: all cores decode a batch, then all compute it. This needs
  the memory of one batch only.

On the processor lanes are usually faster, but that depends on the model and on the
machine, so on a long job both are tried on its first batches and the faster goes on.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retune.store.errors import BackboneError

from .reading_images import ImageItem, ReadImage, read_batches

__all__ = [
    "Arrangement",
    "Encoded",
    "EncodedBatch",
    "encode_contents",
    "encode_images",
    "plan_lanes",
]

#: More lanes than this wait for memory rather than for cores.
_MOST_LANES = 16
#: Batches of each lane in a trial; the first warms up and is not timed.
_TRIAL_ROUNDS = 3
#: Batches that each lane should at least get.
_LEAST_ROUNDS = 4
#: A trial is worth it where at most a tenth of the job is done the slower way.
_TRIAL_SHARE = 0.1


@dataclass(frozen=True)
class Arrangement:
    """How the cores share the work.

    Attributes:
        lanes: Batches that are worked on side by side.
        threads: Of each forward pass.
        lookahead: Batches to read while one is computed; only with one lane.
        workers: Threads that read and decode; only with one lane.
    """

    lanes: int
    threads: int
    lookahead: int
    workers: int


@dataclass(frozen=True)
class Encoded:
    """Vectors of the contents of a batch.

    Attributes:
        keys: Content digests, n.
        images: Which image each was read for, n.
        vectors: Shape (n, D); a backbone may give what cannot be stored.
        refused: Image, content digest and reason where the backbone gave no vector.
    """

    keys: tuple[str, ...]
    images: tuple[ImageItem, ...]
    vectors: npt.NDArray[np.floating]
    refused: tuple[tuple[ImageItem, str, str], ...] = ()


@dataclass(frozen=True)
class EncodedBatch:
    """One batch of files, read and encoded.

    Attributes:
        read: What became of each file.
        encoded: Vectors of those that needed one.
        read_seconds: Time that reading took or, in a pipeline, was waited for.
        forward_seconds: Time that the backbone took.
    """

    read: Sequence[ReadImage]
    encoded: Encoded
    read_seconds: float
    forward_seconds: float


Read = Callable[[ImageItem], ReadImage]
Encode = Callable[[Sequence[ReadImage]], Encoded]
Forward = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
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


def encode_contents(
    files: Sequence[ReadImage], forward: Forward, has: Callable[[str], bool]
) -> Encoded:
    """Encode what a batch has to encode, each content once.

    If the backbone fails on the batch, halves are tried, and so on down to single
    images: one that it cannot take costs itself, and a batch too large for the memory
    is done in parts.

    Args:
        files: What was read.
        forward: Pixels, shape (B, height, width, 3), to vectors, shape (B, D).
        has: Whether content with this digest has a vector already.

    Raises:
        BackboneError: The backbone fails on every image of a batch of several.
    """
    fresh: dict[str, tuple[ImageItem, npt.NDArray[np.uint8]]] = {}
    for one in files:
        if one.pixels is not None and one.file is not None:
            digest = one.file.content_digest
            if not has(digest):
                fresh.setdefault(digest, (one.item, one.pixels))
    if not fresh:
        return Encoded((), (), np.empty((0, 1), dtype=np.float32))
    keys = tuple(fresh)
    pixels = np.stack([one for _, one in fresh.values()])
    vectors, errors = _forward_in_parts(pixels, forward)
    if len(errors) == len(keys) > 1:
        raise BackboneError(
            f"the backbone failed on {len(keys)} images one after the other: "
            f"{next(iter(errors.values()))}",
            "Try --device cpu or --precision float32. What was encoded before is kept; "
            "the same command goes on from there.",
        )
    images = tuple(item for item, _ in fresh.values())
    fine = [row for row in range(len(keys)) if row not in errors]
    return Encoded(
        tuple(keys[row] for row in fine),
        tuple(images[row] for row in fine),
        vectors,
        tuple((images[row], keys[row], errors[row]) for row in sorted(errors)),
    )


def _forward_in_parts(
    pixels: npt.NDArray[np.uint8], forward: Forward
) -> tuple[npt.NDArray[np.float32], dict[int, str]]:
    """Vectors of the images that the backbone takes, and why it refuses others."""
    try:
        return forward(pixels), {}
    except RuntimeError as error:  # torch's own, out of memory included
        if len(pixels) == 1:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            return np.empty((0, 1), dtype=np.float32), {0: reason}
    half = len(pixels) // 2
    first, first_errors = _forward_in_parts(pixels[:half], forward)
    second, second_errors = _forward_in_parts(pixels[half:], forward)
    errors = first_errors | {half + row: why for row, why in second_errors.items()}
    parts = [part for part in (first, second) if len(part)]
    return np.concatenate(parts) if parts else first, errors


def encode_images(
    items: Sequence[ImageItem],
    read: Read,
    encode: Encode,
    arrangements: Sequence[Arrangement],
    *,
    batch_size: int,
    set_threads: SetThreads,
    cut_finer: bool = False,
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
        cut_finer: Make batches of a short job smaller, so that no lane waits long for
            the last batch of another.

    Yields:
        Batches in the order of `items`, and how the cores shared them.
    """
    if cut_finer and arrangements[0].lanes > 1:
        least = _LEAST_ROUNDS * arrangements[0].lanes
        batch_size = min(batch_size, max(1, -(-len(items) // least)))
    first, rounds = 0, _TRIAL_ROUNDS * max(one.lanes for one in arrangements)
    trial = rounds * batch_size
    speeds = []
    if len(arrangements) > 1 and trial <= _TRIAL_SHARE * len(items):
        for arrangement in arrangements:
            part = items[first : first + trial]
            started, timed = time.perf_counter(), 0
            batches = _encode(part, read, encode, arrangement, batch_size, set_threads)
            for place, batch in enumerate(batches, start=1):
                yield batch, arrangement
                if place == arrangement.lanes:
                    started, timed = time.perf_counter(), 0
                else:
                    timed += len(batch.read)
            speeds.append(timed / (time.perf_counter() - started))
            first += len(part)
    best = arrangements[int(np.argmax(speeds))] if speeds else arrangements[0]
    for batch in _encode(items[first:], read, encode, best, batch_size, set_threads):
        yield batch, best


def _encode(
    items: Sequence[ImageItem],
    read: Read,
    encode: Encode,
    arrangement: Arrangement,
    batch_size: int,
    set_threads: SetThreads,
) -> Iterator[EncodedBatch]:
    if arrangement.lanes > 1:
        return _in_lanes(items, read, encode, arrangement, batch_size, set_threads)
    return _in_turns(items, read, encode, arrangement, batch_size, set_threads)


def _in_turns(
    items: Sequence[ImageItem],
    read: Read,
    encode: Encode,
    arrangement: Arrangement,
    batch_size: int,
    set_threads: SetThreads,
) -> Iterator[EncodedBatch]:
    set_threads(arrangement.threads)
    batches = read_batches(
        items,
        read,
        batch_size=batch_size,
        workers=arrangement.workers,
        lookahead=arrangement.lookahead,
    )
    try:
        waited = time.perf_counter()
        for batch in batches:
            started = time.perf_counter()
            encoded = encode(batch)
            done = time.perf_counter()
            yield EncodedBatch(batch, encoded, started - waited, done - started)
            waited = time.perf_counter()
    finally:
        batches.close()


def _in_lanes(
    items: Sequence[ImageItem],
    read: Read,
    encode: Encode,
    arrangement: Arrangement,
    batch_size: int,
    set_threads: SetThreads,
) -> Iterator[EncodedBatch]:
    def work(batch: Sequence[ImageItem]) -> EncodedBatch:
        started = time.perf_counter()
        files = [read(item) for item in batch]
        between = time.perf_counter()
        encoded = encode(files)
        done = time.perf_counter()
        return EncodedBatch(files, encoded, between - started, done - between)

    pool = ThreadPoolExecutor(
        arrangement.lanes,
        thread_name_prefix="lane",
        initializer=set_threads,
        initargs=(arrangement.threads,),
    )
    waiting: deque[Future[EncodedBatch]] = deque()
    try:
        for start in range(0, len(items), batch_size):
            waiting.append(pool.submit(work, items[start : start + batch_size]))
            # One more than lanes, so that no lane waits for the caller.
            if len(waiting) > arrangement.lanes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
