"""Where a test wants it, the time of day that Python tells is off by the seconds in a file, and jumps with them."""

import os
import time

if path := os.environ.get("TEST_CLOCK"):
    real = time.time

    def shifted() -> float:
        try:
            with open(path, encoding="ascii") as file:
                return real() + float(file.read() or 0)
        except (OSError, ValueError):
            return real()

    time.time = shifted
