"""Charts that compare two results."""

import numpy as np
import pandas as pd
import pytest

from dashboard import charts
from tests.dashboard.fakes import fake_profile


def marks(figure):
    """The two traces with the means."""
    return [trace for trace in figure.data if trace.customdata is not None]


def test_quantiles_and_means_of_both_networks():
    values = np.linspace(0, 1, 21)
    first, second = fake_profile(a=values, b=values / 2), fake_profile(b=[0.1, 0.3], a=values)
    drawn = charts.apoz_comparison(first, second, ["one", "two"])
    first, second = marks(drawn)
    assert list(first.customdata[0][3:]) == [5, 25, 50, 75, 95]
    assert list(first.x) == pytest.approx([50, 25])
    assert list(second.x) == pytest.approx([50, 20])
    assert list(drawn.layout.yaxis.ticktext) == ["a", "b"]
    assert all(a < b for a, b in zip(first.y, second.y, strict=True)), "the first is above the second"
    assert drawn.data[-1].text == ("\u00a021 | 21", "\u00a021 | 2")
    alt = drawn.layout.meta["alt"]
    assert "differ most in b, 25\u00a0% and 20\u00a0%" in alt
    assert "42 and 23 neurons" in alt


def test_rows_sorted_by_difference_start_with_the_largest():
    first, second = fake_profile(a=[0.1], b=[0.5], c=[0.9]), fake_profile(a=[0.2], b=[0.1], c=[0.7])
    drawn = charts.apoz_comparison(first, second, ["one", "two"], by_difference=True)
    assert list(drawn.layout.yaxis.ticktext) == ["b", "c", "a"]
    assert list(marks(drawn)[1].x) == pytest.approx([10, 70, 20])
    assert drawn.data[-1].text == ("\u00a01 | 1",) * 3


def test_hundreds_of_layers_are_drawn_as_blocks():
    wide = {f"stage{i // 50}.block{i % 50 // 2}.conv{i % 2}": np.linspace(0, i / 200, 400) for i in range(200)}
    drawn = charts.apoz_comparison(fake_profile(**wide), fake_profile(**wide), ["one", "two"])
    assert len(drawn.layout.yaxis.ticktext) <= 40
    first = marks(drawn)[0]
    assert sum(int(row[1].replace(",", "")) for row in first.customdata) == 80_000
    assert len(drawn.to_json()) < 60_000
    assert drawn.layout.height < 1300
    fates = pd.DataFrame([(name, 200, 100, 60, 40) for name in wide], columns=["layer", "both", "first", "second",
                                                                             "neither"])  # fmt: skip
    bars = charts.survivors(fates, ["one", "two"])
    assert len(bars.data[0].x) <= 40
    assert list(bars.data[0].x) == pytest.approx([50] * len(bars.data[0].x))


def test_survivors_add_up_to_all_neurons():
    table = pd.DataFrame({"layer": ["x", "y"], "both": [4, 2], "first": [1, 0], "second": [2, 0], "neither": [3, 0]})
    drawn = charts.survivors(table, ["<b>one</b>", "two"])
    assert [sum(bar.x[row] for bar in drawn.data) for row in (0, 1)] == pytest.approx([100, 100])
    assert [bar.name for bar in drawn.data] == [
        "kept in both", "kept only in &lt;b&gt;one&lt;/b&gt;", "kept only in two", "removed in both",
    ]  # fmt: skip
    assert drawn.layout.meta["alt"] == (
        "Of 12 neurons of the base in 2 layers, 6 are kept in both, 1 only in <b>one</b>, 2 only in two, and 3 in "
        "neither."
    )


def test_comparison_errors_name_what_is_missing():
    with pytest.raises(ValueError, match="no layer in common"):
        charts.apoz_comparison(fake_profile(a=[0.1]), fake_profile(b=[0.1]), ["one", "two"])
    with pytest.raises(ValueError, match="apoz"):
        charts.apoz_comparison(fake_profile(a=[0.1]).drop(columns="apoz"), fake_profile(a=[0.1]), ["one", "two"])
    with pytest.raises(ValueError, match="neither"):
        charts.survivors(pd.DataFrame({"layer": ["a"], "both": [1], "first": [1], "second": [1]}), ["one", "two"])
