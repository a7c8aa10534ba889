"""Every hostile input is refused with a line, or does no harm. Of the slow ones each third; `python -m tests.hostile`
has all of them."""

import logging

import pytest

from tests.hostile import ALL
from tests.hostile.case import Case, outcome

SLOW = ("link", "events of others", "own image")  # a page each, or a process
CASES = [case for case in ALL if case.surface not in SLOW] + [case for case in ALL if case.surface in SLOW][::3]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_refused_or_harmless(case: Case, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    outcome(case, tmp_path)
