"""Who may ask now: so many requests at once, and so many from one address elsewhere."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tinychat.server.errors import too_many
from tinychat.server.hosts import is_loopback
from tinychat.server.limits import Limits

MINUTE = 60.0


class Admission:
    """Counts requests that are being answered. For one event loop: it takes no lock.

    This machine's own addresses are bounded together only: one person with several programs.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.running = 0
        self._limits = limits
        self._clock = clock
        self._each: dict[str, int] = {}
        self._times: dict[str, deque[float]] = {}

    @contextmanager
    def enter(self, address: str) -> Iterator[None]:
        """Hold a place while a request is answered. Raises ApiError (429) if there is none."""
        if self.running >= self._limits.requests:
            raise too_many(f"All {self._limits.requests} places are taken; ask again in a moment.")
        stranger = not is_loopback(address)
        if stranger:
            self._judge(address)
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            if stranger:
                self._each[address] -= 1
                if not self._each[address]:
                    del self._each[address]

    def _judge(self, address: str) -> None:
        limits, now = self._limits, self._clock()
        if self._each.get(address, 0) >= limits.requests_each:
            raise too_many(f"Your address has {limits.requests_each} requests running already.")
        for known in list(self._times):
            while self._times[known] and self._times[known][0] <= now - MINUTE:
                self._times[known].popleft()
            if not self._times[known]:
                del self._times[known]
        times = self._times.setdefault(address, deque())
        if len(times) >= limits.requests_each_minute:
            wait = int(times[0] + MINUTE - now) + 1
            raise too_many(
                f"Your address has asked {limits.requests_each_minute} times in a minute.", wait
            )
        times.append(now)
        self._each[address] = self._each.get(address, 0) + 1
