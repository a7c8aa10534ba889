"""The table of networks that nobody wrote for a pruning tool, and a few of them that need no optional package."""

import csv
import statistics
from pathlib import Path

import pytest
import torch
from torch import nn

from tests import wild
from tests.trimcore.lost import distinct, judged, lost_rows
from tests.trimcore.oracle import random_plan
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import prune

TABLE = Path(__file__).with_name("wild.csv")
LIVE = {  # torchvision's networks, at inputs that are quick
    "tv/fcn_resnet50": (1, 3, 32, 32),
    "tv/lraspp_mobilenet_v3_large": (1, 3, 64, 64),
    "tv/r2plus1d_18": (1, 3, 4, 32, 32),
}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return list(csv.DictReader(TABLE.read_text().splitlines()))


def test_one_row_for_each_network(rows):
    assert len(rows) == 134
    assert [row["network"] for row in rows] == [case.name for case in wild.cases()]
    assert list(rows[0]) == wild.COLUMNS


def test_pruned_networks_are_exact(rows):
    outcomes = [row["outcome"] for row in rows]
    assert not {"WRONG", "absent"} & set(outcomes)
    assert outcomes.count("exact") >= 128
    exact = [row for row in rows if row["outcome"] == "exact"]
    assert max(float(row[f"difference_{percent}"]) for row in exact for percent in (25, 50)) < 1e-8


def test_networks_that_are_not_pruned_have_a_reason(rows):
    others = [row for row in rows if row["outcome"] != "exact"]
    assert not [row for row in others if row["outcome"] == "nothing" and not row["reasons"]]
    told = ("nothing", "refused: ", "over ", "unchecked")
    assert not [row for row in others if not row["outcome"].startswith(told) or row["outcome"] == "refused: "]


def test_most_neurons_of_most_networks_can_be_removed(rows):
    assert sum(float(row["share"] or 0) >= 0.5 for row in rows) >= 120
    assert statistics.median(float(row["ratio_25"]) for row in rows if row["ratio_25"]) >= 1.4


def test_with_channels_of_normalised_streams_the_median_is_smaller_still(rows):
    cut = [row for row in rows if row["embeddings_ratio"]]
    assert len(cut) == sum(bool(row["ratio_25"]) for row in rows)
    assert statistics.median(float(row["embeddings_ratio"]) for row in cut) >= 1.6
    assert max(float(row["embeddings_difference"]) for row in cut) < 1e-8


@pytest.mark.parametrize("name", LIVE)
def test_live(name):
    case = next(case for case in wild.cases() if case.name == name)
    network, x = case._replace(shape=LIVE[name]).ready()
    graph = trace(network, x)
    small = prune(network, random_plan(graph, 0.25, seed=0), graph=graph)
    assert judged(network, small, x).word == "exact"
    assert wild.parameters(network) > 1.3 * wild.parameters(small)


def perceptron(hidden: list[int], inputs: list[int] | None = None) -> nn.Module:
    """Three layers, of which the hidden one keeps only some neurons, and the next reads only some inputs."""
    torch.manual_seed(0)
    network = distinct(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), seed=1)
    first, last = network[0], network[2]
    first.weight, first.bias = nn.Parameter(first.weight[hidden]), nn.Parameter(first.bias[hidden])
    last.weight = nn.Parameter(last.weight[:, hidden if inputs is None else inputs])
    return network


def test_oracle_tells_a_right_cut_from_a_wrong_one():
    x = torch.rand(5, 4, dtype=torch.float64)
    full = perceptron([0, 1, 2, 3, 4, 5])
    assert judged(full, perceptron([0, 2, 3, 5]), x).word == "exact"
    assert judged(full, perceptron([0, 2, 3, 5], inputs=[0, 1, 2, 3]), x).word == "WRONG"
    assert judged(full, perceptron([0, 1, 2, 3, 4, 5]), x).word == "unchecked", "nothing was lost"


def test_lost_rows():
    full = torch.arange(12.0).reshape(4, 3)
    assert lost_rows(full, full[[0, 3]], 0) == [1, 2]
    assert lost_rows(full, full[:, [1]], 1) == [0, 2]
    assert lost_rows(full, full[[0, 3]] + 0.5, 0) is None
