"""Results that are computed once for all sessions, also if several ask for one at the same time."""

import threading
from collections.abc import Callable, Hashable


class SharedResults:
    """At most `most` results by their keys. `found` has them; those that were used last stay."""

    def __init__(self, most: int):
        self.most = most
        self.found: dict[Hashable, object] = {}
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}  # a lock for each result that is being computed

    def get(self, key: Hashable, make: Callable[[], object]):
        """The result of `make()`, which one session computes while the others wait for it. An error is not kept."""
        with self._lock:
            if key in self.found:
                self.found[key] = self.found.pop(key)  # ordered by last use
                return self.found[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self.found:  # another session was faster
                    return self.found[key]
            result = make()
            with self._lock:
                self.found[key] = result
                self._making.pop(key, None)
                while len(self.found) > self.most:
                    self.found.pop(next(iter(self.found)))
        return result
