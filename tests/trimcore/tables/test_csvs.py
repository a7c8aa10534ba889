"""The tables of a few events, checked against values computed by hand."""

import csv
import io
import math

import pytest

from trimcore import tables

DESIGNED = {
    "iterations.csv": "iteration,layers_trimmed,widths,parameters,compression,macs,macs_ratio,nonzero_parameters,"
    "accuracy_initial,accuracy_final,loss_final,latency_ms,seconds,validation_accuracy,latency_ratio,latency_1_ms,"
    "latency_1_ratio,k,bytes_dense,bytes_sparse,verification,verification_error,accuracy_reestimated,"
    "metric,metric_initial,metric_reestimated,metric_final,validation_metric,metrics",
    "layers.csv": "iteration,layer,kind,width,parameters,macs,apoz_mean,apoz_std,apoz_min,apoz_max,rule,threshold,"
    "pruned,tolerance,k,weights,zero_weights,no_activation,heads,heads_pruned",
    "neurons.csv": "iteration,layer,neuron,original_neuron,apoz,kept,unit,relevance,head",
}


def layer(kind: str, apoz: list[float], original: list[int], parameters: int, macs: int, **more) -> dict:
    return {"kind": kind, "width": len(apoz), "parameters": parameters, "macs": macs, "apoz": apoz,
            "original": original, **more}  # fmt: skip


def row(iteration: int, **values) -> dict:
    return {
        "kind": "iteration", "iteration": iteration, "layers_trimmed": [], "widths": {"conv1": 4, "fc1": 2},
        "parameters": 100, "compression": 1.0, "macs": 1000, "macs_ratio": 1.0, "nonzero_parameters": 99,
        "accuracy_initial": None, "accuracy_final": 0.5, "loss_final": 1.25, "latency_ms": 0.5, "seconds": 2.0,
        "validation_accuracy": 0.625, **values,
    }  # fmt: skip


def epoch(phase: str, iteration: int, number: int, loss: float) -> dict:
    return {
        "kind": "epoch", "phase": phase, "iteration": iteration, "epoch": number, "epochs": 2, "loss": loss,
        "accuracy": 0.5, "validation_accuracy": 0.25, "lr": 0.01, "images_per_second": 9.0, "seconds": 1.0,
    }  # fmt: skip


BASE = {"conv1": layer("conv", [0.0, 0.5, 1.0, 0.5], [0, 1, 2, 3], 40, 800), "fc1": layer("linear", [0.25, 0.75],
        [0, 1], 60, 200)}  # fmt: skip
AFTER = {"conv1": layer("conv", [0.125, 0.375], [0, 3], 20, 400, tolerance=0.1, limits=[0.25]),
         "fc1": layer("linear", [0.25, 0.75], [0, 1], 40, 150, tolerance=0.0, limits=[])}  # fmt: skip
CUT = {"conv1": {"rule": "mean+std", "threshold": 0.49, "criterion": "apoz", "cut": [1, 2], "original": [1, 2]},
       "fc1": {"rule": "count", "threshold": None, "criterion": "apoz", "cut": [], "original": []}}  # fmt: skip
LAST_CUT = {"conv1": {"rule": "count", "threshold": None, "criterion": "apoz", "cut": [1], "original": [3]}}

EVENTS = [
    {"kind": "started"},
    epoch("base", 0, 1, 2.0),
    {"kind": "profiled", "iteration": 0, "layers": BASE},
    row(0),
    {"kind": "pruned", "iteration": 1, "step": 0, "layers": CUT},
    {"kind": "initial", "iteration": 1, "accuracy": 0.25, "validation_accuracy": 0.375},
    epoch("retrain", 1, 1, 1.5),
    {"kind": "profiled", "iteration": 1, "layers": AFTER},
    row(1, layers_trimmed=["conv1"], widths={"conv1": 2, "fc1": 2}, parameters=60, compression=100 / 60, macs=550,
        macs_ratio=1000 / 550, nonzero_parameters=60, accuracy_initial=0.25, accuracy_final=0.75,
        latency_ratio=1.5, latency_1_ms=0.25, latency_1_ratio=1.25),
    {"kind": "pruned", "iteration": 2, "step": 0, "layers": LAST_CUT},
    {"kind": "initial", "iteration": 2, "accuracy": 0.1, "validation_accuracy": 0.125},
]  # fmt: skip


