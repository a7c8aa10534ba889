"""Two results side by side: numbers by hand and by brute force, and the section of the Compare page in its states."""

import json
import random

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import charts, versus
from tests.dashboard.fakes import fake_run
from tests.dashboard.serving import ROOT
from trimcore import runs, spec
from trimcore.jobs import control

WIDTHS = [{"conv2": 12, "fc1": 6}, {"conv2": 10, "fc1": 3}]


def neurons(**layers) -> pd.DataFrame:
    """layer -> APoZ, as `store.profile_of` has them."""
    rows = [(name, i, i, value) for name, apoz in layers.items() for i, value in enumerate(apoz)]
    return pd.DataFrame(rows, columns=["layer", "neuron", "original_neuron", "apoz"])


def test_layers_beside_each_other_by_hand():
    table = versus.beside(neurons(conv=[0.0, 0.5], fc=[0.2, 0.4, 0.6], old=[1.0]), neurons(fc=[0.9], conv=[0.0]))
    assert table.to_dict("list") == {
        "layer": ["conv", "fc"], "neurons A": [2, 3], "neurons B": [1, 1], "mean A": [0.25, pytest.approx(0.4)],
        "mean B": [0.0, 0.9], "difference": [-25.0, pytest.approx(50.0)],
    }  # fmt: skip
    assert versus.only_in(neurons(conv=[0], old=[1]), neurons(conv=[0])) == ["old"]


def test_survivors_are_those_that_a_count_one_by_one_finds():
    draw, widths = random.Random(3), {"a": 40, "b": 7, "c": 1}
    left = [{name: set(draw.sample(range(w), draw.randint(1, w))) for name, w in widths.items()} for _ in range(2)]
    frames = [
        pd.DataFrame([(name, i) for name, own in one.items() for i in own], columns=["layer", "original_neuron"])
        for one in left
    ]
    found = versus.survivors(*frames, widths | {"gone": 5}).set_index("layer")
    assert list(found.index) == ["a", "b", "c"], "a layer that neither has is left out"
    for name, width in widths.items():
        fates = [(i in left[0][name], i in left[1][name]) for i in range(width)]
        expected = [fates.count(fate) for fate in [(True, True), (True, False), (False, True), (False, False)]]
        assert found.loc[name].tolist() == expected


def test_agreement_by_hand():
    table = pd.DataFrame({"layer": ["x", "y"], "both": [4, 2], "first": [1, 0], "second": [2, 0], "neither": [3, 0]})
    # x: of 10 the first cuts 5 and the second 4, 3 of them the same; by lot 5 * 4 / 10 = 2
    assert versus.agreement(table) == (
        "Of 6 neurons that either cut, **3** are cut by both; cutting as many of each layer by lot, 2 would be."
    )
    assert versus.agreement(table.assign(first=0, second=0, neither=0)) == "Neither has lost a neuron."
    assert versus.agreement(table.assign(first=0, neither=0)) == "Only one of them has lost neurons: 2."


def marks(figure):
    """The two traces that carry the means."""
    return [trace for trace in figure.data if trace.customdata is not None]


def test_the_chart_shows_quantiles_and_means_of_both():
    values = np.linspace(0, 1, 21)
    drawn = charts.apoz_versus(neurons(a=values, b=values / 2), neurons(b=[0.1, 0.3], a=values), ["one", "two"])
    first, second = marks(drawn)
    assert list(first.customdata[0][3:]) == [5, 25, 50, 75, 95]
    assert list(first.x) == pytest.approx([50, 25])
    assert list(second.x) == pytest.approx([50, 20])
    assert list(drawn.layout.yaxis.ticktext) == ["a", "b"]
    assert all(a < b for a, b in zip(first.y, second.y, strict=True)), "the first stands above"
    assert drawn.data[-1].text == ("\u00a021 | 21", "\u00a021 | 2")
    alt = drawn.layout.meta["alt"]
    assert "differ most in b, 25\u00a0% and 20\u00a0%" in alt
    assert "42 and 23 neurons" in alt


