"""Every hostile input is refused with a line, or does no harm. Of the pages each third; `python -m tests.hostile` has
all of them."""

import logging

import pytest

from tests.hostile import ALL, pages
from tests.hostile.case import Case, outcome

CASES = [case for case in ALL if case not in pages.CASES] + pages.CASES[::3]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_refused_or_harmless(case: Case, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    outcome(case, tmp_path)