def parsed(name: str, events: list[dict] = EVENTS) -> list[dict]:
    return list(csv.DictReader(io.StringIO(tables.csv_texts(events)[name])))


@pytest.mark.parametrize("name", DESIGNED)
@pytest.mark.parametrize("events", [EVENTS, EVENTS[:4], EVENTS[:1]])
def test_columns_are_in_the_documented_order(name, events):
    assert tables.csv_texts(events)[name].split("\n")[0] == DESIGNED[name]


def test_iterations_csv_is_exact():
    """The row of iteration 0 is in the format of runs that did not yet compare latency with the base."""
    assert tables.csv_texts(EVENTS)["iterations.csv"] == "\n".join([
        DESIGNED["iterations.csv"],
        "0,,conv1=4;fc1=2,100,1.0,1000,1.0,99,,0.5,1.25,0.5,2.0,0.625,,,,,,,,,,accuracy,,,0.5,0.625,",
        f"1,conv1,conv1=2;fc1=2,60,{100 / 60!r},550,{1000 / 550!r},60,0.25,0.75,1.25,0.5,2.0,0.625,1.5,0.25,1.25,,,,,,,"
        "accuracy,0.25,,0.75,0.625,",
        "",
    ])  # fmt: skip


def test_layers_trimmed_are_separated_like_the_widths():
    table = tables.iterations([row(1, layers_trimmed=["conv2", "fc1"]), row(0)])
    assert list(table.layers_trimmed) == ["", "conv2;fc1"]
    assert list(table.iteration) == [0, 1]


def test_layers_csv_is_exact():
    """0, .5, 1, .5 have mean .5 and population variance (.25 + 0 + .25 + 0) / 4 = 1/8."""
    assert tables.csv_texts(EVENTS)["layers.csv"] == "\n".join([
        DESIGNED["layers.csv"],
        f"0,conv1,conv,4,40,800,0.5,{round(math.sqrt(1 / 8), 6)},0.0,1.0,,,0,0.0,,,,0,,",
        "0,fc1,linear,2,60,200,0.5,0.25,0.25,0.75,,,0,0.0,,,,0,,",
        f"1,conv1,conv,4,40,800,0.5,{round(math.sqrt(1 / 8), 6)},0.0,1.0,mean+std,0.49,2,0.0,,,,0,,",
        "1,fc1,linear,2,60,200,0.5,0.25,0.25,0.75,count,,0,0.0,,,,0,,",
        "",
    ])  # fmt: skip


def test_a_cut_is_listed_once_its_iteration_has_finished():
    """As in iterations.csv, so that the three files always cover the same iterations."""
    lines = tables.csv_texts([*EVENTS, row(2)])["layers.csv"].split("\n")
    assert lines[-3:] == [
        "2,conv1,conv,2,20,400,0.25,0.125,0.125,0.375,count,,1,0.1,,,,0,,",
        "2,fc1,linear,2,40,150,0.5,0.25,0.25,0.75,,,0,0.0,,,,0,,", "",
    ]  # fmt: skip


def test_neurons_csv_lists_kept_neurons_by_their_index_in_the_base():
    found = [tuple(r.values())[:6] for r in parsed("neurons.csv", [*EVENTS, row(2)]) if r["layer"] == "conv1"]
    assert found == [
        *[("0", "conv1", str(i), str(i), str(apoz), "1") for i, apoz in enumerate([0.0, 0.5, 1.0, 0.5])],
        ("1", "conv1", "0", "0", "0.0", "1"), ("1", "conv1", "1", "1", "0.5", "0"),
        ("1", "conv1", "2", "2", "1.0", "0"), ("1", "conv1", "3", "3", "0.5", "1"),
        ("2", "conv1", "0", "0", "0.125", "1"), ("2", "conv1", "1", "3", "0.375", "0"),
    ]  # fmt: skip
    assert {r["kept"] for r in parsed("neurons.csv", [*EVENTS, row(2)]) if r["layer"] == "fc1"} == {"1"}
    assert len(parsed("neurons.csv", [*EVENTS, row(2)])) == 3 * 2 + 4 + 4 + 2


