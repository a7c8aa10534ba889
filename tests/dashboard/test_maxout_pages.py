"""Maxout units, weight pruning and verification on every page, against what a real run recorded."""

import json
import shutil
from pathlib import Path

import pytest

from dashboard.criteria import ranked_by
from tests.dashboard.fakes import fake_run, real_run
from tests.dashboard.test_pages import field, page, texts
from trimcore import runs, spec, tables

STEPS = [
    {"layers": ["fc1"], "rule": "maxout", "value": 1.0, "iterations": 3},
    {"layers": ["all"], "rule": "sparsity", "value": 0.8, "iterations": 2},
]
ASKED = {"model": "lenet5-maxout", "options": {"width": 64}, "device": "cpu"}


@pytest.fixture(scope="module")
def pruned_run(tmp_path_factory) -> Path:
    """Units of four to single neurons, then weights to zero, with a verification; made once, hardly trained."""
    asked = {**ASKED, "base": {"epochs": 1}, "retrain": {"epochs": 0}, "verify": {"pairs": "test"}, "step": STEPS,
             "profile": {"relevance_examples": 500}}
    return real_run(tmp_path_factory.mktemp("pruned"), spec.parse(asked))


@pytest.fixture
def run(pruned_run, runs_folder) -> Path:
    return Path(shutil.copytree(pruned_run, runs_folder / pruned_run.name))


def draft_of(steps: list[dict] = STEPS, **values) -> dict:
    return spec.parse({**ASKED, **values, "step": steps}).model_dump(exclude_none=True)


def recorded(folder: Path) -> list[dict]:
    return list(runs.read_events(folder))


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def click(app, label: str):
    next(button for button in app.button if button.label.startswith(label)).click().run()
    assert not app.exception
    return app


def control_of(app, label: str):
    return next(group for group in app.segmented_control if group.label == label)


# --- Model ---

def test_the_options_of_an_architecture_can_be_chosen(launched):
    app = page("model")
    assert not any(number.label.startswith("k:") for number in app.number_input)
    app.selectbox[0].set_value("lenet5-maxout").run()
    k, width = (next(n for n in app.number_input if n.label.startswith(f"{name}:")) for name in ("k", "width"))
    assert (k.value, width.value) == (4, 500)
    assert app.session_state.draft["options"] == {}
    width.set_value(64).run()
    assert app.session_state.draft["options"] == {"width": 64}
    assert metrics(app)["Parameters"] == f"{520 + 25_050 + 801 * 64 + 17 * 10:,}"
    click(app, "Profile this network")
    click(app.switch_page("views/model.py").run(), "Trim it now")
    assert [run.options for run in launched] == [{"width": 64}] * 2


def test_options_that_do_not_go_together_are_one_line():
    app = page("model", draft=draft_of([]))
    next(n for n in app.number_input if n.label.startswith("k:")).set_value(3).run()
    assert "64" in app.error[0].value
    assert "multiple" in app.error[0].value


def test_other_options_are_another_network(run):
    assert "another network" not in texts(page("plan", run=run.name, draft=draft_of()))
    app = page("plan", run=run.name, draft=draft_of(options={"width": 128}))
    assert "another network" in texts(app)
    click(app, "Plan for that one")
    assert app.session_state.draft["options"] == {"width": 64}
    assert app.session_state.draft["verify"]["pairs"] == "test"


@pytest.mark.parametrize("kind", ["imagefolder", "lfw"])
def test_data_of_ones_own_asks_for_its_folder(kind, tmp_path):
    app = page("model")
    app.selectbox[1].set_value(f"{kind}:PATH").run()
    app.text_input[0].set_value(str(tmp_path / "nowhere")).run()
    assert not app.exception
    assert app.session_state.draft["data"] == f"{kind}:{tmp_path / 'nowhere'}"
    assert "nowhere" in app.error[0].value
    assert app.selectbox[1].value == f"{kind}:PATH"


# --- Profile ---

def test_profile_shows_who_is_the_maximum(run):
    app = page("profile", run=run.name)
    seen = tables.latest(recorded(run), "profiled")[0]["units"]["fc1"]
    counts = [count for unit in seen["counts"] for count in unit]
    shown = metrics(app)
    assert shown["Units"] == "16 × 4"
    assert shown["Never the maximum"] == f"{counts.count(0)} of 64"
    weakest = sum(min(unit) for unit in seen["counts"]) / len(seen["counts"]) / (seen["shares"] * seen["examples"])
    assert shown["Least relevant"] == f"{weakest:.1%}"
    assert shown["Examples"] == "500"
    assert "A tie is shared equally" in texts(app)
    (listed,) = [table.value for table in app.dataframe if "relevance" in table.value]
    assert listed.relevance.iloc[0] == pytest.approx(100 * min(counts) / (seen["shares"] * seen["examples"]))
    field(app, "In the order of the layer").set_value(True).run()
    assert not app.exception


