"""One thread, one epoll, a few timers: all that the keeper and the pump need of an event loop. Costs nothing when idle."""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

Watcher = Callable[[int], None]


class Timer:
    """A call that is due later; ``cancel`` makes it never happen."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Calls watchers when their descriptor is ready, and timers when they are due."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopping = False

    def watch(self, fd: int, events: int, call: Watcher) -> None:
        """Calls ``call(events)`` whenever ``fd`` is ready; watching again replaces events and call."""
        try:
            self._selector.modify(fd, events, call)
        except KeyError:
            self._selector.register(fd, events, call)

    def unwatch(self, fd: int) -> None:
        try:
            self._selector.unregister(fd)
        except (KeyError, ValueError):
            return

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def on_signals(self, calls: Mapping[int, Callable[[], None]]) -> None:
        """Signals become ordinary events: no code of ours runs in a signal handler."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        for number in calls:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._wakeup = (reader, writer)

        def arrived(_: int) -> None:
            try:
                numbers = set(os.read(reader.fileno(), 4096))
            except BlockingIOError:
                return
            for number in numbers:
                if number in calls:
                    calls[number]()

        self.watch(reader.fileno(), READ, arrived)

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        """Until :meth:`stop`."""
        while not self._stopping:
            for key, events in self._selector.select(self._patience()):
                # A watcher called just before may have ended this one: its key is then no longer the registered one.
                if self._selector.get_map().get(key.fd) is key or self._still(key):
                    key.data(events)
            self._run_due()

    def _still(self, key: selectors.SelectorKey) -> bool:
        now = self._selector.get_map().get(key.fd)
        return now is not None and now.data is key.data

    def _patience(self) -> float | None:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _run_due(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            timer = heapq.heappop(self._timers)[2]
            if timer.call is not None:
                timer.call()
