"""The cache of measurements."""

from dashboard.profile import measurement


def test_the_cache_is_limited_and_drops_the_least_recently_used(monkeypatch):
    monkeypatch.setitem(measurement.MAX_CACHED, "tested", 2)
    done = []

    def find(name):
        done.append(name)
        yield 1
        return name.upper()

    def measure(name):
        return measurement.measure("tested", name, lambda: find(name), 1, 0.0, "measuring")

    assert [measure(name) for name in "aababcab"] == list("AABABCAB")
    assert done == list("abcab"), "the least recently used result is dropped"
