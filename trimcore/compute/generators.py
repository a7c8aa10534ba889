"""Measurements are generators, so that whoever waits can show how far they are; this is for those who only wait."""

from collections.abc import Callable, Generator
from typing import TypeVar

Step = TypeVar("Step")
Result = TypeVar("Result")


def finished(steps: Generator[Step, None, Result], see: Callable[[Step], object] | None = None) -> Result:
    """What a generator returns in the end; `see` is given what it yields on the way."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        if see:
            see(step)
