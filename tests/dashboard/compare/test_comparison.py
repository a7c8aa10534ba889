"""Two results side by side: small examples, brute force, and the section of the page."""

import json
import random

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.compare import comparison
from tests.dashboard.fakes import fake_profile, fake_run
from tests.dashboard.pages import open_link
from trimcore import runs, spec
from trimcore.jobs import control

WIDTHS = [{"conv2": 12, "fc1": 6}, {"conv2": 10, "fc1": 3}]


def test_the_layer_comparison_of_a_small_example():
    first, second = fake_profile(conv=[0.0, 0.5], fc=[0.2, 0.4, 0.6], old=[1.0]), fake_profile(fc=[0.9], conv=[0.0])
    table = comparison.layer_comparison(first, second)
    assert table.to_dict("list") == {
        "layer": ["conv", "fc"], "neurons A": [2, 3], "neurons B": [1, 1], "mean A": [0.25, pytest.approx(0.4)],
        "mean B": [0.0, 0.9], "difference": [-25.0, pytest.approx(50.0)],
    }  # fmt: skip
    assert comparison.only_in(fake_profile(conv=[0], old=[1]), fake_profile(conv=[0])) == ["old"]


def test_survivors_equal_a_brute_force_count():
    draw, widths = random.Random(3), {"a": 40, "b": 7, "c": 1}
    left = [{name: set(draw.sample(range(w), draw.randint(1, w))) for name, w in widths.items()} for _ in range(2)]
    frames = [
        pd.DataFrame([(name, i) for name, own in one.items() for i in own], columns=["layer", "original_neuron"])
        for one in left
    ]
    found = comparison.survivors(*frames, widths | {"gone": 5}).set_index("layer")
    assert list(found.index) == ["a", "b", "c"], "only common layers count"
    for name, width in widths.items():
        fates = [(i in left[0][name], i in left[1][name]) for i in range(width)]
        expected = [fates.count(fate) for fate in [(True, True), (True, False), (False, True), (False, False)]]
        assert found.loc[name].tolist() == expected


def test_the_overlap_text_of_a_small_example():
    table = pd.DataFrame({"layer": ["x", "y"], "both": [4, 2], "first": [1, 0], "second": [2, 0], "neither": [3, 0]})
    # x: of 10 neurons, the first removed 5 and the second 4, with 3 in common; by chance 5 * 4 / 10 = 2
    assert comparison.overlap_text(table) == (
        "Of the 6 neurons removed in either result, **3** are removed in both. If as many were removed from each layer "
        "at random, 2 would be removed in both."
    )
    none = comparison.overlap_text(table.assign(first=0, second=0, neither=0))
    assert none == "No neurons have been removed in either result."
    one = comparison.overlap_text(table.assign(first=0, neither=0))
    assert one == "Only one of the results has neurons removed: 2."


def test_base_widths_need_a_common_base(runs_folder):
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
    assert comparison.base_widths(one, again) == comparison.base_widths(one, one) == base
    assert comparison.base_widths(branches[0], again) == comparison.base_widths(branches[0], branches[1]) == base
    assert comparison.base_widths(one, seed) == comparison.base_widths(one, epochs) == {}
    assert comparison.base_widths(branches[0], branches[2]) == {}
    (runs_folder / one / "spec.toml").unlink()
    assert comparison.base_widths(branches[0], again) == {}, "its parent no longer exists"


def page(picked: list[str]) -> AppTest:
    """The page Compare with these runs selected."""
    return open_link("compare", runs="~".join(picked))


def texts(app: AppTest) -> str:
    return "\n".join(element.value for kind in (app.markdown, app.caption, app.info) for element in kind)


def box(app: AppTest, label: str):
    return next(found for found in app.selectbox if found.label == label)


