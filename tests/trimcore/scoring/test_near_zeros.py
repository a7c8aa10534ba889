"""What counts as a zero, from the spec to the event, the CSV and the terminal, and what a run measures for ranking."""

import csv
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import nn

from tests.trimcore.training.runs import carry_out, of_kind, step
from trimcore import models, tables
from trimcore.cli.main import cli
from trimcore.data import load as load_data
from trimcore.data.batches import Batches
from trimcore.tables import counted_as_zero, measure_name
from trimcore.training import measurement
from trimcore.training.loop import trim

ONCE = {"base": {"epochs": 0}, "retrain": {"epochs": 0}}


@pytest.fixture(scope="module")
def smooth():
    """A registered network with a SiLU after its first layer and a ReLU after its second."""

    @models.register("smooth-then-relu", "for a test")
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        positions = ((image_size - 5) // 3 + 1) ** 2
        first = [nn.Conv2d(in_channels, 6, 5, stride=3), nn.SiLU(), nn.Flatten()]
        return nn.Sequential(*first, nn.Linear(6 * positions, 12), nn.ReLU(), nn.Linear(12, num_classes))

    yield "smooth-then-relu"
    models.REGISTRY.pop("smooth-then-relu")


@pytest.mark.parametrize(
    ("tolerance", "limits", "words"),
    [
        (0.0, [], "exact zeros"),
        (0.0, [0.0], "exact zeros"),  # requested with tolerance 0
        (0.1, [0.03123], "|activation| ≤ 0.1 × RMS (0.0312)"),
        (0.25, [1.0, 0.5, 2.0], "|activation| ≤ 0.25 × RMS (1, 0.5, 2)"),
        (0.1, [4.0, 0.5, 2.0, 1.0], "|activation| ≤ 0.1 × RMS (0.5 to 4 at its 4 activations)"),
    ],
)
def test_captions(tolerance, limits, words):
    assert counted_as_zero(tolerance, limits) == words
    assert measure_name(tolerance) == ("APoZ (near zero)" if tolerance else "APoZ")


def test_captions_do_not_load_torch():
    """Processes that only display runs use them."""
    code = "import sys, trimcore.spec, trimcore.tables.captions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_event_and_the_csv_state_what_counted_as_zero(smooth, make_spec):
    spec = make_spec(model=smooth, step=[step("all", value=1)], profile={"tolerance": 0.3}, **ONCE)
    events, _, made = carry_out(spec)
    network, data, seen = made[0].build().eval(), load_data(spec.data, image_size=16), []
    network[1].register_forward_hook(lambda m, i, y: seen.append(y.double()))
    with torch.no_grad():
        for x, _ in Batches(data.validation, data, 500, "cpu"):
            network(x)
    values = torch.cat(seen)
    limit = 0.3 * float(values.square().mean().sqrt())
    profiled = of_kind(events, "profiled")[0]["layers"]
    assert profiled["0"]["limits"] == pytest.approx([limit])
    assert profiled["0"]["apoz"] == pytest.approx((values.abs() <= limit).double().mean((0, 2, 3)).tolist(), abs=1e-3)
    assert (profiled["0"]["tolerance"], profiled["3"]["tolerance"], profiled["3"]["limits"]) == (0.3, 0.0, [])
    assert list(tables.layers(events).tolerance) == [0.3, 0.0] * 2


def test_the_progress_bar_reaches_its_end_once(smooth, make_spec, monkeypatch):
    monkeypatch.setattr(measurement, "evaluation_batch", lambda data: 15)
    spec = make_spec(model=smooth, step=[], profile={"examples": 20}, **ONCE)
    for tolerance, bars in ((0.1, [15, 20, 35, 40]), (0.0, [15, 20])):
        asked = spec.model_copy(update={"profile": spec.profile.model_copy(update={"tolerance": tolerance})})
        told = [e.data for e in trim(asked) if e.kind == "progress" and e.data["phase"] == "profile"]
        assert [(data["step"], data["steps"]) for data in told] == [(seen, bars[-1]) for seen in bars]


def test_the_terminal_states_what_counted_as_zero(smooth, pictures, tmp_path):
    arguments = ["profile", "--model", smooth, "--data", f"imagefolder:{pictures}", "--device", "cpu", "--limit", "5"]

    def printed(*more: str) -> list[str]:
        done = CliRunner().invoke(cli, [*arguments, *more], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout.splitlines()

    lines = printed("--tolerance", "0.2", "--csv", str(tmp_path))
    assert lines[1].split()[-1] == "zeros"
    assert "|activation| ≤ 0.2 × RMS (" in lines[2]
    assert lines[3].endswith("exact zeros")
    with open(tmp_path / "layers.csv", encoding="utf-8", newline="") as file:
        assert [row["tolerance"] for row in csv.DictReader(file)] == ["0.2", "0.0"]
    assert "zeros" not in printed("--tolerance", "0")[1]


def test_a_run_can_rank_by_taylor(make_spec, monkeypatch):
    """It removes the neurons whose gates change the loss least, and uses batches no larger than training does."""
    sizes = []
    monkeypatch.setattr(measurement, "Batches", lambda split, data, size, *a, **k: sizes.append(size) or Batches(
        split, data, size, *a, **k))  # fmt: skip
    spec = make_spec(step=[step("conv2", value=10, criterion="taylor")], retrain={"epochs": 0, "batch_size": 7})
    events, _, made = carry_out(spec)
    assert set(sizes) == {7}
    network, data = made[0].build().eval(), load_data(spec.data, image_size=16)
    kept, changes = {}, torch.zeros(50, dtype=torch.float64)
    network.relu2.register_forward_hook(lambda m, i, y: kept.update(y=y.detach().requires_grad_()) or kept["y"])
    for x, labels in Batches(data.validation, data, 500, "cpu"):
        loss = F.cross_entropy(network(x), labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, kept["y"])
        changes += (kept["y"] * slope).sum((2, 3)).abs().double().sum(0).detach()
    (event,) = of_kind(events, "pruned")
    assert event["layers"]["conv2"]["cut"] == sorted(changes.argsort(stable=True)[:10].tolist())
    assert event["layers"]["conv2"]["criterion"] == "taylor"


def test_taylor_is_measured_only_if_a_step_uses_it(make_spec, monkeypatch):
    measured = []
    monkeypatch.setattr(measurement, "profiling", lambda *a, **k: measured.append(k["taylor"]) or _nothing())
    for criterion in ("l2", "taylor"):
        with pytest.raises(RuntimeError, match="far enough"):
            carry_out(make_spec(step=[step("fc1", criterion=criterion)], **ONCE))
    assert measured == [False, True]


def _nothing():
    raise RuntimeError("far enough")
    yield
