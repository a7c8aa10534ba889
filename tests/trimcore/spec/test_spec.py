"""The spec: valid values, serialisation, and one-line error messages."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimcore import spec
from trimcore.errors import SpecError

EVERYTHING = """
model = "vgg16-small"
data  = "cifar10"
name = "all of it"
seed  = 7
device = "cuda"
image_size = 32
channels = 3
resize = "pad"
whole_heads = true
embeddings = true
[parent]
run = "20260101-093000-lenet5-1a2b"
iteration = 2
[base]
weights = "w.pt"
head = "new"
optimizer = "adamw"
epochs = 11
batch_size = 64
lr = 0.5
momentum = 0.8
weight_decay = 0.001
augment = "shift+flip"
[convert]
to = "relu"
optimizer = "adamw"
k = 2
layers = ["classifier.fc6"]
epochs = 6
batch_size = 64
lr = 0.5
momentum = 0.8
weight_decay = 0.001
augment = "shift+flip"
[devices]
count = 4
[sweep]
values = { "base.lr" = [0.5, 0.25] }
stop_behind = 0.01
target = { accuracy = 0.9, smaller = 3.0, less_work = 2.0 }
[profile]
examples = 300
relevance_examples = 200
tolerance = 0.25
[verify]
pairs = "lfw:faces"
distance = "euclidean"
[retrain]
epochs = 5
batch_size = 32
lr = 0.25
momentum = 0
keep_momentum = true
batchnorm_examples = 400
optimizer = "adamw"
schedule = "constant"
warmup = 0.25
mixup = 0.2
cutmix = 1.0
label_smoothing = 0.1
class_weights = "balanced"
clip = 2.0
accumulate = 4
ema = 0.99
keep = "best"
patience = 3
weight_decay = 0
augment = "shift"
[[step]]
layers = ["conv2", "fc1"]
rule = "fraction"
value = 0.5
iterations = 3
criterion = "l1"
multiple = 16
[step.layer.fc1]
rule = "keep"
value = 4
criterion = "l2"
[step.also_cut]
conv2 = [1, 5]
[step.never_cut]
fc1 = [0]
[step.retrain]
epochs = 9
lr = 0.125
[[step]]
layers = ["all"]
rule = "absolute"
value = 0.9
[stop]
min_accuracy = 0.8
[control]
scratch = true
[log]
tensorboard = true
[distill]
weight = 0.75
temperature = 3.0
"""

STEP = '[[step]]\nlayers = ["conv1", "fc1"]\n'


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as error:
        spec.loads(text)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_an_empty_spec_has_the_documented_defaults():
    found = spec.loads("")
    assert (found.model, found.data, found.seed, found.device) == ("lenet5", "mnist-5k", 0, "auto")
    assert (found.base.weights, found.base.epochs) == ("", 12)
    assert (found.profile.examples, found.profile.tolerance) == (0, 0.1)
    assert (found.retrain.epochs, found.retrain.batch_size, found.retrain.lr) == (4, 128, 0.02)
    assert (found.step, found.stop.min_accuracy, found.control.scratch, found.parent) == ([], 0.0, False, None)
    step = spec.loads('[[step]]\nlayers = ["conv2"]').step[0]
    assert (step.rule, step.value, step.iterations, step.criterion) == ("mean+std", 1.0, 1, "apoz")


def test_every_key_is_read():
    training = {"batch_size": 64, "lr": 0.5, "momentum": 0.8, "weight_decay": 0.001, "augment": "shift+flip"}
    plain = {"optimizer": "adamw", "schedule": "cosine", "warmup": 0.1, "mixup": 0, "cutmix": 0, "label_smoothing": 0,
             "class_weights": "none", "clip": 0, "accumulate": 1, "ema": 0, "keep": "last", "patience": 0}
    retraining = {"epochs": 5, "batch_size": 32, "lr": 0.25, "momentum": 0, "weight_decay": 0, "augment": "shift",
                  "keep_momentum": True, "batchnorm_examples": 400, "optimizer": "adamw", "schedule": "constant",
                  "warmup": 0.25, "mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "class_weights": "balanced",
                  "clip": 2.0, "accumulate": 4, "ema": 0.99, "keep": "best", "patience": 3}
    assert spec.loads(EVERYTHING).model_dump() == {
        "model": "vgg16-small", "data": "cifar10", "task": "classification", "name": "all of it", "seed": 7,
        "device": "cuda", "image_size": 32, "channels": 3, "resize": "pad", "whole_heads": True, "embeddings": True,
        "parent": {"run": "20260101-093000-lenet5-1a2b", "iteration": 2},
        "base": {"weights": "w.pt", "head": "new", "epochs": 11, **plain, **training},
        "options": {},
        "convert": {"to": "relu", "k": 2, "layers": ["classifier.fc6"], "epochs": 6, **plain, **training},
        "profile": {"examples": 300, "relevance_examples": 200, "tolerance": 0.25}, "retrain": retraining,
        "verify": {"pairs": "lfw:faces", "distance": "euclidean"},
        "step": [
            {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.5, "iterations": 3, "criterion": "l1",
             "multiple": 16, "layer": {"fc1": {"rule": "keep", "value": 4.0, "criterion": "l2"}},
             "also_cut": {"conv2": [1, 5]}, "never_cut": {"fc1": [0]},
             "retrain": {**dict.fromkeys(spec.StepRetrain.model_fields), "epochs": 9, "lr": 0.125}},
            {"layers": ["all"], "rule": "absolute", "value": 0.9, "iterations": 1, "criterion": "apoz",
             "multiple": 1, "layer": {}, "also_cut": {}, "never_cut": {}, "retrain": None},
        ],
        "stop": {"min_accuracy": 0.8, "limit": None}, "control": {"scratch": True}, "log": {"tensorboard": True},
        "distill": {"weight": 0.75, "temperature": 3.0}, "devices": {"count": 4},
        "sweep": {
            "values": {"base.lr": [0.5, 0.25]}, "stop_behind": 0.01,
            "target": {"accuracy": 0.9, "limit": None, "smaller": 3.0, "less_work": 2.0},
        },
    }  # fmt: skip


def test_the_default_criterion_depends_on_the_rule():
    plain, units, weights, mixed = spec.loads(
        STEP + STEP + "rule = 'maxout'\n" + STEP + "rule = 'quality'\n"
        + STEP + "criterion = 'taylor'\n[step.layer.fc1]\nrule = 'maxout'\n"
    ).step  # fmt: skip
    assert [step.criterion for step in (plain, units, weights)] == ["apoz", "relevance", "magnitude"]
    assert [weights.weights, units.weights] == [True, False]
    assert (mixed.criterion_for("conv1"), mixed.criterion_for("fc1")) == ("taylor", "relevance")
    fc1 = "[step.layer.fc1]\nrule = 'maxout'\ncriterion = 'l2'"
    own = STEP + "rule = 'maxout'\n[step.layer.conv1]\nrule = 'mean+std'\n" + fc1
    step = spec.loads(own).step[0]
    assert (step.criterion_for("conv1"), step.criterion_for("fc1")) == ("apoz", "l2")
    assert spec.loads(spec.dumps(spec.loads(own))).step[0] == step


def test_iterations_are_counted_and_layers_can_override_the_rule():
    found = spec.loads(EVERYTHING)
    assert found.iterations == 3 + 1
    assert (found.step[0].rule_for("fc1").rule, found.step[0].rule_for("fc1").value) == ("keep", 4)
    assert (found.step[0].rule_for("conv2").rule, found.step[0].rule_for("conv2").value) == ("fraction", 0.5)


def test_a_spec_is_immutable():
    with pytest.raises(ValueError, match="frozen"):
        spec.loads("").seed = 1


# --- refused ---


@pytest.mark.parametrize(
    ("text", "key", "known"),
    [
        ("sede = 1", "'sede'", "seed"),
        ("[base]\nlearning_rate = 1", "'base.learning_rate'", "lr"),
        ("[retrain]\nweights = ''", "'retrain.weights'", "batch_size"),
        ("[profile]\nlimit = 1", "'profile.limit'", "examples"),
        ("[stop]\nmin_acc = 1", "'stop.min_acc'", "min_accuracy"),
        ("[control]\nscrach = true", "'control.scrach'", "scratch"),
        ("[parent]\nrun = 'a'\niter = 1", "'parent.iter'", "iteration"),
        (STEP + "rules = 'keep'", "'step.0.rules'", "criterion"),
        (STEP + "[step.layer.fc1]\nthreshold = 1", "'step.0.layer.fc1.threshold'", "rule, value"),
        ('[base]\n"a\\nb" = 1', r"'base.a\nb'", "epochs"),
    ],
)
def test_an_unknown_key_is_refused_with_the_known_ones(text, key, known):
    line = refusal(text)
    assert line.startswith(f"unknown key {key}; ")
    assert known in line.partition("expected one of ")[2]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("model = 'lenet7'", "model", "'lenet7'"),
        ("data = 'mnits'", "data", "'mnits'"),
        ("data = 'imagefolder:'", "data", "imagefolder:"),
        ("device = 'gpu'", "device", "'gpu'"),
        ("device = 'cuda:x'", "device", "'cuda:x'"),
        ("device = 'cpu:1'", "device", "'cpu:1'"),
        ("seed = -1", "seed", "-1"),
        ("seed = 2147483648", "seed", "2147483648"),
        ("seed = true", "seed", "True"),
        ("seed = 1.0", "seed", "1.0"),
        ("seed = 1979-05-27", "seed", "1979"),
        ("image_size = 5000", "image_size", "5000"),
        (f"name = '{'x' * 81}'", "name", "xxxxxxxxxx"),
        ("base = 3", "base", "3"),
        ("[base]\nlr = nan", "base.lr", "nan"),
        ("[base]\nlr = inf", "base.lr", "inf"),
        ("[base]\nlr = 0", "base.lr", "0"),
        ("[base]\nlr = '0.1'", "base.lr", "'0.1'"),
        ("[base]\nepochs = 10_000_001", "base.epochs", "10000001"),
        ("[base]\nepochs = -1", "base.epochs", "-1"),
        ("[retrain]\nlr = true", "retrain.lr", "True"),
        ("[retrain]\nbatch_size = 0", "retrain.batch_size", "0"),
        ("[retrain]\nmomentum = 1", "retrain.momentum", "1"),
        ("[retrain]\nweight_decay = -0.1", "retrain.weight_decay", "-0.1"),
        ("[retrain]\naugment = 'mirror'", "retrain.augment", "'mirror'"),
        ("[profile]\nexamples = -5", "profile.examples", "-5"),
        ("[profile]\ntolerance = 1.5", "profile.tolerance", "1.5"),
        ("[profile]\ntolerance = -0.1", "profile.tolerance", "-0.1"),
        ("[profile]\ntolerance = nan", "profile.tolerance", "nan"),
        ("[profile]\ntolerance = '0.1'", "profile.tolerance", "'0.1'"),
        ("[stop]\nmin_accuracy = 98", "stop.min_accuracy", "98"),
        ("[control]\nscratch = 1", "control.scratch", "1"),
        ("[parent]\niteration = 1", "parent.run", "required"),
        ("[parent]\nrun = 'a'\niteration = -1", "parent.iteration", "-1"),
        ("step = 3", "step", "3"),
        ("[[step]]\nrule = 'keep'", "step.0.layers", "required"),
        ("[[step]]\nlayers = []", "step.0.layers", "[]"),
        ("[[step]]\nlayers = 'conv1'", "step.0.layers", "'conv1'"),
        (STEP + "rule = 'median'", "step.0.rule", "'median'"),
        (STEP + "criterion = 'l3'", "step.0.criterion", "'l3'"),
        (STEP + "rule = 'maxout'\nvalue = 1.5", "step.0", "integer of at least 1, not 1.5"),
        (STEP + "rule = 'maxout'\ncriterion = 'taylor'", "step.0", "not by 'taylor'"),
        (STEP + "rule = 'maxout'\nalso_cut = {fc1 = [1]}", "step.0", "also_cut lists neurons of 'fc1'"),
        (STEP + "criterion = 'relevance'", "step.0", "it needs rule 'maxout'"),
        (STEP + "rule = 'sparsity'\nvalue = 1.0", "step.0", "between 0 and 1, not 1.0"),
        (STEP + "rule = 'quality'\nvalue = 0.0", "step.0", "above 0, not 0.0"),
        (STEP + "rule = 'sparsity'\nvalue = 0.5\ncriterion = 'l1'", "step.0", "cannot rank by 'l1'"),
        (STEP + "criterion = 'magnitude'", "step.0", "cannot rank by 'magnitude'"),
        (STEP + "[step.layer.fc1]\nrule = 'sparsity'\nvalue = 0.5", "step.0", "to another step"),
        (STEP + "rule = 'sparsity-overall'\nvalue = 0.5\n[step.layer.fc1]\nrule = 'sparsity'\nvalue = 0.5", "step.0",
         "applies to all layers of a step"),
        (STEP + "rule = 'sparsity'\nvalue = 0.5\n[step.never_cut]\nfc1 = [0]", "step.0", "never_cut lists neurons"),
        ("[verify]\npairs = 'faces'", "verify.pairs", "expected 'test' or 'lfw:PATH'"),
        ("[verify]\npairs = 'lfw:'", "verify.pairs", "unknown pairs 'lfw:'"),
        ("[options]\nk = 2", "spec", "lenet5 has no option 'k'"),
        ("model = 'lenet5-maxout'\n[options]\nk = 99", "spec", "from 1 to 16 for k, not 99"),
        ("[convert]\nto = 'maxout'\nk = 1", "convert.k", "1"),
        (STEP + "iterations = 0", "step.0.iterations", "0"),
        (STEP + "value = nan", "step.0.value", "nan"),
        (STEP + "rule = 'fraction'\nvalue = 1.5", "step.0", "1.5"),
        (STEP + "rule = 'absolute'\nvalue = -0.5", "step.0", "-0.5"),
        (STEP + "rule = 'count'\nvalue = 2.5", "step.0", "2.5"),
        (STEP + "rule = 'keep'\nvalue = 0", "step.0", "'keep'"),
        (STEP + "[step.layer.fc1]\nrule = 'keep'\nvalue = 0", "step.0.layer.fc1", "'keep'"),
        (STEP + "[step.layer.conv2]\nrule = 'keep'", "step.0", "'conv2'"),
        (STEP + "[step.also_cut]\nconv2 = [1]", "step.0", "'conv2'"),
        (STEP + "[step.never_cut]\nfc2 = [1]", "step.0", "'fc2'"),
        (STEP + "[step.also_cut]\nfc1 = [-1]", "step.0.also_cut.fc1.0", "-1"),
        (STEP + "rule = 'absolute'\nvalue = 0.5\ncriterion = 'l1'", "step.0", "'l1'"),
        (STEP + "rule = 'absolute'\nvalue = 0.5\ncriterion = 'taylor'", "step.0", "'taylor'"),
        (STEP + "criterion = 'random'\n[step.layer.fc1]\nrule = 'absolute'\nvalue = 0.5", "step.0", "(fc1)"),
        ('[[step]]\nlayers = ["all"]\n[step.layer."a\\nb"]\nrule = "median"', r"a\nb", "'median'"),
    ],
)
def test_an_invalid_value_is_refused_in_one_line_with_key_and_value(text, key, value):
    line = refusal(text)
    assert key in line
    assert value in line


def test_unknown_names_are_refused_with_the_known_ones():
    assert "lenet5" in refusal("model = 'lenet7'")
    assert "mnist-5k" in refusal("data = 'x'")
    assert "cuda:N" in refusal("device = 'x'")


@pytest.mark.parametrize("text", ["seed = ", "a = 1\na = 2", "seed = 1" + "0" * 5000, "a = " + "[" * 5000 + "]" * 5000])
def test_invalid_toml_is_refused(text):
    assert refusal(text).startswith("the spec is not valid TOML: ")


# --- files ---


def test_a_utf_8_file_is_read(tmp_path):
    (tmp_path / "spec.toml").write_text('name = "Größe"', "utf-8")
    assert spec.load(tmp_path / "spec.toml").name == "Größe"


@pytest.mark.parametrize("content", [None, b'name = "Gr\xf6\xdfe"'])
def test_the_error_names_an_unreadable_file(tmp_path, content):
    path = tmp_path / "spec.toml"
    if content:
        path.write_bytes(content)
    with pytest.raises(SpecError, match="UTF-8" if content else "No such file") as error:
        spec.load(path)
    assert repr(str(path)) in str(error.value)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(SpecError, match="directory"):
        spec.load(Path(tmp_path))


# --- round trips ---

texts = st.text(st.characters(codec="utf-8"), max_size=20)
shares = st.floats(0, 1)
rules = st.one_of(
    st.fixed_dictionaries({"rule": st.just("mean+std"), "value": st.floats(allow_nan=False, allow_infinity=False)}),
    st.fixed_dictionaries({"rule": st.just("fraction"), "value": shares}),
    st.fixed_dictionaries({"rule": st.sampled_from(["count", "keep"]), "value": st.integers(1, 10**6)}),
)
indices = st.lists(st.integers(0, 10**6), max_size=3)
trainings = st.fixed_dictionaries(
    {"epochs": st.integers(0, 10**7), "lr": st.floats(1e-300, 10), "momentum": st.floats(0, 0.99)},
    optional={"batch_size": st.integers(1, 65_536), "augment": st.sampled_from(["none", "shift"])},
)


@st.composite
def steps(draw):
    layers = draw(st.lists(texts, min_size=1, max_size=3))
    name = st.sampled_from(layers)
    return {
        **draw(rules), "layers": layers, "iterations": draw(st.integers(1, 1000)),
        "criterion": draw(st.sampled_from(["apoz", "l1", "l2", "mean-activation", "taylor", "random"])),
        "layer": draw(st.dictionaries(name, rules)), "also_cut": draw(st.dictionaries(name, indices)),
        "never_cut": draw(st.dictionaries(name, indices)),
    }  # fmt: skip


specs = st.fixed_dictionaries(
    {"name": texts, "seed": st.integers(0, 2**31 - 1), "step": st.lists(steps(), max_size=3)},
    optional={
        "parent": st.fixed_dictionaries({"run": texts, "iteration": st.integers(0, 9)}),
        "base": trainings, "retrain": trainings, "stop": st.fixed_dictionaries({"min_accuracy": shares}),
        "control": st.fixed_dictionaries({"scratch": st.booleans()}), "device": st.sampled_from(["mps", "cuda:3"]),
    },
)  # fmt: skip


@given(specs)
def test_a_spec_survives_a_round_trip(values):
    asked = spec.parse(values)
    assert spec.loads(spec.dumps(asked)) == asked
    assert asked.seed == values["seed"]
    assert [step.layers for step in asked.step] == [step["layers"] for step in values["step"]]