def test_each_maxout_layer_can_be_looked_at(runs_folder):
    kept = {4: [0, 1, 4, 5], 6: [0, 1, 2, 4, 5, 6]}  # of the units of 4 that the architecture has
    widths = [{"classifier.fc6": 4, "classifier.fc7": 6}]
    run_id = fake_run(runs_folder, {"model": "vgg16-small-maxout"}, widths, [0.9], original=kept.get)
    path = runs_folder / run_id / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    seen = {"examples": 10, "positions": 1, "shares": 6}
    (profiled,) = [line for line in lines if line["kind"] == "profiled"]
    profiled["units"] = {
        "classifier.fc6": {**seen, "k": 2, "counts": [[60, 0], [30, 30]]},
        "classifier.fc7": {**seen, "k": 3, "counts": [[20, 20, 20], [54, 6, 0]]},
    }
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    app = page("profile", run=run_id)
    assert (metrics(app)["Units"], metrics(app)["Hang on one neuron"]) == ("2 × 2", "1 of 2")
    assert metrics(app)["Never the maximum"] == "1 of 4"
    control_of(app, "Maxout layer").set_value("classifier.fc7").run()
    assert not app.exception
    assert (metrics(app)["Units"], metrics(app)["Hang on one neuron"]) == ("2 × 3", "1 of 2")
    assert metrics(app)["Least relevant"] == "16.7%"
    click(app, "Plan to remove the least")
    (step,) = app.session_state.draft["step"]
    assert (step["layers"], step["iterations"]) == (["all"], 2), "until no maximum is left anywhere"
    assert metrics(app)["Neurons a unit (k)"] == "1"
    assert not app.error


def test_profile_without_a_maximum_has_no_units(run):
    app = page("profile", run=run.name)
    control_of(app, "Iteration").set_value(3).run()
    assert not app.exception
    assert "Maxout units" not in texts(app)


def test_profile_leads_to_a_plan_that_ends_with_single_neurons(run):
    app = click(page("profile", run=run.name, draft=spec.Spec().model_dump(exclude_none=True)), "Plan to remove the")
    (step,) = app.session_state.draft["step"]
    assert (step["rule"], step["value"], step["iterations"], step["criterion"]) == ("maxout", 1.0, 3, "relevance")
    assert metrics(app)["Neurons a unit (k)"] == "1"


def test_plan_with_a_rule_leaves_weight_steps_and_units_alone(run):
    inside = {"fc1": {"rule": "maxout", "value": 1.0}}
    steps = [{"layers": ["conv2", "fc1"], "rule": "count", "value": 3, "layer": inside}, STEPS[1]]
    app = page("profile", run=run.name, draft=draft_of(steps))
    click(app, "Plan with this rule")
    assert [step["rule"] for step in app.session_state.draft["step"]] == ["mean+std", "sparsity"]
    assert app.session_state.draft["step"][0]["layer"]["fc1"]["rule"] == "maxout"
    assert not app.error


# --- Plan ---

def test_the_preview_is_what_the_run_leaves(run):
    app = page("plan", run=run.name, draft=draft_of())
    events = recorded(run)
    last, zeros = tables.iterations(events).iloc[-1], tables.sparsity(events)
    shown = metrics(app)
    assert shown["Parameters"] == f"{last.parameters:,}"
    assert shown["Neurons a unit (k)"] == "1"
    held = zeros[zeros.iteration == 5].zeros.sum()
    assert shown["Not zero"] == f"{last.parameters - held:,}"
    table = app.dataframe[0].value
    assert list(table.removed)[:3] == ["fc1 −16 (k 4→3)", "fc1 −16 (k 3→2)", "fc1 −16 (k 2→1)"]
    assert table.removed[4] == f"weights: {held:,} zero"


def test_a_weight_step_is_one_click(launched):
    app = click(page("plan", draft=draft_of(STEPS[:1])), "Add a weight pruning step")
    assert [step["rule"] for step in app.session_state.draft["step"]] == ["maxout", "sparsity"]
    control_of(app, "Edit").set_value(app.session_state.step_ids[1]).run()
    assert list(app.pills[0].options) == ["conv1", "conv2", "fc1", "fc2"], "the output too"
    assert field(app, "Ranked by").options == ["magnitude of the weights"]
    rule = control_of(app, "Rule: hold weights at zero…")
    assert len(rule.options) == 3
    assert metrics(app)["Not zero"] != "—"
    rule.set_value("quality").run()
    assert metrics(app)["Not zero"] == "—", "it depends on the weights"
    app.pills[0].set_value(["fc1", "fc2"]).run()
    app.button(key="launch").click().run()
    assert not app.exception
    step = launched[0].step[1]
    assert (step.rule, step.value, step.criterion, step.layers) == ("quality", 1.0, "magnitude", ["fc1", "fc2"])


