"""Training loops of the user's own, recorded as runs."""

import json

import pytest
import torch
from torch import nn

import trimcore as tc
from trimcore import runs, spec, tables
from trimcore.errors import RunError
from trimcore.files import checkpoint
from trimcore.jobs import control
from trimcore.runs.event_schema import is_valid

MAE = tc.Metric("MAE", higher_is_better=False, percent=False)
INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 2))


def record(run, cuts: int = 2) -> None:
    """A loop as a user would write it, with made-up values of the metric."""
    run.epoch(loss=2.0, validation=0.5, lr=0.1)
    run.epoch(loss=1.0, validation=0.25)
    run.final(test=0.3, validation=0.25)
    for cut in range(1, cuts + 1):
        profile = run.profile([INPUTS])
        run.prune(tc.plan(profile, tc.Count(2), ["0"]))
        run.initial(test=0.9, validation=0.8)
        run.epoch(loss=1.5, validation=0.4)
        run.final(test=0.3 + cut / 8, validation=0.4, RMSE=0.5)


@pytest.fixture
def recorded(runs_folder):
    with tc.record(network(), INPUTS[:1], metric=MAE, data="four numbers", name="mine", iterations=2) as run:
        record(run)
    return runs_folder / run.folder.name


def test_it_is_a_run_like_any_other(recorded):
    events = list(runs.read_events(recorded))
    lines = [json.loads(line) for line in (recorded / "events.jsonl").read_text().splitlines()]
    assert len(events) == len(lines)
    assert [event["kind"] for event in lines if not is_valid(event)] == []
    assert runs.list_runs(recorded.parent) == [recorded.name]
    status = runs.state_of(recorded)
    assert (status.state, status.reason) == ("finished", "the program has come to the end of its loop")
    assert runs.result_of(recorded) == 2
    assert spec.load(recorded / "spec.toml").name == "mine"
    log = (recorded / "log.txt").read_text()
    assert "iteration 1: MAE before retraining 0.9" in log
    assert "iteration 2 done: " in log
    assert tables.metric_of(events) == MAE


def test_the_tables_say_what_the_program_said(recorded):
    events = list(runs.read_events(recorded))
    rows = tables.iterations(events)
    assert list(rows.metric_final) == [0.3, 0.425, 0.55]
    assert list(rows.metric_initial[1:]) == [0.9, 0.9]
    assert list(rows.widths) == ["0=10;2=6;4=2", "0=8;2=6;4=2", "0=6;2=6;4=2"]
    sizes = [4 * n + n + n * 6 + 6 + 14 for n in (10, 8, 6)]
    assert list(rows.parameters) == sizes
    assert list(rows.compression) == [sizes[0] / size for size in sizes]
    assert rows.metrics[2] == "MAE=0.55;RMSE=0.5"
    curve = tables.epochs(events)
    assert list(zip(curve.phase, curve.iteration, curve.epoch, curve.validation_metric, strict=True)) == [
        ("base", 0, 1, 0.5), ("base", 0, 2, 0.25), ("retrain", 1, 1, 0.4), ("retrain", 2, 1, 0.4),
    ]  # fmt: skip
    assert list(tables.cuts(events).label) == ["0 −2", "0 −2"]
    assert {"iterations.csv", "layers.csv", "neurons.csv"} <= {path.name for path in recorded.iterdir()}


def test_neurons_keep_their_numbers_of_the_first_network(runs_folder):
    model = network()
    with tc.record(model, INPUTS[:1], metric=MAE) as run:
        for neurons in ([1, 4], [0, 3]):
            run.prune({"0": neurons})
            run.final(0.5, 0.5)
        left = [i for i in range(10) if i not in (1, 4)]
        left = [i for n, i in enumerate(left) if n not in (0, 3)]
        assert torch.equal(run.network[0].weight, model[0].weight[left])
        cut = [event["layers"]["0"]["original"] for event in runs.read_events(run.folder) if event["kind"] == "pruned"]
        assert cut == [[1, 4], [0, 5]]
        saved = checkpoint.load(runs.checkpoint_path(run.folder, 2))
        assert saved.origins["0"] == left
        assert torch.equal(saved.state["0.weight"], model[0].weight[left])


def test_a_part_of_a_network_is_counted_with_the_rest(runs_folder):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = network(), nn.Linear(2, 3)

    whole = Whole()
    with tc.record(whole.backbone, INPUTS[:1], whole=whole, metric=MAE) as run:
        whole.backbone = run.prune({"0": [0]})
        run.final(0.5, 0.5)
        row = next(event for event in runs.read_events(run.folder) if event["kind"] == "iteration")
        assert row["parameters"] == sum(p.numel() for p in whole.parameters())
        saved = checkpoint.load(runs.checkpoint_path(run.folder, 1))
        assert set(saved.state) == set(whole.state_dict())