def test_profiles_describe_the_network_after_each_iteration():
    table = tables.profiles(EVENTS)
    conv1 = table[(table.iteration == 1) & (table.layer == "conv1")]
    assert list(conv1.original_neuron) == [0, 3]
    assert list(conv1.apoz) == [0.125, 0.375]
    assert set(conv1.width) == {2}
    assert set(conv1.tolerance) == {0.1}
    assert set(table[table.iteration == 0].tolerance) == {0.0}  # as in old runs, which had no tolerance


def test_work_repeated_after_a_resume_counts_once():
    """The last one counts, wherever it is among the events."""
    again = [
        epoch("retrain", 1, 1, 1.75), {"kind": "profiled", "iteration": 1, "layers": BASE | {"conv1": AFTER["conv1"]}},
        row(1, accuracy_final=0.875),
    ]  # fmt: skip
    events = EVENTS[:9] + [{"kind": "started"}] + again
    assert [r["accuracy_final"] for r in parsed("iterations.csv", events)] == ["0.5", "0.875"]
    assert list(tables.epochs(events).loss) == [2.0, 1.75]
    assert list(tables.epochs(events).columns) == tables.EPOCHS
    assert len(tables.profiles(events)) == len(tables.profiles(EVENTS))
    assert parsed("neurons.csv", events) == parsed("neurons.csv", EVENTS[:9])


def test_epochs_of_all_phases_in_order():
    events = [*EVENTS, epoch("control", 1, 1, 0.5), epoch("control", 1, 2, 0.25)]
    table = tables.epochs(events)
    assert list(zip(table.phase, table.iteration, table.epoch, table.loss, strict=True)) == [
        ("base", 0, 1, 2.0), ("retrain", 1, 1, 1.5), ("control", 1, 1, 0.5), ("control", 1, 2, 0.25),
    ]  # fmt: skip


def test_cuts_show_validation_accuracy_before_and_after_retraining():
    table = tables.cuts(EVENTS)
    assert list(table.label) == ["conv1 −2", "conv1 −1"]
    assert list(table.metric_initial) == [0.375, 0.125]
    assert table.metric_final[0] == 0.625
    assert math.isnan(table.metric_final[1])  # the iteration is still running


def test_the_paper_table_rounds_its_values():
    table = tables.paper_table(EVENTS)
    assert list(table.configuration) == ["conv1 4 · fc1 2", "conv1 2 · fc1 2"]
    assert list(table.compression) == [1.0, 1.67]
    assert list(table["final accuracy %"]) == [50.0, 75.0]
    assert math.isnan(table["initial accuracy %"][0])
    assert table["initial accuracy %"][1] == 25.0


MANY = {f"l{k}": 10 for k in range(12)}


def test_cuts_of_many_layers_name_the_largest():
    few = {f"l{k}": k for k in range(9)}  # eight layers lose neurons
    assert tables.cuts_text(few) == ", ".join(f"l{k} −{k}" for k in range(1, 9))
    assert tables.cuts_text(few | {"l0": 1000}) == "l0 −1,000, l6 −6, l7 −7, l8 −8, 5 more −15"
    assert tables.cuts_text({"conv1": 0}) == ""


def test_configurations_of_many_layers_list_those_that_change():
    two = MANY | {"l3": 4, "l7": 9}
    assert tables.configurations([MANY, two]) == ["l3 10 · l7 10 · +10 unchanged", "l3 4 · l7 9 · +10 unchanged"]
    most = {name: width - k % 6 for k, (name, width) in enumerate(MANY.items())}  # l5, l11 lose 5; l4, l10 lose 4
    middle = MANY | {"l5": 9}
    assert tables.configurations([MANY, middle, most]) == [
        "l4 10 · l5 10 · l10 10 · l11 10 · +8 unchanged", "l4 10 · l5 9 · l10 10 · l11 10 · +8 unchanged",
        "l4 6 · l5 5 · l10 6 · l11 5 · +6 trimmed · +2 unchanged",
    ]  # fmt: skip
    assert tables.configurations([MANY, two], ["l3", "l4"]) == ["l3 10 · +1 unchanged", "l3 4 · +1 unchanged"]
    assert tables.configurations([MANY]) == ["+12 unchanged"]
    assert tables.configurations([]) == []


