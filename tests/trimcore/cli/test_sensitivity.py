"""The commands `sensitivity` and `propose`, compared with the library."""

import csv
import re
import sys

import pytest

from trimcore import runs, spec
from trimcore.cli.main import main
from trimcore.compute.generators import finished
from trimcore.evaluation.masking import one_shot
from trimcore.graph.costs import cost_of
from trimcore.jobs import control
from trimcore.jobs.worker import carry_out
from trimcore.planning.sensitivity import scanning
from trimcore.planning.targets import Smaller, as_step, propose
from trimcore.spec import Step
from trimcore.training.prepare import open_iteration


@pytest.fixture(scope="module")
def folder(make_spec, tmp_path_factory):
    """The folder of a finished run with two iterations."""
    made = control.prepare_run(make_spec(), tmp_path_factory.mktemp("runs"))
    carry_out(made)
    runs.write_exit(made, "finished", "")
    return made


@pytest.fixture
def trimcore(monkeypatch, capfd, folder):
    def call(command: str, *arguments) -> tuple[int, str, str]:
        asked = [command, folder.name, *map(str, arguments), "--runs", str(folder.parent), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["trimcore", *asked])
        capfd.readouterr()
        code = main()
        return code, *capfd.readouterr()

    return call


def test_an_opened_iteration_measures_the_same_as_the_run(folder):
    rows = {event["iteration"]: event for event in runs.read_events(folder) if event["kind"] == "iteration"}
    for iteration in (0, 2, None):
        found = open_iteration(folder.parent, folder.name, iteration)
        row = rows[2 if iteration is None else iteration]
        assert cost_of(found.graph).widths == row["widths"]
        assert one_shot(found.graph, {}, found.batches()).accuracy == row["validation_accuracy"]
        seen = [e for e in runs.read_events(folder) if e["kind"] == "profiled" and e["iteration"] == row["iteration"]]
        again = found.profile().layers
        apoz = {name: [round(value, 6) for value in layer.apoz.tolist()] for name, layer in again.items()}
        assert apoz == {name: layer["apoz"] for name, layer in seen[-1]["layers"].items()}


def test_sensitivity_prints_and_writes_a_table(trimcore, tmp_path):
    code, out, _ = trimcore("sensitivity", "--iteration", 0, "--fractions", "1,0.5,0.1", "--csv", tmp_path / "s.csv")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["layer", "100%", "50%", "10%"]
    assert [line.split()[0] for line in lines[1:]] == ["conv1", "conv2", "fc1"]
    with open(tmp_path / "s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer"], float(row["kept_fraction"])) for row in rows[:3]] == [
        ("conv1", 1.0), ("conv1", 0.5), ("conv1", 0.1),
    ]  # fmt: skip
    assert rows[4]["kept"] == "25"
    assert len({row["accuracy"] for row in rows if float(row["kept_fraction"]) == 1}) == 1


def test_a_speed_is_measured_and_the_times_of_layers_are_kept(trimcore, folder):
    """The figure is the machine's, so only what must hold on every machine is checked."""
    code, out, _ = trimcore("propose", "--iteration", 0, "--faster", 1.05, "--smaller", 2, "--batch", 4)
    assert code == 0
    found = re.search(r"# ([\d.e+-]+) of ([\d.e+-]+) ms per batch of 4, measured \(([\d.]+) times faster; ", out)
    after, before, times = map(float, found.groups())
    assert before / after == pytest.approx(times, rel=0.02)
    assert [path.suffix for path in (folder.parent / ".times").iterdir()] == [".json"]
    parameters = re.search(r"# ([\d,]+) of ([\d,]+) parameters", out)
    left, whole = (int(text.replace(",", "")) for text in parameters.groups())
    assert 2 * left <= whole


def test_layers_are_compared_by_measured_loss_unless_asked_otherwise(trimcore, folder):
    found = open_iteration(folder.parent, folder.name, 0)
    profile = found.profile(found.spec.profile.examples)
    for flags, sensitivity in (
        ([], finished(scanning(found.graph, profile, found.batches(500), task=found.task))), (["--by-apoz"], None),
    ):  # fmt: skip
        code, out, _ = trimcore("propose", "--iteration", 0, "--smaller", 3, *flags)
        assert code == 0
        wanted = propose(found.graph, profile, Smaller(3), sensitivity=sensitivity, cost_aware=True)
        (step,) = spec.loads(out.split("\n#")[0]).step
        assert step == Step(**as_step(wanted, profile))


@pytest.mark.parametrize("how", [["--smaller", "3"], ["--less-work", "2"], ["--no-layer-above", "0.7"]])
def test_a_proposed_step_meets_its_target(trimcore, folder, how):
    code, out, _ = trimcore("propose", "--iteration", 0, *how)
    assert code == 0
    text, said = out.split("\n#")
    (step,) = spec.loads(text).step
    found = open_iteration(folder.parent, folder.name, 0)
    kept = {name: int(step.rule_for(name).value) for name in step.layers}
    widths = cost_of(found.graph).widths
    assert all(0 < kept[name] <= widths[name] for name in kept)
    sizes = [words for words in said.split(";")[0].split(", ") if " of " in words]
    parameters, macs = (int(words.split(" of ")[0].replace(",", "")) for words in sizes)
    base = cost_of(found.graph)
    if how[0] == "--smaller":
        assert base.parameters / parameters >= 3
    if how[0] == "--less-work":
        assert base.macs / macs >= 2
    assert "validation accuracy before retraining" in said
    assert "on 20 examples" in said


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["propose"], "give a target: --smaller, --less-work, --faster, --within"),
        (["propose", "--smaller", 2, "--no-layer-above", 0.9], "NoLayerAbove cannot be combined"),
        (["propose", "--accuracy", 0.9, "--by-apoz"], "--accuracy needs the measured loss"),
        (["propose", "--faster", 1000], "was not reached: the fastest network that was timed"),
        (["propose", "--smaller", 100_000], "100000"),
        (["propose", "--smaller", 2, "--iteration", 9], "there is no checkpoint"),
        (["sensitivity", "--fractions", "1,x"], "--fractions needs numbers"),
        (["sensitivity", "--fractions", "1,2"], "above 0 and up to 1"),
        (["sensitivity", "--csv", "/nowhere/s.csv"], "cannot write '/nowhere/s.csv'"),
    ],
)
def test_a_user_error_is_one_line(trimcore, arguments, line):
    code, _, err = trimcore(*arguments)
    assert code == 2
    assert line in err
    assert len([text for text in err.splitlines() if text.startswith("trimcore:")]) == 1
