"""The table of the benchmarks: verdicts, files, and that what is compared takes turns."""

import pytest

from tests.benchmarks.rows import Row, alternating, as_csv, from_csv, table


@pytest.mark.parametrize(
    ("value", "goal", "verdict"),
    [(1.05, "<= 1.05", "met"), (1.06, "<= 1.05", "missed"), (3.0, ">= 3", "met"), (2.9, ">= 3", "missed"),
     (7.0, "", ""), (None, ">= 3", "absent"), (None, "", "absent")],
)  # fmt: skip
def test_verdicts(value, goal, verdict):
    assert Row("part", "case", "figure", value, goal).verdict == verdict


def test_rows_survive_a_file():
    rows = [
        Row("surgery", 'ResNet, "18", 224 px', "ratio", 1.0 / 3, ">= 1", "1.5 ms", "4.5 ms", "a, b"),
        Row("APoZ pass", "lenet5", "NNI's time", None),
    ]
    assert from_csv(as_csv(rows)) == rows


def test_the_table_says_what_is_missed_and_what_is_absent():
    rows = [Row("p", "c", "f", 1.23456, "<= 1"), Row("p", "c", "g", None)]
    assert table(rows).splitlines()[2:] == ["| p | c | f | 1.23 | <= 1 | missed |  |  |  |",
                                            "| p | c | g | absent |  | absent |  |  |  |"]  # fmt: skip


def test_what_is_compared_takes_turns_and_each_follows_each():
    """After a warm-up; every other round the other way round. Medians come in the order in which they were given."""
    seen = []
    medians = alternating([lambda: seen.append("a"), lambda: seen.append("b")], rounds=4)
    assert "".join(seen) == "ba" + "ab" + "ba" + "ab" + "ba"
    assert len(medians) == 2
    assert all(seconds >= 0 for seconds in medians)
