"""Networks with many layers, attention and neurons that only go together, on every page."""

import pytest
import torch
from torch import nn

from dashboard import architecture, rules
from dashboard.planning import steps
from tests.dashboard.fakes import fake_run
from tests.dashboard.test_pages import page, texts
from trimcore import models, spec
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.training.prepare import blank

DEPTH = 30


@pytest.fixture
def deep():
    """A network of 30 small convolutions, known by that name while the test runs."""

    @models.register("deep", "for a test")
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        layers = [(nn.Conv2d(in_channels if k == 0 else 8, 8, 3, padding=1), nn.ReLU()) for k in range(DEPTH)]
        blocks = [nn.Sequential(*pair) for pair in layers]
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))

    yield "deep"
    models.REGISTRY.pop("deep")


class Recurrent(nn.Module):
    """Two convolutions, and a GRU over what the second one makes of the rows."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.first, self.relu = nn.Conv2d(channels, 6, 5, stride=4), nn.ReLU()
        self.second, self.gru, self.head = nn.Conv2d(6, 12, 3), nn.GRU(12, 5, batch_first=True), nn.Linear(5, classes)

    def forward(self, x):
        maps = self.second(self.relu(self.first(x)))
        rows, _ = self.gru(maps.flatten(2).transpose(1, 2))
        return self.head(rows.mean(1))


@pytest.fixture
def recurrent():
    """A network with a part that cannot be followed, known by that name while the test runs."""

    @models.register("recurrent", "for a test")
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        return Recurrent(in_channels, num_classes)

    yield "recurrent"
    models.REGISTRY.pop("recurrent")


def plan_of(model: str, layers: list[str], **more) -> dict:
    step = {"layers": layers, "rule": "fraction", "value": 0.25, **more}
    return spec.parse({"model": model, "step": [step]}).model_dump(exclude_none=True)


NAMES = [f"{k}.0" for k in range(DEPTH)]
HALF = [dict.fromkeys(NAMES, 8), {name: 4 if k < 12 else 8 for k, name in enumerate(NAMES)}]


# --- Model ---


def test_why_neurons_are_frozen_is_said_once_a_reason():
    graph = blank("convnext_tiny", 10, 3, 32)
    found = architecture.why_frozen(graph)
    frozen = {name: layer for name, layer in graph.layers.items() if layer.reason}
    normalised = [layer.width for layer in frozen.values() if "normalises over all channels" in layer.reason]
    assert found == [
        ("an operation normalises over all channels together", sum(normalised), len(normalised)),
        ("it is an output of the network", 10, 1),
    ]
    assert len({layer.reason for layer in frozen.values()}) > 3, "with the names of the operations they are many"


def test_a_part_without_neurons_is_counted_by_itself(recurrent):
    graph = blank(recurrent, 10, 1, 28)
    cost = cost_of(graph)
    assert architecture.why_frozen(graph) == [
        ("there is no rule for GRU", 12, 1),
        ("it is an output of the network", 10, 1),
        ("there is no rule for GRU", 0, 1),
    ]
    table = architecture.layer_table(graph, cost).set_index("layer")
    assert (table.kind["gru"], table.width["gru"]) == ("fixed", 0)
    assert table.parameters["gru"] == 3 * 5 * (12 + 5) + 2 * 3 * 5
    assert table.parameters.sum() == cost.parameters


def test_other_reasons_lose_their_names_too():
    graph = blank("mobilenet_v2", 10, 3, 64)
    assert [why for why, _, _ in architecture.why_frozen(graph)] == [
        "it reaches another layer without passing an activation", "it is an output of the network",
    ]  # fmt: skip


def test_layers_that_go_with_another_are_not_frozen():
    graph = blank("resnet18", 10, 3, 32)
    table = architecture.layer_table(graph, cost_of(graph)).set_index("layer")
    assert table.note["layer1.0.conv2"] == "goes with conv1"
    assert table.frozen["layer1.0.conv2"] == ""
    assert list(table.index[table.frozen.ne("")]) == ["fc"]
    free = sum(graph.layers[name].width for name in graph.trimmable())
    assert architecture.trimmable_neurons(graph) == free == 64 * 3 + 128 * 3 + 256 * 3 + 512 * 3


def test_model_shows_a_part_without_neurons_without_a_width(recurrent):
    app = page("model")
    app.selectbox[0].set_value(recurrent).run()
    assert not app.exception
    table = app.dataframe[0].value.set_index("layer")
    assert table.width.isna()["gru"]
    assert table.width["head"] == 10
    shown = {metric.label: metric.value for metric in app.metric}
    assert (shown["Trimmable neurons"], shown["Frozen neurons"]) == ("6", "22")
    why = "Why 22 neurons are frozen: there is no rule for GRU (1 layer); it is an output of the network (1 layer)."
    assert f"{why} Fixed as a whole: there is no rule for GRU (1 part)." in texts(app).replace("\\", "")


# --- Plan ---


def test_many_layers_are_a_switch_and_a_list_to_search(deep, launched):
    app = page("plan", draft=plan_of(deep, ["all"]))
    assert not app.pills
    (every,) = [toggle for toggle in app.toggle if toggle.label == f"All {DEPTH} layers"]
    assert every.value
    every.set_value(False).run()
    (picked,) = [box for box in app.multiselect if box.label == "Layers"]
    assert (picked.options, picked.value) == (NAMES, [])
    assert "at least one layer" in texts(app)
    picked.set_value(["7.0", "3.0"]).run()
    app.button(key="launch").click().run()
    assert not app.exception
    assert launched[0].step[0].layers == ["3.0", "7.0"]


def test_every_layer_can_be_chosen_again(deep, launched):
    app = page("plan", draft=plan_of(deep, ["3.0", "7.0"]))
    (every,) = [toggle for toggle in app.toggle if toggle.label == f"All {DEPTH} layers"]
    assert not every.value
    every.set_value(True).run()
    app.button(key="launch").click().run()
    assert launched[0].step[0].layers == ["all"]


def test_the_preview_shows_the_layers_that_change(deep, runs_folder):
    app = page("plan", draft=plan_of(deep, ["3.0", "7.0"]))
    assert f"{DEPTH - 2} layers stay as they are." in texts(app)
    removed = app.dataframe[0].value.removed
    assert list(removed) == ["3.0 −2, 7.0 −2"]


def test_thin_layers_are_one_warning(deep):
    app = page("plan", draft=plan_of(deep, ["all"], rule="keep", value=2.0))
    (warning,) = [box.value for box in app.warning if "thin" in box.value]
    assert "and" not in warning.split(",")[0]
    assert warning.count(" of 8 neurons") == 5
    assert f"{DEPTH - 5} more layers" in warning


@pytest.mark.parametrize(("count", "sizes"), [(24, [1] * 24), (25, [3] * 8 + [1]), (138, [12] * 11 + [6])])
def test_an_order_of_many_layers_has_few_steps(count, sizes):
    order = [[str(k)] for k in range(count)]
    found = steps.few_steps(order)
    assert [len(step) for step in found] == sizes
    assert [name for step in found for name in step] == [name for step in order for name in step]


def test_cards_name_the_layers_while_they_can_be_read():
    assert steps.layers_text(["all"]) == "all layers"
    assert steps.layers_text(NAMES[:4]) == "0.0, 1.0, 2.0, 3.0"
    assert steps.layers_text(NAMES[:7]) == "7 layers: 0.0 … 6.0"


# --- a run of it ---


@pytest.mark.parametrize("name", ["profile", "plan", "run", "compare", "report"])
def test_a_run_of_a_deep_network_is_shown(deep, runs_folder, name):
    run_id = fake_run(runs_folder, {"model": deep, "step": [{"layers": ["all"]}]}, HALF, [0.9, 0.8])
    app = page(name, run=run_id, draft=plan_of(deep, ["all"]))
    if name in ("run", "report"):
        assert list(app.dataframe[0].value.configuration) == [
            "0.0 8 · 1.0 8 · 2.0 8 · 3.0 8 · +26 unchanged",
            "0.0 4 · 1.0 4 · 2.0 4 · 3.0 4 · +8 trimmed · +18 unchanged",
        ]


# --- neurons that only go together ---


def test_the_rule_takes_whole_groups():
    groups = [5, 5, 7, 7, 9, 9]
    assert rules.beyond([0.9, 0.1, 0.8, 0.8, 0.1, 0.1], "count", 3, groups) == ([2, 3], None)
    assert rules.beyond([0.9, 0.1, 0.8, 0.8, 0.1, 0.1], "count", 3) == ([0, 2, 3], None)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (range(8), ""), ([0] * 8 + [1] * 8, "2 groups of 8"), ([3, 3, 3], "1 group of 3"),
        ([4, 4, 5, 9, 9, 9], "3 groups of 1 to 3"), ([], ""),
    ],
)  # fmt: skip
def test_how_neurons_go_together_in_words(groups, words):
    assert rules.going_together(groups) == words


def test_the_profile_says_which_neurons_go_together(runs_folder):
    widths = [{"conv1": 20, "conv2": 50, "fc1": 500}]
    grouped = fake_run(runs_folder, {}, widths, [0.9], groups=lambda width: [k // 5 for k in range(width)])
    app = page("profile", run=grouped)
    assert "Its neurons go in 100 groups of 5." in texts(select(app, "fc1"))
    app.segmented_control(key="profile_rule").set_value("count").run()
    app.number_input(key="profile_count_value").set_value(12).run()
    assert app.dataframe[-1].value["would go"].tolist() == [10, 10, 10], "never more than 12, in groups of 5"
    alone = fake_run(runs_folder, {}, widths, [0.9])
    assert "groups of" not in texts(page("profile", run=alone))


def select(app, layer: str):
    next(box for box in app.selectbox if box.label == "Layer").set_value(layer).run()
    assert not app.exception
    return app


def test_a_reason_that_names_a_layer_first():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    graph = trace(network, torch.zeros(1, 1, 8, 8))
    graph.layers["0"].reason = "0 shares its weights with 3"
    assert architecture.why_frozen(graph)[0] == ("it shares its weights with another layer", 4, 1)
