"""How fast a run goes, from what its progress events say: time left for the iteration and for the run, and a rate.

Everything is measured, and in this process only: what a run took before it was resumed, perhaps on another machine,
says nothing. Where nothing is measured yet, nothing is said.
"""

import time
from typing import Any

ENOUGH = 0.005  # of the run, to tell its pace ...
LONG_ENOUGH = 10.0  # ... or so many seconds, in a run that takes hours
SMOOTHED_OVER = 3.0  # seconds, so that a rate can be read


class Pace:
    """Fed with the data of every progress event, in order."""

    def __init__(self) -> None:
        self.began: tuple[float, float] | None = None  # time and fraction of the first event
        self.at = 0.0  # time of the last one
        self.fraction = 0.0
        self.iteration_end: float | None = None
        self.rate: float | None = None  # images a second, smoothed within a phase
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
        """A mean over what the phase has lasted, and then over the last seconds. The first batch of a further epoch is
        left out: too short to tell a rate, and it comes after a pause."""
        said, phase, epoch = values.get("images_per_second"), values.get("phase"), values.get("epoch")
        if phase != self.phase or self.rate is None or said is None:
            self.rate, self.phase, self.phase_began = said, phase, now
        elif epoch == self.epoch:
            self.rate += (said - self.rate) * min(1.0, (now - self.at) / min(SMOOTHED_OVER, now - self.phase_began))
        self.epoch = epoch

    def left(self) -> dict[str, float | None]:
        """As it stands in status.json: seconds until the run ends and until this iteration does, and the rate.

        None is not known. An iteration that has no training left has 0 seconds left: it is being measured.
        """
        found = {"eta_seconds": None, "iteration_eta_seconds": None, "images_per_second": self.rate}
        if self.began is None:
            return found
        elapsed, gained = self.at - self.began[0], self.fraction - self.began[1]
        if gained > ENOUGH or (gained > 0 and elapsed > LONG_ENOUGH):
            pace = elapsed / gained
            found["eta_seconds"] = pace * (1 - self.fraction)
            if self.iteration_end is not None:
                found["iteration_eta_seconds"] = pace * max(0.0, self.iteration_end - self.fraction)
        return found