def test_a_step_can_change_what_it_prunes_and_back(launched):
    step = {"layers": ["conv2"], "rule": "count", "value": 5, "never_cut": {"conv2": [1]}}
    app = page("plan", draft=draft_of([step]))
    for kind, rule, criterion in [("weights", "sparsity", "magnitude"), ("neurons", "count", "apoz")]:
        control_of(app, "This step…").set_value(kind).run()
        assert not app.exception
        (step,) = app.session_state.draft["step"]
        assert (step["rule"], step["criterion"]) == (rule, criterion)
    app.button(key="launch").click().run()
    assert (launched[0].step[0].rule, launched[0].step[0].value) == ("count", 5)


def test_the_rule_within_units_is_there_for_layers_that_have_some(launched):
    assert "maxout" not in rules_of(page("plan", draft=spec.Spec(step=[spec.Step(layers=["fc1"])]).model_dump()))
    app = page("plan", draft=draft_of([{"layers": ["conv2"], "rule": "count", "value": 5}]))
    control_of(app, "Rule: remove neurons…").set_value("maxout").run()
    assert list(app.pills[0].options) == ["fc1"]
    app.pills[0].set_value(["fc1"]).run()
    choice = field(app, "Ranked by")
    assert [text.partition(":")[0].split()[0] for text in choice.options] == ["relevance", "L1", "L2", "random"]
    choice.set_value("l2").run()
    app.button(key="launch").click().run()
    assert not app.exception
    assert (launched[0].step[0].rule, launched[0].step[0].criterion) == ("maxout", "l2")


def rules_of(app) -> list[str]:
    return list(control_of(app, "Rule: remove neurons…").options)


def others(app):
    return [box for box in app.multiselect if box.label == "Also run this plan ranked by"]


def test_controls_rank_what_they_can_rank():
    (box,) = others(page("plan", draft=draft_of()))
    assert box.options == ["L1", "L2", "random"]
    assert not others(page("plan", draft=draft_of(STEPS[1:]))), "nothing else ranks weights"
    mixed = [{"layers": ["conv2"], "rule": "count", "value": 5}, *STEPS]
    (box,) = others(page("plan", draft=draft_of(mixed)))
    assert box.options == ["L1", "L2", "mean activation", "Taylor", "random"], "what a step has is not offered"
    taylor, random = (spec.parse(values) for values in ranked_by(draft_of(mixed), ["taylor", "random"]))
    assert [step.criterion for step in taylor.step] == ["taylor", "relevance", "magnitude"]
    assert [step.criterion for step in random.step] == ["random", "random", "magnitude"]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_verification_can_be_asked_for(launched, distance):
    app = page("plan", draft=draft_of())
    assert "By the distance" not in {box.label for box in app.selectbox}
    field(app, "Verify").set_value("test").run()
    field(app, "By the distance").set_value(distance).run()
    app.button(key="launch").click().run()
    assert launched[0].verify == spec.Verify(pairs="test", distance=distance)


def test_faces_need_their_folder(launched, tmp_path):
    app = page("plan", draft=draft_of())
    field(app, "Verify").set_value("lfw").run()
    assert "Without a folder nothing is verified" in texts(app)
    app.button(key="launch").click().run()
    app.switch_page("views/plan.py").run()
    field(app, "Verify").set_value("lfw").run()
    field(app, "Folder with lfw-py in it").set_value(str(tmp_path / "nowhere")).run()
    assert "nowhere" in app.error[0].value
    field(app, "Folder with lfw-py in it").set_value(str(tmp_path)).run()
    assert not app.error
    app.button(key="launch").click().run()
    assert [run.verify.pairs for run in launched] == ["", f"lfw:{tmp_path}"]


# --- a network that is grouped into units ---

def test_hidden_neurons_can_be_grouped(launched):
    app = page("plan", draft=draft_of([{"layers": ["fc1"], "rule": "count", "value": 5}], model="lenet5", options={}))
    assert "least of each unit" not in rules_of(app)
    app.radio[0].set_value("maxout").run()
    assert "least of each unit" in rules_of(app), "now there are units"
    field(app, "Neurons a unit (k)").set_value(3).run()
    assert "500 neurons of fc1 make no whole units of k = 3" in app.error[0].value
    field(app, "Neurons a unit (k)").set_value(5).run()
    assert not app.error
    control_of(app, "Rule: remove neurons…").set_value("maxout").run()
    assert metrics(app)["Neurons a unit (k)"] == "4"
    now = 520 + 25_050 + 801 * 400 + 101 * 10
    assert metrics(app)["Parameters"] == f"{now:,}"
    assert metrics(app)["Compression"] == f"{431_080 / now:.2f}×", "against the network as it was"
    app.button(key="launch").click().run()
    convert = launched[0].convert
    assert (convert.to, convert.k, convert.layers) == ("maxout", 5, [])


