"""Charts of answers that changed, with small examples."""

import pandas as pd
import pytest

from dashboard.charts.changes import KINDS, MAX_PAIRS, answers, class_pairs

LOST, GAINED, MOVED = KINDS


def pairs(*rows: tuple) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["base_answer", "trimmed_answer", LOST, GAINED, MOVED])
    return table.assign(images=table[[*KINDS]].sum(axis=1))


def test_a_bar_for_each_pair_and_a_part_for_each_kind():
    figure = class_pairs(pairs(("cat", "dog", 4, 1, 0), ("cow", "cat", 2, 0, 0)))
    assert [(bar.name, list(bar.x)) for bar in figure.data] == [(LOST, [4, 2]), (GAINED, [1, 0])]
    assert figure.layout.barmode == "stack"
    assert list(figure.layout.yaxis.ticktext) == ["cat → dog", "cow → cat"]
    wanted = "7 answers changed between 2 pairs of classes, most often from cat to dog: 5 images."
    assert figure.layout.meta["alt"] == wanted


def test_the_chosen_pair_stands_out():
    table = pairs(("cat", "dog", 4, 1, 0), ("cow", "cat", 2, 0, 0))
    assert list(class_pairs(table, ("cow", "cat")).data[0].marker.opacity) == [0.3, 1.0]
    assert list(class_pairs(table).data[0].marker.opacity) == [1.0, 1.0]


def test_the_most_frequent_of_many_pairs_are_drawn():
    figure = class_pairs(pairs(*((f"a very long name of class {i}", "b", 100 - i, 0, 0) for i in range(50))))
    assert len(figure.data[0].x) == MAX_PAIRS
    assert figure.layout.height < 500
    assert all(len(text) <= 30 for text in figure.layout.yaxis.ticktext)
    assert "between 50 pairs of classes" in figure.layout.meta["alt"]


def test_without_labels_the_bars_have_one_part():
    figure = class_pairs(pairs(("cat", "dog", 4, 1, 0), ("cow", "cat", 2, 0, 0)), labelled=False)
    assert [list(bar.x) for bar in figure.data] == [[5, 2]]
    assert not figure.layout.showlegend


def test_no_changes_are_an_error():
    with pytest.raises(ValueError, match="changes is empty"):
        class_pairs(pairs())


def test_the_answers_of_two_networks():
    table = pd.DataFrame({"class": ["cat", "dog"], "base": [0.75, 0.0004], "trimmed": [0.2, 0.8]})
    figure = answers(table)
    assert [(bar.name, list(bar.x), list(bar.text)) for bar in figure.data] == [
        ("base", [75.0, 0.04], ["75\u00a0%", "<0.1\u00a0%"]), ("trimmed", [20.0, 80.0], ["20\u00a0%", "80\u00a0%"]),
    ]  # fmt: skip
    assert figure.layout.meta["alt"].endswith("base: cat, 75\u00a0%; trimmed: dog, 80\u00a0%.")