def test_rows_by_difference_begin_with_the_largest():
    first, second = neurons(a=[0.1], b=[0.5], c=[0.9]), neurons(a=[0.2], b=[0.1], c=[0.7])
    drawn = charts.apoz_versus(first, second, ["one", "two"], by_difference=True)
    assert list(drawn.layout.yaxis.ticktext) == ["b", "c", "a"]
    assert list(marks(drawn)[1].x) == pytest.approx([10, 70, 20])
    assert drawn.data[-1].text == ("\u00a01 | 1",) * 3


def test_hundreds_of_layers_are_blocks_and_no_neuron_is_a_mark():
    wide = {f"stage{i // 50}.block{i % 50 // 2}.conv{i % 2}": np.linspace(0, i / 200, 400) for i in range(200)}
    drawn = charts.apoz_versus(neurons(**wide), neurons(**wide), ["one", "two"])
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


def test_survivors_chart_stacks_to_all_neurons_and_says_the_numbers():
    table = pd.DataFrame({"layer": ["x", "y"], "both": [4, 2], "first": [1, 0], "second": [2, 0], "neither": [3, 0]})
    drawn = charts.survivors(table, ["<b>one</b>", "two"])
    assert [sum(bar.x[row] for bar in drawn.data) for row in (0, 1)] == pytest.approx([100, 100])
    assert [bar.name for bar in drawn.data] == [
        "kept by both", "only by &lt;b&gt;one&lt;/b&gt;", "only by two", "cut by both",
    ]  # fmt: skip
    assert drawn.layout.meta["alt"] == (
        "Of 12 neurons of the base in 2 layers, 6 are in both, 1 only in <b>one</b>, 2 only in two, and 3 in neither."
    )


def test_charts_without_what_they_need_name_it():
    with pytest.raises(ValueError, match="no layer in common"):
        charts.apoz_versus(neurons(a=[0.1]), neurons(b=[0.1]), ["one", "two"])
    with pytest.raises(ValueError, match="apoz"):
        charts.apoz_versus(neurons(a=[0.1]).drop(columns="apoz"), neurons(a=[0.1]), ["one", "two"])
    with pytest.raises(ValueError, match="neither"):
        charts.survivors(pd.DataFrame({"layer": ["a"], "both": [1], "first": [1], "second": [1]}), ["one", "two"])


def test_only_runs_of_one_base_have_the_same_neurons(runs_folder):
    one = fake_run(runs_folder, {}, WIDTHS, [0.9, 0.9])
    again = fake_run(runs_folder, {"retrain": {"epochs": 9}, "step": []}, WIDTHS, [0.9, 0.9])
    seed = fake_run(runs_folder, {"seed": 1}, WIDTHS, [0.9, 0.9])
    epochs = fake_run(runs_folder, {"base": {"epochs": 2}}, WIDTHS, [0.9, 0.9])
    branches = []
    for parent in (one, again, seed):
        made = control.prepare_run(spec.parse({"device": "cpu"}), runs_folder)
        with open(made / "spec.toml", "a") as file:
            file.write(f'\n[parent]\nrun = "{parent}"\niteration = 1\n')
        branches.append(made.name)
    assert spec.load(runs_folder / branches[0] / "spec.toml").parent.run == one
    base = WIDTHS[0]
    assert versus.base_widths(one, again) == versus.base_widths(one, one) == base
    assert versus.base_widths(branches[0], again) == versus.base_widths(branches[0], branches[1]) == base
    assert versus.base_widths(one, seed) == versus.base_widths(one, epochs) == {}
    assert versus.base_widths(branches[0], branches[2]) == {}
    (runs_folder / one / "spec.toml").unlink()
    assert versus.base_widths(branches[0], again) == {}, "what it began at is gone"


def page(picked: list[str]) -> AppTest:
    """The Compare page with these runs ticked."""
    app = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=60)
    app.switch_page("views/compare.py")
    app.query_params["runs"] = "~".join(picked)
    app.run()
    assert not app.exception, app.exception
    return app


