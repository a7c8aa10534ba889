"""The speed of a run, from its progress events: time left for the iteration and for the run, and images per second.

Only this process is measured, since a run may have been on another machine before it was resumed. Values are None
until they can be measured.
"""

import time
from typing import Any

MINIMUM_FRACTION = 0.005  # of the run, before the time left is estimated ...
MINIMUM_SECONDS = 10.0  # ... or, in a run that takes hours, this much time
SMOOTHED_OVER = 3.0  # seconds; without smoothing, the rate is too jumpy to read


class Pace:
    """Estimates the time left. Pass it the data of every progress event, in order."""

    def __init__(self) -> None:
        self.began: tuple[float, float] | None = None  # time and fraction of the first event
        self.at = 0.0  # time of the last event
        self.fraction = 0.0
        self.iteration_end: float | None = None
        self.rate: float | None = None  # images per second, smoothed within a phase
        self.phase: str | None = None
        self.phase_began = 0.0
        self.epoch: int | None = None

    def see(self, values: dict[str, Any]) -> None:
        now = time.monotonic()
        self.fraction, self.iteration_end = values["fraction"], values.get("iteration_end")
        if self.began is None:
            self.began = now, self.fraction
        self._see_rate(values, now)
        self.at = now

    def _see_rate(self, values: dict[str, Any], now: float) -> None:
        """Average over the phase at first, then over the last seconds. The first batch of a later epoch is ignored: it
        is too short to measure, and it follows a pause."""
        reported, phase, epoch = values.get("images_per_second"), values.get("phase"), values.get("epoch")
        if phase != self.phase or self.rate is None or reported is None:
            self.rate, self.phase, self.phase_began = reported, phase, now
        elif epoch == self.epoch:
            weight = min(1.0, (now - self.at) / min(SMOOTHED_OVER, now - self.phase_began))
            self.rate += (reported - self.rate) * weight
        self.epoch = epoch

    def left(self) -> dict[str, float | None]:
        """Entries for status.json: seconds until the run ends, seconds until this iteration ends, and the rate.

        None means unknown. An iteration whose training is done has 0 seconds left: it is being measured.
        """
        found = {"eta_seconds": None, "iteration_eta_seconds": None, "images_per_second": self.rate}
        if self.began is None:
            return found
        elapsed, gained = self.at - self.began[0], self.fraction - self.began[1]
        if gained > MINIMUM_FRACTION or (gained > 0 and elapsed > MINIMUM_SECONDS):
            pace = elapsed / gained
            found["eta_seconds"] = pace * (1 - self.fraction)
            if self.iteration_end is not None:
                found["iteration_eta_seconds"] = pace * max(0.0, self.iteration_end - self.fraction)
        return found
