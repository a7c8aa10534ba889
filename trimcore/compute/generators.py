"""Measurements are generators, so callers can show progress. This runs one to the end."""

from collections.abc import Callable, Generator
from typing import TypeVar

Step = TypeVar("Step")
Result = TypeVar("Result")


def finished(steps: Generator[Step, None, Result], see: Callable[[Step], object] | None = None) -> Result:
    """Run a generator to the end and return its result. `see` receives each value it yields."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        if see:
            see(step)