def texts(app: AppTest) -> str:
    return "\n".join(element.value for kind in (app.markdown, app.caption, app.info) for element in kind)


def box(app: AppTest, label: str):
    return next(found for found in app.selectbox if found.label == label)


def test_the_page_begins_with_the_results_of_the_first_two(runs_folder):
    late = {"original": lambda width: list(range(12 if width > 6 else 6))[-width:]}  # keeps its last neurons
    one = fake_run(runs_folder, {"name": "one"}, WIDTHS, [0.9, 0.9])
    two = fake_run(runs_folder, {"name": "two"}, WIDTHS, [0.9, 0.9], **late)
    app = page([one, two])
    assert (box(app, "A").value, box(app, "B").value) == ((one, 1), (two, 1))
    assert len(box(app, "A").options) == 4
    # conv2: 10 of 12 left in each, the first and the last; fc1: 3 of 6, the first and the last three
    assert "Of 10 neurons that either cut, **0** are cut by both" in texts(app)
    assert "by lot, 2 would be" in texts(app)  # 2 * 2 / 12 + 3 * 3 / 6 = 1.83
    table = next(one.value for one in app.dataframe if "mean B" in one.value)
    assert table["neurons A"].tolist() == [10, 3]
    box(app, "B").set_value((one, 0)).run()
    assert "Only one of them has lost neurons: 5." in texts(app)
    box(app, "B").set_value((one, 1)).run()
    assert "These are the same" in texts(app)
    assert not app.exception


def test_the_page_says_what_keeps_two_results_apart(runs_folder):
    one = fake_run(runs_folder, {"name": "one"}, WIDTHS, [0.9, 0.9])
    more = [{"conv1": 5, **widths} for widths in WIDTHS]
    two = fake_run(runs_folder, {"name": "*two*", "model": "vgg16-small", "data": "cifar10"}, more, [0.9, 0.9])
    said = texts(page([one, two]))
    assert "different networks" in said
    assert "different data" in said
    assert "do not begin at the same base" in said
    assert r"has conv1\." in said or "has conv1." in said
    assert "*two*" not in said.replace(r"\*two\*", ""), "what a person wrote is not Markdown"
    three = fake_run(runs_folder, {"name": "three"}, [{"other": 4}] * 2, [0.9, 0.9])
    assert "no layer in common" in texts(page([one, three]))


def test_the_order_of_the_layers_is_that_of_the_difference_on_demand(runs_folder):
    one = fake_run(runs_folder, {}, [{"conv2": 10, "fc1": 2}] * 2, [0.9, 0.9])
    two = fake_run(runs_folder, {}, [{"conv2": 8, "fc1": 4}] * 2, [0.9, 0.9])
    app = page([one, two])  # means (w - 1) / 2w: 45 and 43.75 %, 25 and 37.5 %
    next(c for c in app.segmented_control if c.label == "Order of the layers").set_value("difference").run()
    table = next(one.value for one in app.dataframe if "mean B" in one.value)
    assert table.layer.tolist() == ["fc1", "conv2"]
    assert table.difference.tolist() == pytest.approx([12.5, -1.25])
    assert app.query_params["order"] == "difference"


def test_runs_without_a_profile_are_named_and_one_run_is_set_beside_its_base(runs_folder):
    one = fake_run(runs_folder, {"name": "one"}, WIDTHS, [0.9, 0.9])
    bare = fake_run(runs_folder, {"name": "bare"}, WIDTHS, [0.9, 0.9])
    path = runs.open_run(runs_folder, bare) / "events.jsonl"
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["kind"] != "profiled"]
    path.write_text("\n".join(kept) + "\n")
    app = page([one, bare])
    assert "Without a profile" in texts(app)
    assert (box(app, "A").value, box(app, "B").value) == ((one, 0), (one, 1))
    assert "no two profiles" in texts(page([bare]))
