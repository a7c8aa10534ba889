"""Objects that are excluded from garbage collection."""

import gc
import weakref

from dashboard.session import memory


def test_objects_created_later_are_still_collected():
    class Cycle:
        def __init__(self):
            self.me = self

    excluded = Cycle()
    memory.freeze_long_lived("a page of this test")
    try:
        assert gc.get_freeze_count() > 100_000, "PyTorch alone has more"
        later, earlier = weakref.ref(Cycle()), weakref.ref(excluded)
        del excluded
        gc.collect()
        assert later() is None
        assert earlier() is not None, "it is excluded from collection"
        memory.freeze_long_lived("a page of this test")
        assert earlier() is None, "... until everything is scanned again"
    finally:
        gc.unfreeze()
        memory._page_starts.clear()