def test_an_error_ends_the_run_as_failed_and_goes_on(runs_folder):
    def loop():
        with tc.record(network(), INPUTS[:1]) as run:
            run.epoch(loss=1.0, validation=0.5)
            raise ZeroDivisionError("by\nzero")

    with pytest.raises(ZeroDivisionError):
        loop()
    (name,) = runs.list_runs(runs_folder)
    status = runs.state_of(runs_folder / name)
    assert (status.state, status.reason) == ("failed", "ZeroDivisionError: by")


@pytest.mark.parametrize(("action", "state", "epochs"), [("stop", "stopped", 2), ("finish", "finished", 3)])
def test_the_page_can_stop_it(runs_folder, action, state, epochs):
    """Stop ends the block at the next epoch, Finish at the end of the iteration. The process lives on."""
    with tc.record(network(), INPUTS[:1], metric=MAE) as run:
        assert runs.state_of(run.folder).state == "running"
        run.epoch(loss=1.0, validation=0.5)
        control.ask(runs_folder, run.folder.name, action)
        for _ in range(2):
            run.epoch(loss=1.0, validation=0.5)
        run.final(test=0.5)
        raise AssertionError("the block has not ended")
    assert runs.state_of(run.folder).state == state
    kinds = [event["kind"] for event in runs.read_events(run.folder)]
    assert kinds.count("epoch") == epochs
    assert ("iteration" in kinds) == (action == "finish")


def test_a_loop_that_trains_for_long_is_not_called_stalled(runs_folder):
    with tc.record(network(), INPUTS[:1]) as run:
        runs.update_status(run.folder, heartbeat=0.0)
        assert not runs.state_of(run.folder).stalled


def test_accuracy_is_recorded_as_accuracy(runs_folder):
    with tc.record(network(), INPUTS[:1]) as run:
        run.epoch(loss=1.0, validation=0.75, train=0.5)
        run.final(test=0.5, validation=0.75)
    (row,) = tables.iterations(list(runs.read_events(run.folder))).to_dict("records")
    assert (row["accuracy_final"], row["metric_final"], row["metric"]) == (0.5, 0.5, "accuracy")


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot create a run in"):
        tc.record(network(), INPUTS[:1], runs=tmp_path / "file")


def test_values_may_be_tensors_and_must_be_finite(runs_folder):
    with tc.record(network(), INPUTS[:1], metric=MAE) as run:
        run.epoch(loss=torch.tensor(1.0), validation=torch.tensor(0.5), train=torch.tensor(0.25))
        run.initial(test=torch.tensor(0.5))
        run.final(test=torch.tensor(0.5), RMSE=torch.tensor(0.75))
        for values in ({"loss": float("nan"), "validation": 0.5}, {"loss": 1.0, "validation": float("inf")}):
            with pytest.raises(RunError, match="diverged|must be finite"):
                run.epoch(**values)
    rows = tables.iterations(list(runs.read_events(run.folder)))
    assert (rows.metric_final[0], rows.metrics[0]) == (0.5, "MAE=0.5;RMSE=0.75")


def test_the_result_is_the_last_iteration_that_ended(runs_folder):
    with tc.record(network(), INPUTS[:1], metric=MAE) as run:
        run.final(test=0.5)
        run.prune({"0": [1]})
    assert runs.result_of(run.folder) == 0


def test_the_program_names_its_network_and_data(recorded):
    """Compare takes runs with the same names for comparable. The class names the network by default."""
    asked = spec.load(recorded / "spec.toml")
    assert (asked.model, asked.data) == ("object:Sequential", "object:four_numbers")
    with tc.record(network(), INPUTS[:1], model="two-heads", data="mnist-5k") as run:
        pass
    asked = spec.load(run.folder / "spec.toml")
    assert (asked.model, asked.data) == ("object:two_heads", "object:mnist_5k")
    started = next(runs.read_events(run.folder))
    assert (started["model"], started["data"]) == ("two-heads", "mnist-5k")


def test_the_precision_is_that_of_the_weights(recorded, runs_folder):
    """A recording does not know in which precision the program trains."""
    assert next(runs.read_events(recorded))["device"].endswith("fp32")
    double = network().double()
    with tc.record(double, INPUTS[:1].double()) as run:
        pass
    assert next(runs.read_events(run.folder))["device"].endswith("float64")
