"""Example tables for charts, of small and very large networks."""

import numpy as np
import pandas as pd

NO_GROUPS = pd.DataFrame(columns=["group", "layer"])
CLASS_INITIAL = [[None] * 3, [0.5, 0.8, None], [0.9, 0.1, None]]
CLASS_FINAL = [[1.0, 0.9, None], [0.98, 0.9, None], [0.99, 0.6, None]]
LENET = {"conv1": 20, "conv2": 50, "fc1": 500}
DEEP = {f"features.{stage}.{block}.block.{k}.0": 32 * stage + k for stage in range(1, 9) for block in range(14)
        for k in range(3)}  # 336 layers
VGG = dict(zip(
    [f"features.{index}" for index in (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34)] + ["classifier.0", "classifier.3"],
    [64, 64, 128, 128, 256, 256, 256, 512, 512, 1024, 1024, 4096, 4096], strict=True,
))  # 13 layers, 12,416 neurons


def neurons(widths, seed=0):
    rng = np.random.default_rng(seed)
    return pd.concat([
        pd.DataFrame({"layer": layer, "neuron": np.arange(width), "apoz": rng.beta(4, 2, width)})
        for layer, width in widths.items()
    ])


def layer_table(widths):
    return pd.DataFrame({
        "layer": list(widths), "kind": "Linear", "width": list(widths.values()),
        "parameters": np.arange(1, len(widths) + 1) * 1000, "macs": np.arange(len(widths), 0, -1) * 5000,
        "frozen": [""] * (len(widths) - 1) + ["output"],
    })


def history_table(widths):
    return pd.DataFrame(
        [(iteration, layer, 0.8 - 0.1 * iteration, width - iteration * width // 5, width // 5)
         for iteration in range(3) for layer, width in widths.items()],
        columns=["iteration", "layer", "apoz_mean", "width", "pruned"],
    )


EPOCHS = pd.DataFrame({
    "iteration": [0, 0, 0, 0, 1, 1, 2, 2], "epoch": [1, 2, 3, 4, 1, 2, 1, 2],
    "loss": [2, 1, 0.5, 0.2, 0.3, 0.2, 0.4, 0.3],
    "metric": [0.90, 0.95, 0.97, 0.98, 0.965, 0.975, 0.955, 0.97],
})
CUTS = pd.DataFrame({
    "iteration": [0, 1, 2], "label": ["", "conv2 −11", "fc1 −74"], "metric_initial": [np.nan, 0.96, 0.12],
    "metric_final": [0.979, 0.974, np.nan],
})
POINTS = pd.DataFrame({
    "run": ["one", "one", "two", "two"], "iteration": [0, 1, 0, 1], "compression": [1.0, 2.0, 1.0, 3.0],
    "metric_initial": [np.nan, 0.9, np.nan, 0.8], "metric_final": [0.98, 0.97, 0.98, 0.96],
})


COURSES = pd.DataFrame([
    {"step.value": value, "seed": seed, "run": value + seed, "iteration": iteration, "metric": 0.98 - 0.01 * iteration,
     "compression": 1 + iteration * float(value), "stopped": value + seed == "21"}
    for value in "12" for seed in "01" for iteration in range(3)
])
ENDS = COURSES[COURSES.iteration == 2].assign(metric=[0.96, 0.98, 0.90, 0.5])


def unit_table(count, k, seed=0):
    """Uneven relevance that adds up to 1 in each unit, with some neurons that are never the maximum."""
    relevance = np.random.default_rng(seed).dirichlet([0.3] * k, count)
    relevance[relevance < 0.01] = 0
    relevance /= relevance.sum(1, keepdims=True)
    return pd.DataFrame({"unit": np.repeat(np.arange(count), k), "member": np.tile(np.arange(k), count),
                         "neuron": np.arange(count * k), "relevance": relevance.ravel()})


def zero_table(layers, iterations=3):
    return pd.DataFrame(
        [(iteration, layer, 100 * weights, 10 * iteration * weights) for iteration in range(1, iterations + 1)
         for weights, layer in enumerate(layers, 1)], columns=["iteration", "layer", "weights", "zeros"],
    )


SIZES = pd.DataFrame({
    "iteration": [0, 1, 2], "parameters": [1000, 800, 800], "nonzero_parameters": [1000, 799, 160],
    "bytes_dense": [4000, 3200, 3200], "bytes_sparse": [4000, 3200, 900],
})
ROC = pd.DataFrame({
    "curve": ["base"] * 3 + ["result"] * 4, "auc": [0.875] * 3 + [0.9375] * 4,
    "false_positive": [0, 0.25, 1, 0, 0.125, 0.5, 1], "true_positive": [0, 1, 1, 0, 0.75, 1, 1],
})
VERIFIED = pd.DataFrame({"iteration": [0, 1, 2], "accuracy": [0.9, 0.92, 0.88], "standard_error": [0.01, np.nan, 0.02]})
WIDTHS = pd.DataFrame({"layer": ["conv1", "conv2", "fc1"], "before": [20, 50, 500], "after": [20, 39, 426]})
NODES = pd.DataFrame({
    "run": ["a"] * 3 + ["b"], "label": ["a"] * 3 + ["b"],
    "iteration": [0, 1, 2, 1], "state": "finished", "compression": [1, 1.5, 2, 3],
    "metric": [0.99, 0.98, 0.97, np.nan],
    "configuration": "20-50-500", "cut": "fc1", "result": [False, False, True, True],
    "parent": [None] * 3 + ["a"], "parent_iteration": [np.nan] * 3 + [1],
})
FATES = pd.DataFrame({"layer": list(VGG), "both": 30, "first": 20, "second": 10, "neither": 4})
BIG = neurons(VGG)


def trace(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def halved(widths):
    return pd.DataFrame({"layer": list(widths), "before": list(widths.values()), "after": [w // 2 for w in
                         widths.values()]})
