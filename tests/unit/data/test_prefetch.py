from __future__ import annotations

import contextlib
import itertools
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcli.data.prefetch import ordered_batches


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def loading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("featcli-")]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 60), workers=st.integers(1, 6), size=st.integers(1, 20), naps=st.randoms(use_true_random=False)
)
def test_results_come_in_the_order_of_the_items(count: int, workers: int, size: int, naps: random.Random) -> None:
    seconds = [naps.choice([0, 0, 0.001]) for _ in range(count)]

    def work(item: int) -> int:
        time.sleep(seconds[item])
        return item * item

    batches = list(ordered_batches(range(count), work, workers=workers, size=size))
    assert [result for batch in batches for result in batch] == [item * item for item in range(count)]
    assert [len(batch) for batch in batches] == [size] * (count // size) + [count % size] * (count % size > 0)


def test_work_runs_in_as_many_threads_as_asked() -> None:
    together = threading.Barrier(3, timeout=5)
    assert list(ordered_batches(range(3), lambda item: together.wait() >= 0, workers=3, size=3)) == [[True] * 3]


@pytest.mark.parametrize(("workers", "size"), [(1, 1), (2, 8), (4, 32)])
def test_items_are_read_a_bounded_number_ahead(workers: int, size: int) -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for item in range(100_000):
            read += 1
            yield item

    bound = 2 * size + workers + 1  # waiting in order, and one in the feeder's hand
    batches = ordered_batches(items(), lambda item: item, workers=workers, size=size)
    with contextlib.closing(batches):
        for number in range(1, 6):
            assert next(batches) == list(range((number - 1) * size, number * size))
            wait_until(lambda number=number: read >= number * size + bound, 0.3)
            time.sleep(0.02)
            assert read <= number * size + bound


def test_nothing_is_read_before_it_is_asked_for() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        read.append(1)
        yield 1

    batches = ordered_batches(items(), lambda item: item, workers=1, size=1)
    time.sleep(0.05)
    assert read == []
    assert list(batches) == [[1]]


class Broken(Exception):
    pass


def test_what_items_raise_comes_after_the_full_batches_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise Broken("input")

    batches = ordered_batches(items(), lambda item: item, workers=2, size=2)
    assert [next(batches), next(batches)] == [[0, 1], [2, 3]]
    with pytest.raises(Broken, match="input"):
        next(batches)
    assert wait_until(lambda: not loading_threads())


def test_what_work_raises_ends_the_iteration() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise Broken("work")
        return item

    batches = ordered_batches(itertools.count(), work, workers=2, size=2)
    assert next(batches) == [0, 1]
    with pytest.raises(Broken, match="work"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)
    assert wait_until(lambda: not loading_threads())


def test_closing_early_stops_all_threads() -> None:
    for _ in range(20):
        batches = ordered_batches(itertools.count(), lambda item: item, workers=3, size=2)
        assert next(batches) == [0, 1]
        batches.close()
    assert wait_until(lambda: not loading_threads())


def test_closing_cancels_work_that_has_not_begun() -> None:
    begun: list[int] = []
    release = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item >= 1:
            release.wait(5)
        return item

    batches = ordered_batches(itertools.count(), work, workers=1, size=1)
    assert next(batches) == [0]
    assert wait_until(lambda: begun == [0, 1])
    start = time.monotonic()
    batches.close()
    assert time.monotonic() - start < 1, "closing does not wait for work"
    release.set()
    assert wait_until(lambda: not loading_threads())
    assert begun == [0, 1]


def test_closing_does_not_hang_while_items_block() -> None:
    source: queue.Queue[int] = queue.Queue()
    batches = ordered_batches(iter(source.get, -1), lambda item: item, workers=2, size=1)
    source.put(7)
    assert next(batches) == [7]
    start = time.monotonic()
    batches.close()
    assert time.monotonic() - start < 1
    source.put(8)  # the feeder wakes up, sees that nobody listens, and goes
    assert wait_until(lambda: not loading_threads())


def test_a_quiet_source_yields_what_there_is() -> None:
    source: queue.Queue[int] = queue.Queue()
    batches = ordered_batches(iter(source.get, -1), lambda item: item, workers=2, size=4, idle_timeout=0.05)
    source.put(1)
    source.put(2)
    start = time.monotonic()
    assert next(batches) == [1, 2]
    assert 0.04 < time.monotonic() - start < 2
    for item in range(3, 7):
        source.put(item)
    assert next(batches) == [3, 4, 5, 6], "a full batch does not wait"
    source.put(7)
    assert next(batches) == [7]
    for item in range(8, 12):
        source.put(item)
    assert next(batches) == [8, 9, 10, 11]
    assert next(batches) == [], "after a full batch, too, the quiet is told"
    threading.Timer(0.3, source.put, [-1]).start()
    assert list(batches) == [], "and told once"


def test_quiet_without_anything_yields_nothing() -> None:
    source: queue.Queue[int] = queue.Queue()
    threading.Timer(0.2, source.put, [-1]).start()
    assert list(ordered_batches(iter(source.get, -1), lambda item: item, workers=1, size=4, idle_timeout=0.01)) == []


def test_without_quiet_a_slow_source_still_fills_its_batches() -> None:
    def items() -> Iterator[int]:
        for item in range(4):
            time.sleep(0.03)
            yield item

    assert list(ordered_batches(items(), lambda item: item, workers=1, size=4)) == [[0, 1, 2, 3]]
