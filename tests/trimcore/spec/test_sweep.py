"""The section [sweep]: the grid of its settings, and one line about anything that is wrong with it."""

import tomllib

import pytest

from trimcore import spec
from trimcore.errors import SpecError
from trimcore.spec.sweep import with_settings

TWO_STEPS = """
[[step]]
layers = ["conv2"]
rule = "fraction"
value = 0.3
[[step]]
layers = ["fc1"]
rule = "fraction"
value = 0.2
never_cut = { fc1 = [7] }
"""
ONE_STEP = '[[step]]\nlayers = ["conv2", "fc1"]\nnever_cut = { fc1 = [7] }\n'


def points(text: str) -> list[spec.Point]:
    return spec.points(tomllib.loads(text))


def test_the_grid_has_every_pair_and_the_last_setting_changes_fastest():
    found = points(TWO_STEPS + "[sweep.values]\nstep.0.value = [0.1, 0.5, 0.9]\nseed = [3, 4]\n")
    assert [(p.settings["step.0.value"], p.settings["seed"]) for p in found] == [
        (0.1, 3), (0.1, 4), (0.5, 3), (0.5, 4), (0.9, 3), (0.9, 4),
    ]  # fmt: skip
    assert [(p.spec.step[0].value, p.spec.step[1].value, p.spec.seed) for p in found] == [
        (0.1, 0.2, 3), (0.1, 0.2, 4), (0.5, 0.2, 3), (0.5, 0.2, 4), (0.9, 0.2, 3), (0.9, 0.2, 4),
    ]  # fmt: skip
    assert all(p.spec.sweep is None for p in found)


@pytest.mark.parametrize("written", [
    '[sweep]\nvalues = { "step.value" = [0.1, 0.5] }', "[sweep]\nvalues.step.value = [0.1, 0.5]",
    "[sweep.values]\nstep.value = [0.1, 0.5]", '[sweep.values]\n"step.value" = [0.1, 0.5]',
])  # fmt: skip
def test_a_key_can_be_quoted_or_not_and_without_a_number_is_for_all_steps(written):
    assert [[step.value for step in p.spec.step] for p in points(TWO_STEPS + written)] == [[0.1, 0.1], [0.5, 0.5]]


def test_what_follows_from_a_setting_follows_it():
    """The defaults of a point are those of its own values, not of the spec's."""
    found = points(ONE_STEP.replace("never_cut = { fc1 = [7] }", "") + """
        [sweep.values]
        "retrain.optimizer" = ["sgd", "adamw"]
        "step.0.rule" = ["mean+std", "smaller"]
    """.replace("smaller", "quality"))
    assert [p.spec.retrain.lr for p in found] == [0.02, 0.02, 0.001, 0.001]
    assert [p.spec.step[0].criterion for p in found] == ["apoz", "magnitude", "apoz", "magnitude"]


def test_an_order_divides_the_steps_by_layer():
    found = points(ONE_STEP + '[sweep.values]\norder = [["conv2", "fc1"], ["fc1", "conv2"]]\n')
    assert [[step.layers for step in p.spec.step] for p in found] == [[["conv2"], ["fc1"]], [["fc1"], ["conv2"]]]
    assert [[step.never_cut for step in p.spec.step] for p in found] == [[{}, {"fc1": [7]}], [{"fc1": [7]}, {}]]
    two = points(TWO_STEPS + '[sweep.values]\norder = [["conv2", "fc1"], ["fc1", "conv2"]]\n')
    assert [[step.value for step in p.spec.step] for p in two] == [[0.3, 0.2], [0.2, 0.3]]


def test_the_values_of_a_layer_with_dots_in_its_name():
    values = {"step": [{"layers": ["a.b"], "layer": {"a.b": {"value": 1.0}}}]}
    assert with_settings(values, {"step.0.layer.a.b.value": 2.0})["step"][0]["layer"] == {"a.b": {"value": 2.0}}
    assert values["step"][0]["layer"]["a.b"]["value"] == 1.0, "the values themselves are not changed"


def test_a_section_that_is_not_written_out_can_be_swept():
    found = points(TWO_STEPS + "[sweep.values]\nstep.retrain.epochs = [1, 2]\nbase.lr = [0.1, 0.2]\n")
    assert [(p.spec.step[1].retrain.epochs, p.spec.base.lr) for p in found] == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]


def test_a_spec_with_a_sweep_is_written_and_read_again():
    rule = "stop_behind = 0.02\ntarget = { accuracy = 0.985, smaller = 10 }\n"
    text = f"{TWO_STEPS}[sweep]\n{rule}values.seed = [0, 1]\n"
    parsed = spec.loads(text)
    assert spec.loads(spec.dumps(parsed)) == parsed
    assert parsed.sweep.values == {"seed": [0, 1]}
    assert (parsed.sweep.target.accuracy, parsed.sweep.target.smaller) == (0.985, 10)
    assert "sweep" not in spec.dumps(spec.loads(TWO_STEPS)), "a spec without a sweep is written as before"