def test_the_default_choice_is_the_results_of_the_first_two_runs(runs_folder):
    late = {"original": lambda width: list(range(12 if width > 6 else 6))[-width:]}  # keeps its last neurons
    one = fake_run(runs_folder, {"name": "one"}, WIDTHS, [0.9, 0.9])
    two = fake_run(runs_folder, {"name": "two"}, WIDTHS, [0.9, 0.9], **late)
    app = page([one, two])
    assert (box(app, "A").value, box(app, "B").value) == ((one, 1), (two, 1))
    assert len(box(app, "A").options) == 4
    # conv2: 10 of 12 are left in each, the first and the last; fc1: 3 of 6, the first and the last three
    assert "Of the 10 neurons removed in either result, **0** are removed in both" in texts(app)
    assert "at random, 2 would be removed in both" in texts(app)  # 2 * 2 / 12 + 3 * 3 / 6 = 1.83
    table = next(one.value for one in app.dataframe if "mean B" in one.value)
    assert table["neurons A"].tolist() == [10, 3]
    box(app, "B").set_value((one, 0)).run()
    assert "Only one of the results has neurons removed: 5." in texts(app)
    box(app, "B").set_value((one, 1)).run()
    assert "A and B are the same result" in texts(app)
    assert not app.exception


def test_the_page_warns_about_results_that_cannot_be_compared(runs_folder):
    one = fake_run(runs_folder, {"name": "one"}, WIDTHS, [0.9, 0.9])
    more = [{"conv1": 5, **widths} for widths in WIDTHS]
    two = fake_run(runs_folder, {"name": "*two*", "model": "vgg16-small", "data": "cifar10"}, more, [0.9, 0.9])
    text = texts(page([one, two]))
    assert "different networks" in text
    assert "different data" in text
    assert "do not start from the same base" in text
    assert r"has conv1\." in text or "has conv1." in text
    assert "*two*" not in text.replace(r"\*two\*", ""), "user input is not Markdown"
    three = fake_run(runs_folder, {"name": "three"}, [{"other": 4}] * 2, [0.9, 0.9])
    assert "no layer in common" in texts(page([one, three]))


def test_layers_can_be_sorted_by_difference(runs_folder):
    one = fake_run(runs_folder, {}, [{"conv2": 10, "fc1": 2}] * 2, [0.9, 0.9])
    two = fake_run(runs_folder, {}, [{"conv2": 8, "fc1": 4}] * 2, [0.9, 0.9])
    app = page([one, two])  # means (w - 1) / 2w: 45 and 43.75 %, 25 and 37.5 %
    next(c for c in app.segmented_control if c.label == "Order of layers").set_value("difference").run()
    table = next(one.value for one in app.dataframe if "mean B" in one.value)
    assert table.layer.tolist() == ["fc1", "conv2"]
    assert table.difference.tolist() == pytest.approx([12.5, -1.25])
    assert app.query_params["order"] == "difference"


def test_runs_without_a_profile_are_listed_and_one_run_is_compared_with_its_base(runs_folder):
    one = fake_run(runs_folder, {"name": "one"}, WIDTHS, [0.9, 0.9])
    bare = fake_run(runs_folder, {"name": "bare"}, WIDTHS, [0.9, 0.9])
    path = runs.open_run(runs_folder, bare) / "events.jsonl"
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["kind"] != "profiled"]
    path.write_text("\n".join(kept) + "\n")
    app = page([one, bare])
    assert "These runs have no profile" in texts(app)
    assert (box(app, "A").value, box(app, "B").value) == ((one, 0), (one, 1))
    assert "at least two profiles" in texts(page([bare]))


def test_the_results_of_other_runs_are_compared_when_they_are_ticked(runs_folder):
    """One run is compared with its base. With a second one, the results are compared, unless somebody has chosen."""

    def chosen() -> list:
        return [app.selectbox(key=f"versus_{letter}").value for letter in "ab"]

    def show() -> None:
        import streamlit as st

        from dashboard.compare import comparison
        from dashboard.session import links

        links.receive()
        comparison.show(st.session_state.picked)

    one, other = (fake_run(runs_folder, {"name": name}, WIDTHS, [0.9, 0.8]) for name in ("one", "other"))
    app = AppTest.from_function(show)
    app.session_state.picked = [one]
    app.run()
    assert chosen() == [(one, 0), (one, 1)]
    app.session_state.picked = [one, other]
    app.run()
    assert chosen() == [(one, 1), (other, 1)]
    app.selectbox(key="versus_a").set_value((one, 0)).run()
    app.session_state.picked = [one]
    app.run()
    assert chosen()[0] == (one, 0)
    assert not app.exception