def test_a_branch_from_a_grouped_network_is_planned_with_that(make_spec, runs_folder):
    asked = make_spec(
        convert={"to": "maxout", "k": 4, "epochs": 1, "batch_size": 32}, retrain={"epochs": 0},
        step=[{"layers": ["fc1"], "rule": "maxout", "value": 1.0, "iterations": 2}],
    )
    made = real_run(runs_folder, asked)
    app = page("plan", run=made.name, draft=asked.model_dump(exclude_none=True))
    rows = tables.iterations(recorded(made))
    assert not app.radio, "it is converted"
    assert metrics(app)["Parameters"] == f"{rows.parameters[2]:,}"
    box = field(app, "Begin from")
    box.set_value((made.name, 1)).run()
    assert not app.exception
    assert not app.error
    assert metrics(app)["Neurons a unit (k)"] == "1"
    curve = page("run", run=made.name)
    assert "grouped into maxout units of 4" in texts(curve)


# --- Run, Compare, Report ---

@pytest.mark.parametrize("name", ["run", "report"])
def test_results_have_k_zeros_and_verification(run, name):
    app = page(name, run=run.name)
    last = tables.iterations(recorded(run)).iloc[-1]
    shown = metrics(app)
    assert shown["Neurons a unit (k)"] == "1"
    assert shown["Not zero"] == f"{last.nonzero_parameters:,}"
    assert shown["Verification"] == f"{last.verification:.2%} ± {last.verification_error:.2%}"
    assert "2,000 pairs of the test split, by the cosine distance of what enters fc2" in texts(app)
    (table,) = [table.value for table in app.dataframe if "bytes sparse" in table.value]
    assert list(table["bytes sparse"]) == list(tables.iterations(recorded(run)).bytes_sparse)
    assert table.columns[-1] == "configuration", "the numbers are in sight"


def test_the_run_page_shows_zeros_and_units_while_they_grow(run):
    headings = texts(page("run", run=run.name))
    for words in ("weakest neuron of each unit", "Weights of each layer that are zero", "Bytes of the file"):
        assert words in headings
    text = (run / "events.jsonl").read_text("utf-8").splitlines()
    until = next(number for number, line in enumerate(text) if '"weights"' in line and '"kind": "weights"' in line)
    (run / "events.jsonl").write_text("\n".join(text[: until + 1]) + "\n", "utf-8")
    assert "Weights of each layer that are zero" in texts(page("run", run=run.name)), "before its iteration is done"


def test_compare_can_count_what_is_not_zero(run, runs_folder):
    widths = [{"conv1": 20, "fc1": 500}, {"conv1": 20, "fc1": 300}]
    app = page("compare")
    listed = app.dataframe[0].value
    last = tables.iterations(recorded(run)).iloc[-1]
    ratio = last.compression * last.parameters / last.nonzero_parameters
    assert listed["compression, non-zero"][0] == pytest.approx(ratio)
    assert listed.verification[0] == last.verification
    control_of(app, "Size in").set_value("non-zero parameters").run()
    assert not app.exception
    shutil.rmtree(run)
    fake_run(runs_folder, {}, widths, [0.9, 0.8])
    app = page("compare")
    assert "verification" not in app.dataframe[0].value
    assert not any(group.label == "Size in" for group in app.segmented_control)


def test_the_report_offers_a_sparse_file(run):
    app = page("report", run=run.name)
    format = field(app, "Format")
    assert "sparse safetensors (values + gaps)" in format.options
    format.set_value("sparse").run()
    assert "--format sparse --out trimmed.sparse.safetensors" in app.code[0].value
    assert "Three sizes" in texts(app)


def test_runs_from_before_show_nothing_of_it(runs_folder):
    old = fake_run(runs_folder, {}, [{"conv1": 20, "fc1": 500}, {"conv1": 20, "fc1": 300}], [0.9, 0.8])
    for name in ("profile", "run", "report"):
        app = page(name, run=old)
        assert not {"Not zero", "Verification", "Neurons a unit (k)", "Never the maximum"} & set(metrics(app))
    assert "bytes dense" not in app.dataframe[0].value
    assert "Three sizes" not in texts(app)
