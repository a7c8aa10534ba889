"""Results that are computed once for all sessions, also if several ask for one at the same time."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class SharedResults:
    """At most `most` results by their keys. `found` has them; those that were used last stay."""

    def __init__(self, most: int):
        self.most = most
        self.found: dict[Hashable, Any] = {}
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}  # a lock for each result that is being computed

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of `make()`, which one session computes while the others wait for it. An error is not kept."""
        with self._lock:
            if key in self.found:
                found: T = self.found.pop(key)
                self.found[key] = found  # ordered by last use
                return found
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self.found:  # another session was faster
                    made: T = self.found[key]
                    return made
            result = make()
            with self._lock:
                self.found[key] = result
                self._making.pop(key, None)
                while len(self.found) > self.most:
                    self.found.pop(next(iter(self.found)))
        return result