def test_history_lists_each_layer_over_the_run():
    table = tables.history(EVENTS)
    rows = [tuple(row) for row in table[["iteration", "layer", "width", "pruned"]].itertuples(index=False)]
    assert rows == [(0, "conv1", 4, 0), (0, "fc1", 2, 0), (1, "conv1", 2, 2), (1, "fc1", 2, 0)]
    assert list(table.apoz_mean) == [0.5, 0.5, 0.25, 0.5]
    assert list(table.tolerance) == [0.0, 0.0, 0.1, 0.0]
    assert tables.history([]).empty


def test_profiles_mark_neurons_that_can_only_be_removed_together():
    grouped = BASE | {"conv1": BASE["conv1"] | {"groups": [0, 0, 1, 1]}}
    table = tables.profiles([{"kind": "profiled", "iteration": 0, "layers": grouped}])
    assert list(table.group[table.layer == "conv1"]) == [0, 0, 1, 1]
    assert list(table.group[table.layer == "fc1"]) == [0, 1], "each can go alone"


# --- maxout units, weights held at zero, verification ---

MAXOUT = {"fc1": {"maxout": "max", "k": 3, "examples": 5, "positions": 2, "shares": 6,
                  "counts": [[60, 0, 0], [10, 30, 20]]}}  # fmt: skip
HALVED = {"fc1": {**MAXOUT["fc1"], "k": 2, "shares": 2, "counts": [[15, 5], [20, 0]]}}


def units_of_six(kept: list[int], parameters: int) -> dict:
    return {"fc1": layer("linear", [i / 8 for i in kept], kept, parameters, 7)}


def verified(iteration: int, accuracy: float) -> dict:
    return {"kind": "verified", "iteration": iteration, "pairs": "test", "distance": "cosine", "layer": "fc2",
            "count": 40, "accuracy": accuracy, "standard_error": 0.0125, "folds": [[accuracy, 0.5]] * 10, "auc": 0.875,
            "roc": [[0, 0], [0.25, 1.0], [1, 1]], "seconds": 1.0}  # fmt: skip


SIX = {"fc1": 6, "fc2": 3}
FOUR = {"fc1": 4, "fc2": 3}
ZEROS = {"fc1": {"rule": "sparsity", "value": 0.7, "criterion": "magnitude", "threshold": 0.25, "weights": 90,
                 "zeros": 63, "newly": 60},
         "fc2": {"rule": "sparsity", "value": 0.7, "criterion": "magnitude", "threshold": 0.5, "weights": 10,
                 "zeros": 8, "newly": 8}}  # fmt: skip
RUEDA = [
    {"kind": "profiled", "iteration": 0, "layers": units_of_six([0, 1, 2, 3, 4, 5], 60), "units": MAXOUT},
    verified(0, 0.75),
    row(0, widths=SIX, k={"fc1": 3}, parameters=120, nonzero_parameters=120, bytes_dense=900, bytes_sparse=900,
        verification=0.75, verification_error=0.0125),
    {"kind": "pruned", "iteration": 1, "step": 0, "widths": FOUR, "k": {"fc1": 2}, "layers": {
        "fc1": {"rule": "maxout", "value": 1, "criterion": "relevance", "threshold": None, "cut": [2, 3],
                "original": [2, 3]}}},
    {"kind": "profiled", "iteration": 1, "layers": units_of_six([0, 1, 4, 5], 40), "units": HALVED},
    row(1, widths=FOUR, k={"fc1": 2}, parameters=100, compression=1.2, nonzero_parameters=100, bytes_dense=800,
        bytes_sparse=800),
    {"kind": "weights", "iteration": 2, "step": 1, "widths": FOUR, "k": {"fc1": 2}, "layers": ZEROS},
    {"kind": "initial", "iteration": 2, "accuracy": 0.5, "validation_accuracy": 0.5},
    {"kind": "profiled", "iteration": 2, "layers": units_of_six([0, 1, 4, 5], 40), "units": HALVED},
    verified(2, 0.8),
    row(2, widths=FOUR, k={"fc1": 2}, parameters=100, compression=1.2, nonzero_parameters=29, bytes_dense=800,
        bytes_sparse=300, verification=0.8, verification_error=0.0125, accuracy_reestimated=0.375),
]  # fmt: skip


