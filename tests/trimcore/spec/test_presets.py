import math

import pytest

from trimcore.errors import SpecError
from trimcore.graph.costs import cost_of
from trimcore.models import REGISTRY
from trimcore.spec import presets
from trimcore.tables import published
from trimcore.training.prepare import blank

GRAPHS = {
    **dict.fromkeys(("lenet5", "lenet5-maxout", "vgg16-small", "vgg16-small-maxout"), (10, 1, 28)),
    **dict.fromkeys(("resnet18", "mobilenet_v2", "convnext_tiny"), (10, 3, 32)),
    "vgg16": (1000, 3, 224),
}


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_names_trimmable_layers(name):
    spec = presets.preset(name)
    trimmable = blank(spec.model, *GRAPHS[spec.model]).trimmable()
    assert {layer for step in spec.step for layer in step.layers} <= {"all", *trimmable}
    assert spec.name


@pytest.mark.parametrize("model", GRAPHS)
def test_built_in_models_have_presets_with_the_quick_one_first(model):
    names = list(presets.for_model(model))
    assert names
    assert names[0].endswith("quick") or not any(n.endswith("quick") for n in names)
    assert presets.default_for(model) == presets.preset(names[0])


def test_a_model_without_presets_uses_the_generic_one():
    for model in set(REGISTRY) - set(GRAPHS):
        assert presets.default_for(model) == presets.GENERIC.model_copy(update={"model": model})
    assert presets.default_for("some.where:net").model == "some.where:net"
    with pytest.raises(SpecError, match="unknown model 'lenet7'"):
        presets.default_for("lenet7")


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(SpecError, match="lenet5-paper"):
        presets.preset("lenet6")


def test_published_parameters_match_the_widths():
    graph = blank("lenet5", *GRAPHS["lenet5"])
    for configuration, parameters, compression, _, _ in published.LENET5:
        _, conv2, fc1, _ = map(int, configuration.split("-"))
        assert cost_of(graph, {"conv2": range(conv2, 50), "fc1": range(fc1, 500)}).parameters == parameters
        assert round(431_080 / parameters, 2) == compression


def test_the_frontier_presets_reach_their_stated_sizes():
    """The budget steps shrink at least 60 times, then the last four steps set the widths. The sparse preset starts like
    the dense one."""
    spec, sparse = map(presets.preset, ("lenet5-frontier", "lenet5-frontier-sparse"))
    budget, given = spec.step[:-4], spec.step[-4:]
    assert math.prod(step.value**step.iterations for step in budget) >= 60
    for step, parameters in zip(given, (4_728, 3_633, 2_576, 2_129), strict=True):
        widths = {layer: int(step.rule_for(layer).value) for layer in ("conv1", "conv2", "fc1")}
        cut = {layer: range(width, full) for (layer, width), full in zip(widths.items(), (20, 50, 500), strict=True)}
        assert cost_of(blank("lenet5", *GRAPHS["lenet5"]), cut).parameters == parameters
    assert parameters < 431_080 / 200
    shared = {"base", "retrain", "distill", "model", "data"}
    assert spec.model_dump(include=shared) == sparse.model_dump(include=shared)
    assert sparse.step[0] == spec.step[0]
    assert sparse.step[1] == spec.step[1].model_copy(update={"iterations": 1})
