"""Signals that wait for a good moment: work that must end between two steps, not inside one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from featcli.errors import Interrupted

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Inside, the first signal only makes the function that is yielded return True; a second one acts as it did before.

    Where a signal came, leaving raises Interrupted. Signals that were ignored stay ignored. Only the main thread can do
    this; in any other nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    seen: list[int] = []
    before = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) is not None}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(signum: int, frame: FrameType | None) -> None:
        seen.append(signum)
        restore()

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield lambda: bool(seen)
    finally:
        restore()
    if seen:
        raise Interrupted(seen[0])
