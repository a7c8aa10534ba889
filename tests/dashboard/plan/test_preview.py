"""The preview of a plan uses one thread."""

import contextlib

import torch

from trimcore.compute.threads import one_thread


def test_the_number_of_threads_is_restored_after_an_error():
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        with contextlib.suppress(ValueError), one_thread():
            seen.append(torch.get_num_threads())
            raise ValueError("some error")
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
