"""Work on many files at once, results in the order of the files, with bounded memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _End:
    """The feeder's last word: the input is exhausted, or raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ordered_batches(
    items: Iterable[T], work: Callable[[T], R], *, workers: int, size: int, idle_timeout: float | None = None
) -> Generator[list[R]]:
    """Applies `work` to `items` in threads and yields lists of `size` results, in the order of `items`.

    `items` is read lazily, at most two batches and a few more ahead of the batch that is being gathered. Threads suit
    this work: Pillow and hashlib release the interpreter lock. Closing the generator stops the threads.

    Args:
        items: may block, as standard input does.
        work: must not raise for bad input; what it raises ends the iteration.
        workers: number of threads.
        size: results per batch; the last batch is shorter.
        idle_timeout: seconds; where `items` gives nothing new for so long, a shorter batch is yielded, if only an empty
            one after a full one, so that nobody waits for what has come.
    """
    feeder = _Feeder(items, work, workers, ahead=2 * size + workers)
    batch: list[R] = []
    told = True  # whether it is known that all was yielded
    try:
        while True:
            try:
                future = feeder.pending.get(timeout=None if told else idle_timeout)
            except queue.Empty:
                yield batch
                batch, told = [], True
                continue
            if isinstance(future, _End):
                if future.error is not None:
                    raise future.error
                break
            batch.append(future.result())
            told = False
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
    finally:
        feeder.stop()


class _Feeder(Generic[T, R]):
    """Reads `items` in a thread of its own and hands each to the pool; `pending` keeps the order."""

    def __init__(self, items: Iterable[T], work: Callable[[T], R], workers: int, ahead: int) -> None:
        self.pending: queue.Queue[Future[R] | _End] = queue.Queue(maxsize=ahead)
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="featcli-load")
        # A daemon, since it may be blocked reading a terminal or a pipe that never ends.
        threading.Thread(target=self._feed, args=(items, work), name="featcli-feed", daemon=True).start()

    def _feed(self, items: Iterable[T], work: Callable[[T], R]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if self._stopped.is_set():
                    return
                self.pending.put(self._pool.submit(work, item))
        except BaseException as raised:  # handed over to the thread that iterates
            error = raised
        if not self._stopped.is_set():
            self.pending.put(_End(error))

    def stop(self) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        while True:  # wakes a feeder that waits for room
            try:
                self.pending.get_nowait()
            except queue.Empty:
                return