@pytest.mark.parametrize(("sweep", "message"), [
    ("values.step.0.value = [0.1, 7]", "sweep, step.0.value = 7: step.0: rule 'fraction' takes a value from 0 to"),
    ("values.step.2.value = [0.1, 0.2]", "sweep, step.2.value = 0.1: the spec has 2 steps, counted from step.0"),
    ("values.retrain.epoch = [1, 2]", "sweep, retrain.epoch = 1: unknown key 'retrain.epoch'"),
    ("values.seed = [0, 1.5]", "sweep, seed = 1.5: seed = 1.5"),
    ("values.seed = [0, -1]", "sweep, seed = -1: seed = -1"),
    ("values.step.0.value = [0.1, nan]", "step.0.value = nan: input should be a finite number"),
    ("values.step.0.criterion = ['apoz', 'best']", "sweep, step.0.criterion = 'best': step.0.criterion = 'best'"),
    ("values.model = ['lenet5', 'no-such-net']", "sweep, model = 'no-such-net'"),
    ("values.step = [1, 2]", "step is a section: name one of its keys"),
    ("values.retrain = [1, 2]", "retrain"),
    ("values.seed.more = [1, 2]", "seed"),
    ("values.seed.more.yet = [1, 2]", "seed"),
    ("values.data = ['mnist', 'mnist-5k']", "data cannot be swept"),
    ("values.name = ['a', 'b']", "name cannot be swept"),
    ("values.seed = []", "seed has no values"),
    ("values.seed = 3", "sweep.values.seed = 3"),
    ("values.seed = [1]", "a sweep has 2 to 64 runs, not 1"),
    ("values.seed = [1, 1]", "seed = 1 is listed twice"),
    (f"values.seed = {list(range(65))}", "a sweep has 2 to 64 runs, not 65"),
    (f"values = {{ seed = {list(range(9))}, 'base.epochs' = {list(range(8))} }}", "a sweep has 2 to 64 runs, not 72"),
    ("values = { seed = [0, 1], 'base.lr' = [0.1], 'base.epochs' = [1] }", "one or two settings, not 3"),
    ("values.seed = [{ a = 1 }, 2]", "a value is a number, a text"),
    ("values = {}", "one or two settings, not 0"),
    ("stop_behind = 0.1", "field required"),
    ("values.seed = [0, 1]\nstop_behind = -0.1", "sweep.stop_behind = -0.1"),
    ("values.seed = [0, 1]\nstop_behind = inf", "sweep.stop_behind = inf"),
    ("values.seed = [0, 1]\nwhen = 3", "unknown key 'sweep.when'; expected one of values, stop_behind, target"),
    ("values.seed = [0, 1]\ntarget = { accuracy = 0.9 }", "a target needs a size to reach"),
    ("values.seed = [0, 1]\ntarget = { smaller = 9 }", "a target needs one value to reach"),
    ("values.seed = [0, 1]\ntarget = { accuracy = 0.9, limit = 0.9, smaller = 9 }", "a target needs one value"),
    ("values.seed = [0, 1]\ntarget = { accuracy = 98, smaller = 9 }", "sweep.target.accuracy = 98"),
    ("values.order = [['conv2', 'fc1'], ['conv2']]", "an order names each layer of the steps once: conv2, fc1"),
    ("values.order = [['conv2', 'fc1'], 'fc1']", "an order names each layer of the steps once: conv2, fc1"),
])  # fmt: skip
def test_errors_are_one_line_and_name_the_setting_and_the_value(sweep, message):
    with pytest.raises(SpecError) as caught:
        spec.loads(f"{TWO_STEPS}[sweep]\n{sweep}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_layers_that_are_ranked_together_have_no_order():
    step = '[[step]]\nlayers = ["conv2", "fc1"]\nrule = "smaller"\nvalue = 2.0\n'
    with pytest.raises(SpecError, match="they have no order"):
        spec.loads(step + '[sweep.values]\norder = [["conv2", "fc1"], ["fc1", "conv2"]]')
    with pytest.raises(SpecError, match="must name their layers"):
        spec.loads('[[step]]\nlayers = ["all"]\n[sweep.values]\norder = [["conv2"], ["fc1"]]')


def test_the_accuracy_of_a_target_is_for_classification():
    text = 'data = "unlabelled:photos"\n[base]\nweights = "w.pt"\n[sweep]\nvalues.seed = [0, 1]\n'
    assert spec.loads(text + "target = { limit = 0.9, smaller = 2 }").sweep.target.limit == 0.9
    with pytest.raises(SpecError, match=r"set sweep\.target\.limit"):
        spec.loads(text + "target = { accuracy = 0.9, smaller = 2 }")


def test_a_spec_without_a_sweep_has_no_points():
    with pytest.raises(SpecError, match=r"the spec has no \[sweep\]"):
        points(TWO_STEPS)
