"""The shapes of every layer, by hand, before and after cuts."""

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from tests.trimcore.nets import NETS
from trimcore import models
from trimcore.graph.costs import cost_of
from trimcore.graph.shape_table import COLUMNS, arrows, changed, layer_shapes, shape_table
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.surgery.cut import prune

DIGIT = torch.zeros(1, 1, 28, 28)


def rows(model: nn.Module, x: Tensor, plan: dict, **options) -> dict[str, tuple]:
    """layer -> kind, and each pair of values before and after, of a network and of the network after the plan."""
    small = prune(model, plan, graph=trace(model, x, **options))
    table = shape_table(layer_shapes(trace(model, x)), layer_shapes(trace(small, x)))
    assert list(table.columns) == COLUMNS
    return {row[1]: row[2:] for row in table.itertuples()}


def test_lenet_by_hand():
    found = rows(build("lenet5"), DIGIT, {"conv2": range(10), "fc1": range(100)})
    assert found == {
        "conv1": ("conv", "20x1x5x5", "20x1x5x5", "20x24x24", "20x24x24", 520, 520, 288_000, 288_000),
        "conv2": ("conv", "50x20x5x5", "40x20x5x5", "50x8x8", "40x8x8", 25_050, 20_040, 1_600_000, 1_280_000),
        "fc1": ("linear", "500x800", "400x640", "500", "400", 400_500, 256_400, 400_000, 256_000),
        "fc2": ("linear", "10x500", "10x400", "10", "10", 5_010, 4_010, 5_000, 4_000),
    }


def test_norms_and_grouped_convolutions():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), nn.GroupNorm(8, 8), nn.ReLU(), nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    found = rows(model, torch.zeros(5, 3, 6, 4), {"0": [0, 7]})
    assert found == {
        "0": ("conv", "8x3x3x3", "6x3x3x3", "8x6x4", "6x6x4", 216, 162, 24 * 216, 24 * 162),
        "1": ("norm", "8", "6", "8x6x4", "6x6x4", 16, 12, 0, 0),
        "3": ("depthwise", "8x1x3x3", "6x1x3x3", "8x3x2", "6x3x2", 80, 60, 6 * 72, 6 * 54),
        "4": ("norm", "8", "6", "8x3x2", "6x3x2", 16, 12, 0, 0),
        "6": ("conv", "2x8x1x1", "2x6x1x1", "2x3x2", "2x3x2", 18, 14, 6 * 16, 6 * 12),
    }


class Attending(nn.Module):
    """Two heads of four dimensions over five tokens, with a learned position and a norm."""

    def __init__(self):
        super().__init__()
        self.first, self.position = nn.Linear(3, 8), nn.Parameter(torch.zeros(1, 5, 8))
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) + self.position
        return self.last(self.norm(x + self.attention(x, x, x, need_weights=False)[0]))


def test_attention_loses_a_head():
    found = rows(Attending(), torch.zeros(7, 5, 3), {"attention": [0, 1, 2, 3]}, whole_heads=True)
    assert list(found) == ["first", "position", "attention", "attention.products", "attention.out_proj", "norm", "last"]
    assert found["attention"] == ("linear", "24x8", "12x8", "5x24", "5x12", 216, 108, 5 * 192, 5 * 96)
    products = ("fixed", "", "", "2x5x4", "1x5x4", 0, 0, 2 * 2 * 25 * 4, 2 * 25 * 4)
    assert found["attention.products"] == products
    assert found["attention.out_proj"][1:5] == ("8x8", "8x4", "5x8", "5x8")
    assert found["norm"] == ("norm", "8", "8", "5x8", "5x8", 16, 16, 0, 0)
    assert found["position"][1:7] == ("1x5x8", "1x5x8", "", "", 40, 40)


class Reading(nn.Module):
    """Words, read in both directions, the steps first."""

    def __init__(self):
        super().__init__()
        self.words, self.lstm, self.last = nn.Embedding(11, 6), nn.LSTM(6, 5, bidirectional=True), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.lstm(self.words(x).transpose(0, 1))[0][-1])


