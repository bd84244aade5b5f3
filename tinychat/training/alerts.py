"""What a person should be told of a run while it trains, also when no screen looks at it.

Only looks at numbers that are there anyway: nothing here can change a weight.
"""

import math
from dataclasses import dataclass

from tinychat.training.events import Noted, Stepped

WARM_UP_STEPS = 50  # of an attempt, before anything is unusual
QUIET_STEPS = 100  # after an alert, so that a bad stretch is told once
SPIKE_SIGMAS = 6.0
SPIKE_LEAST = 0.25  # nats per token; smaller jumps are no news however calm the run is
SLOW_FACTOR = 2.0
SLOW_LEAST_SECONDS = 0.05  # a step
_MEAN, _VARIANCE = 1 / 20, 1 / 50  # of the running loss: weight of the newest
_FAST, _SLOW = 1 / 20, 1 / 500  # of the running step times
_OUTLIER = 4.0  # one slow step counts as this many at most


@dataclass
class Alerts:
    """Loss spikes and steps that take twice as long, of one attempt."""

    steps: int = 0
    mean: float = 0.0
    variance: float = 0.0
    fast: float = 0.0
    slow: float = 0.0
    is_slow: bool = False
    spike_at: float = -math.inf  # counted in steps of the attempt, as is slow_at
    slow_at: float = -math.inf

    def look(self, stepped: Stepped) -> list[Noted]:
        """What is to be told of this step; at most one alert of each kind in QUIET_STEPS."""
        if stepped.skipped or not math.isfinite(stepped.train_loss):
            return []  # told as such
        self.steps += 1
        return [
            Noted("alert", stepped.step, told, {"about": about})
            for about, told in (
                ("spike", self._spike(stepped.train_loss)),
                ("slow", self._slowness(stepped.step_seconds)),
            )
            if told
        ]

    def _spike(self, loss: float) -> str:
        before = self.mean
        limit = before + max(SPIKE_SIGMAS * math.sqrt(self.variance), SPIKE_LEAST)
        ready = self.steps > WARM_UP_STEPS
        # clipped: a spike must not make the next one look usual
        difference = (min(loss, limit) if ready else loss) - before
        self.mean += max(_MEAN, 1 / self.steps) * difference
        weight = max(_VARIANCE, 1 / self.steps)
        self.variance = (1 - weight) * (self.variance + weight * difference * difference)
        if not ready or loss <= limit or self.steps - self.spike_at < QUIET_STEPS:
            return ""
        self.spike_at = self.steps
        return (
            f"the loss jumped to {loss:.3f} from about {before:.3f}; if it does not come back "
            "within some hundred steps, begin a new run from an earlier checkpoint "
            "(`tinychat train --init-from`) with a lower optim.learning_rate"
        )

    def _slowness(self, seconds: float) -> str:
        if self.steps == 1:
            return ""  # it warms things up
        if self.steps == 2:
            self.fast = self.slow = seconds
        seconds = min(seconds, _OUTLIER * self.slow)
        self.fast += _FAST * (seconds - self.fast)
        self.slow += max(_SLOW, 1 / self.steps) * (seconds - self.slow)
        slower = self.fast > SLOW_FACTOR * self.slow
        slower = slower and self.fast - self.slow > SLOW_LEAST_SECONDS
        quiet = self.steps <= WARM_UP_STEPS or self.steps - self.slow_at < QUIET_STEPS
        if not slower or quiet or self.is_slow:
            self.is_slow = self.is_slow and self.fast > 1.5 * self.slow
            return ""
        self.is_slow, self.slow_at = True, self.steps
        return (
            f"a step takes {self.fast:.2f} s, {self.fast / self.slow:.1f} times as long as before; "
            "something else may be using the machine, or it is too hot"
        )
