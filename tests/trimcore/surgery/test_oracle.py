"""Every built-in architecture: prune random neurons in all trimmable layers and compare with the masked network."""

import gc

import pytest
import torch

from tests.trimcore import zoo
from trimcore import models
from trimcore.graph.summary import free_share
from trimcore.graph.tracing import trace
from trimcore.models.registry import BUILT_IN

ROUNDING = {torch.float64: 1e-5, torch.float32: 1e-2}  # relative to the largest output
NAMES = [name for name in models.REGISTRY if name in BUILT_IN]


@pytest.mark.parametrize("name", NAMES)
def test_pruned_equals_masked(name):
    network, x = zoo.filled(name)
    graph = trace(network, x)
    assert len(graph.trimmable()) >= 3
    large = sum(p.numel() for p in network.parameters()) > 10_000_000
    for ratio, seed in ((0.5, 1),) if large else ((0.25, 0), (0.5, 1)):
        off, effect = zoo.differences(graph, x, ratio, seed)
        assert off < ROUNDING[x.dtype]
        assert effect > 0.03, "the plan removes only neurons that do not matter"
    del network, graph
    gc.collect()  # the largest takes 2.5 GB


@pytest.mark.parametrize(("name", "more"), [("convnext_tiny", 0.3), ("vit_b_16", 0.3)])
def test_heads_and_streams_too(name, more):
    """`more`: the share of the neurons that can only be removed if heads go whole, or streams are normalised anew."""
    network, x = zoo.filled(name)
    graph = trace(network, x, whole_heads=True, embeddings=True)
    assert free_share(graph) - free_share(trace(network, x)) > more
    off, effect = zoo.differences(graph, x, 0.25, 0)
    assert off < ROUNDING[x.dtype]
    assert effect > 0.03, "the plan removes only neurons that do not matter"
    del network, graph
    gc.collect()