def test_recurrent_layers_and_embeddings():
    found = rows(Reading(), torch.zeros(4, 7, dtype=torch.long), {"lstm": [2]})
    assert found["words"] == ("embedding", "11x6", "11x6", "7x6", "7x6", 66, 66, 0, 0)
    before, after = "20x6; 20x5; 20x6; 20x5", "16x6; 16x4; 16x6; 16x4"
    macs = (7 * 2 * (120 + 100), 7 * 2 * (96 + 64))
    assert found["lstm"] == ("recurrent", before, after, "7x10", "7x8", 2 * 260, 2 * 192, *macs)
    assert found["last"][1:5] == ("3x10", "3x8", "3", "3")


def test_a_maximum_that_is_gone_has_empty_cells():
    units, plain = (build("lenet5-maxout", k=k) for k in (4, 1))
    before, after = (layer_shapes(trace(model, DIGIT)) for model in (units, plain))
    (gone,) = set(before) - set(after)
    row = shape_table(before, after).set_index("layer").loc[gone]
    assert (row.kind, row.output_before, row.output_after) == ("maxout", "125", "")
    assert pd.isna(row.parameters_after)
    assert changed(shape_table(before, after)).any()
    assert "→ –" in arrows(shape_table(before, after)).set_index("layer").output[gone]


@pytest.mark.parametrize("name", [*NETS, "swin_t", "convnext_tiny", "googlenet", "resnet18"])
def test_every_parameter_and_every_mac_belongs_to_a_row(name):
    """Also LayerNorms that are called as functions, shifted windows, and heads that only training uses."""
    arguments = {"num_classes": 10, "in_channels": 3, "image_size": 64}
    model, x = (NETS[name](), torch.zeros(1, 3, 8, 8)) if name in NETS else (
        models.empty(name, **arguments), models.example_input(arguments))  # fmt: skip
    graph = trace(model, x)
    found = layer_shapes(graph)
    assert sum(row.parameters for row in found.values()) == graph.parameters
    assert sum(row.macs for row in found.values()) == cost_of(graph).macs
    layers = {name: (row.kind, row.parameters) for name, row in cost_of(graph).layers.items() if row.width}
    assert {name: (found[name].kind, found[name].parameters) for name in layers} == layers


@pytest.mark.parametrize("name", ["swin_t", "resnet18", "vit_b_16"])
def test_shapes_do_not_depend_on_the_batch(name):
    arguments = {"num_classes": 10, "in_channels": 3, "image_size": 64}
    model = models.empty(name, **arguments)
    one, three = (layer_shapes(trace(model, models.example_input(arguments, n))) for n in (1, 3))
    elements = [[[size.numel() for size in row.output] for row in found.values()] for found in (one, three)]
    assert elements[0] == elements[1]


def test_a_shared_layer_has_the_shape_of_each_call_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x)) + self.conv(x)[..., 2:, 2:]

    found = layer_shapes(trace(Twice(), torch.zeros(1, 1, 9, 9)))
    assert found["conv"].output == [(1, 7, 7), (1, 5, 5)]
    assert found["conv"].macs == 9 * (49 + 25 + 49)


def test_arrows_stand_only_where_something_changed():
    model = build("lenet5")
    small = prune(model, {"fc1": range(100)}, DIGIT)
    table = shape_table(*(layer_shapes(trace(each, DIGIT)) for each in (model, small)))
    assert changed(table).tolist() == [False, False, True, True]
    shown = arrows(table, "×").set_index("layer")
    assert shown.loc["conv1"].tolist() == ["conv", "20×1×5×5", "20×24×24", "520", "288,000"]
    assert shown.loc["fc1"].tolist() == [
        "linear", "500×800 → 400×800", "500 → 400", "400,500 → 320,400", "400,000 → 320,000",
    ]  # fmt: skip