def test_relevance_is_the_share_of_maxima_and_sums_to_one_per_unit():
    """5 examples at 2 positions, counted in sixths: a unit has 60 sixths of maxima in total."""
    table = tables.units(RUEDA)
    assert list(table.columns) == tables.UNITS
    first = table[table.iteration == 0]
    assert list(zip(first.unit, first.member, first.neuron, strict=True)) == [
        (0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 0, 3), (1, 1, 4), (1, 2, 5),
    ]  # fmt: skip
    assert first.relevance.tolist() == pytest.approx([1, 0, 0, 1 / 6, 1 / 2, 1 / 3])
    assert table.groupby(["iteration", "layer", "unit"]).relevance.sum().tolist() == pytest.approx([1.0] * 6)
    second = table[table.iteration == 1]
    assert list(second.original_neuron) == [0, 1, 4, 5]
    assert list(second.relevance) == [0.75, 0.25, 1.0, 0.0]


def test_runs_without_units_weights_or_pairs_have_empty_tables():
    assert tables.units(EVENTS).empty
    assert tables.sparsity(EVENTS).empty
    assert tables.verifications(EVENTS).empty
    assert tables.rocs(EVENTS).empty
    assert not tables.has_zero_weights(EVENTS), "a dead neuron's zero is not weight pruning"


def test_neurons_csv_has_unit_and_relevance():
    found = [(r["iteration"], r["neuron"], r["kept"], r["unit"], r["relevance"]) for r in parsed("neurons.csv", RUEDA)]
    assert found[6:16] == [
        ("1", "0", "1", "0", "1.0"), ("1", "1", "1", "0", "0.0"), ("1", "2", "0", "0", "0.0"),
        ("1", "3", "0", "1", "0.166667"), ("1", "4", "1", "1", "0.5"), ("1", "5", "1", "1", "0.333333"),
        ("2", "0", "1", "0", "0.75"), ("2", "1", "1", "0", "0.25"), ("2", "2", "1", "1", "1.0"),
        ("2", "3", "1", "1", "0.0"),
    ]  # fmt: skip


def test_layers_csv_of_a_weight_step_includes_unprofiled_layers():
    lines = tables.csv_texts(RUEDA)["layers.csv"].split("\n")
    deviation = round(math.sqrt((6.25 + 2.25 + 2.25 + 6.25) / 4) / 8, 6)  # of 0, 1, 4, 5 eighths, with mean 2.5
    assert lines[2:] == [
        "1,fc1,linear,6,60,7,0.3125,0.213478,0.0,0.625,maxout,,2,0.0,3,,,0,,",
        f"2,fc1,linear,4,40,7,0.3125,{deviation},0.0,0.625,sparsity,0.25,0,0.0,2,90,63,0,,",
        "2,fc2,,3,,,,,,,sparsity,0.5,0,,,10,8,,,", "",
    ]  # fmt: skip


def test_iterations_csv_has_k_bytes_and_verification():
    last = parsed("iterations.csv", RUEDA)[2]
    assert [last[c] for c in tables.ITERATIONS[-12:-6]] == ["fc1=2", "800", "300", "0.8", "0.0125", "0.375"]
    assert [parsed("iterations.csv", RUEDA)[1][c] for c in tables.ITERATIONS[-8:-6]] == ["", ""]


def test_cuts_of_units_and_of_weights_have_labels():
    assert list(tables.cuts(RUEDA).label) == ["fc1 −2 (k 3→2)", "weights: 71 % zero"]
    assert tables.zeros_text({"a": 1}, {"a": 3, "b": 9}) == "weights: 33.3 % zero"
    unfinished = [*RUEDA[:2], RUEDA[3]]
    assert list(tables.cuts(unfinished).label) == ["fc1 −2 (k 3→2)"], "k comes from the profile, before the row exists"


def test_a_cut_without_its_row_is_left_out_of_the_files():
    assert {r["iteration"] for r in parsed("layers.csv", RUEDA[:-1])} == {"0", "1"}


def test_sparsity_after_each_weight_step():
    table = tables.sparsity(RUEDA)
    assert [tuple(row) for row in table.itertuples(index=False)] == [
        (2, "fc1", 90, 63, 0.7, 0.25), (2, "fc2", 10, 8, 0.8, 0.5),
    ]  # fmt: skip


def test_verifications_and_their_curves():
    table, curves = tables.verifications(RUEDA), tables.rocs(RUEDA)
    assert list(zip(table.iteration, table.accuracy, table.auc, strict=True)) == [(0, 0.75, 0.875), (2, 0.8, 0.875)]
    assert list(curves[curves.iteration == 2].false_positive) == [0, 0.25, 1]
    assert list(curves[curves.iteration == 2].true_positive) == [0, 1, 1]


def test_the_paper_table_has_zeros_bytes_and_verification():
    table = tables.paper_table(RUEDA)
    assert list(table.configuration) == ["fc1 6 (2 × 3) · fc2 3", "fc1 4 (2 × 2) · fc2 3", "fc1 4 (2 × 2) · fc2 3"]
    assert list(table["non-zero parameters"]) == [120, 100, 29]
    assert list(table["compression, non-zero"]) == [1.0, 1.2, round(120 / 29, 2)]
    assert list(table["bytes dense"]) == [900, 800, 800]
    assert list(table["bytes sparse"]) == [900, 800, 300]
    assert list(table["verification %"].fillna("")) == ["75.00 ± 1.25", "", "80.00 ± 1.25"]
    assert "bytes dense" not in tables.paper_table(EVENTS)
    assert "verification %" not in tables.paper_table(EVENTS)
    assert "bytes dense" not in tables.paper_table(RUEDA[:6]), "no weight is zero yet"


def test_configurations_omit_units_whose_maximum_is_gone():
    assert tables.configurations([{"fc1": 4}], units=[{"fc1": 1}]) == ["fc1 4"]
    deep = MANY | {"l3": 4}
    captions = tables.configurations([MANY, deep], units=[{"l3": 2}, {"l3": 2}])
    assert captions == ["l3 10 (5 × 2) · +11 unchanged", "l3 4 (2 × 2) · +11 unchanged"]


def test_heads_and_neurons_without_an_activation_are_told():
    """Two heads of two neurons, of which the second goes; the last neuron of another layer passes no activation."""
    qkv = layer("linear", [None] * 4, [0, 1, 2, 3], 20, 20, groups=[0, 0, 1, 1], heads=[0, 0, 1, 1])
    fc = layer("linear", [0.5, None], [0, 1], 10, 10)
    events = [
        {"kind": "profiled", "iteration": 0, "layers": {"qkv": qkv, "fc": fc}}, row(0),
        {"kind": "pruned", "iteration": 1, "layers": {"qkv": {"cut": [2, 3], "original": [2, 3], "heads": 1}}}, row(1),
    ]  # fmt: skip
    shown = [(r["layer"], r["no_activation"], r["heads"], r["heads_pruned"]) for r in parsed("layers.csv", events)]
    assert shown == [("qkv", "4", "2", ""), ("fc", "1", "", ""), ("qkv", "4", "2", "1"), ("fc", "1", "", "")]
    assert [r["head"] for r in parsed("neurons.csv", events)] == ["0", "0", "1", "1", "", ""] * 2
    assert list(tables.cuts(events).label) == ["qkv −2 (1 head)"]
