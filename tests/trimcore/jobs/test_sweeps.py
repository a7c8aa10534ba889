"""Sweeps: which runs they have, what they share, and a launch that was interrupted."""

import copy
import json
import os

import pytest
from filelock import FileLock

from trimcore import runs, spec, tables
from trimcore.errors import RunError, SpecError
from trimcore.jobs import control, sweep_rule, worker
from trimcore.jobs import sweeps as jobs
from trimcore.jobs.locks import lock_path
from trimcore.runs import sweeps
from trimcore.runs.sweeps import Member
from trimcore.system import processes


@pytest.fixture
def values(tiny) -> dict:
    """A sweep of two values, two seeds and two iterations with small pictures."""
    own = tiny.model_dump(exclude_unset=True)
    return {**own, "sweep": {"values": {"step.value": [0.2, 0.6], "seed": [0, 1]}}}


@pytest.fixture
def started(monkeypatch) -> list[str]:
    """The runs that are started; none of them is carried out, but they count as queued."""
    found = []

    def start(folder):
        found.append(folder.name)
        runs.update_status(folder, supervisor=processes.identity())
        return folder, None

    monkeypatch.setattr(control, "start", start)
    monkeypatch.setattr(control, "await_all", list)
    return found


def with_sweep(values: dict, **settings) -> dict:
    return {**values, "sweep": {"values": {key.replace("__", "."): value for key, value in settings.items()}}}


def shared(values: dict) -> list[int | None]:
    return jobs.shared_bases(spec.points(values))


def end(folder, state: str, reason: str = "because") -> None:
    runs.write_exit(folder, state, reason)


def test_points_with_the_same_base_share_it(values):
    assert shared(values) == [0, 1, 0, 1]
    assert shared(with_sweep(values, step__value=[0.2, 0.6], retrain__epochs=[0, 1])) == [0, 0, 0, 0]
    assert shared(with_sweep(values, seed=[0, 1])) == [None, None], "each has its own"
    assert shared(with_sweep(values, base__lr=[0.1, 0.2], retrain__lr=[0.1, 0.2])) == [0, 0, 1, 1]
    assert shared(with_sweep(values, order=[["conv2", "fc1"], ["fc1", "conv2"]])) == [0, 0]
    converted = {**values, "convert": {"to": "maxout", "k": 2}}
    assert shared(with_sweep(converted, convert__epochs=[1, 2], step__value=[0.2, 0.6])) == [0, 0, 1, 1]
    assert shared(with_sweep({**values, "base": {"epochs": 0}}, step__value=[0.2, 0.6])) == [None, None], "no training"
    assert shared(with_sweep({**values, "parent": {"run": "x"}}, step__value=[0.2, 0.6])) == [None, None]
    assert shared(with_sweep({**values, "base": {"weights": "w.pt"}}, step__value=[0.2, 0.6])) == [None, None]


def test_each_run_is_a_plain_spec_and_branches_from_its_base(values, runs_folder, started):
    sweep_id = jobs.launch({**values, "name": "mine"}, runs_folder)
    own = sweeps.members(runs_folder, sweep_id)
    assert started == list(own)
    specs = [spec.load(runs_folder / run_id / "spec.toml") for run_id in own]
    bases, points = specs[:2], specs[2:]
    assert [(base.seed, base.step, base.parent, base.name) for base in bases] == [
        (0, [], None, "mine · base 1"), (1, [], None, "mine · base 2"),
    ]  # fmt: skip
    assert [(p.step[0].value, p.seed, p.parent.run, p.parent.iteration, p.sweep) for p in points] == [
        (0.2, 0, started[0], 0, None), (0.2, 1, started[1], 0, None),
        (0.6, 0, started[0], 0, None), (0.6, 1, started[1], 0, None),
    ]  # fmt: skip
    assert points[2].name == "mine · value 0.6, seed 0"
    assert [member.settings for member in own.values()][2:] == [p.settings for p in spec.points(values)]
    assert {member.points for member in own.values()} == {4}
    assert spec.read(sweeps.sweep_path(runs_folder, sweep_id)) == {**values, "name": "mine"}


def test_nothing_starts_if_a_single_point_is_wrong(values, runs_folder, started):
    with pytest.raises(SpecError, match=r"sweep, step\.value = 7, seed = 0"):
        jobs.launch(with_sweep(values, step__value=[0.2, 7], seed=[0, 1]), runs_folder)
    assert not started
    assert not runs_folder.exists()


def test_a_spec_with_a_sweep_is_not_one_run(values, runs_folder):
    with pytest.raises(SpecError, match="stands for several runs"):
        control.prepare_run(spec.parse(values), runs_folder)


def test_values_with_none_are_kept_as_toml(values, runs_folder, started):
    values["step"][0]["retrain"] = None
    sweep_id = jobs.launch({**values, "stop": {"limit": None}}, runs_folder)
    assert len(started) == 6
    assert spec.read(sweeps.sweep_path(runs_folder, sweep_id))["stop"] == {}


@pytest.mark.parametrize("files", range(1, 12))
def test_a_launch_that_is_killed_between_two_files_leaves_no_run_outside_the_sweep(
    values, runs_folder, started, monkeypatch, files
):
    replace, count = os.replace, iter(range(files))

    def dies(*paths):
        if next(count, None) is None:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        jobs.launch(values, runs_folder)
    monkeypatch.setattr(os, "replace", replace)
    (sweep_id,) = sweeps.list_sweeps(runs_folder)
    for complete in (lambda: None, lambda: jobs.complete(runs_folder, sweep_id)):
        complete()
        own = sweeps.members(runs_folder, sweep_id)
        assert sorted(runs.list_runs(runs_folder)) == sorted(own)
        assert all(runs.state_of(runs_folder / run_id).values["device_key"] == "cpu" for run_id in own)
    assert [(member.base, member.point) for member in own.values()] == [
        (0, None), (1, None), (None, 0), (None, 1), (None, 2), (None, 3),
    ]  # fmt: skip


def test_a_launch_that_was_interrupted_is_completed(values, runs_folder, started, monkeypatch):
    """Killed after the second base and the first point."""
    start, count = control.start, iter(range(3))

    def dies(folder):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return start(folder)

    monkeypatch.setattr(control, "start", dies)
    with pytest.raises(KeyboardInterrupt):
        jobs.launch(values, runs_folder)
    (sweep_id,) = sweeps.list_sweeps(runs_folder)
    before = list(started)
    assert len(before) == 3
    made = list(sweeps.members(runs_folder, sweep_id))
    runs.update_status(runs_folder / made[-1], launcher=None)  # prepared but never started: its launcher is dead
    assert runs.state_of(runs_folder / made[-1]).state == "lost"
    assert not jobs.is_complete(runs_folder, sweep_id)

    monkeypatch.setattr(control, "start", start)
    launched, resumed = jobs.complete(runs_folder, sweep_id)
    own = sweeps.members(runs_folder, sweep_id)
    assert (len(launched), resumed) == (2, made[-1:])
    assert [(member.base, member.point) for member in own.values()] == [
        (0, None), (1, None), (None, 0), (None, 1), (None, 2), (None, 3),
    ]  # fmt: skip
    assert jobs.is_complete(runs_folder, sweep_id)
    parents = [spec.load(runs_folder / run_id / "spec.toml").parent for run_id in list(own)[2:]]
    assert [parent.run for parent in parents] == [before[0], before[1]] * 2
    assert jobs.complete(runs_folder, sweep_id) == ([], []), "a second time changes nothing"


def test_a_launch_that_died_before_its_first_run_is_completed(values, runs_folder, started):
    sweep_id = jobs.create(values, runs_folder)
    assert not jobs.is_complete(runs_folder, sweep_id)
    assert len(jobs.complete(runs_folder, sweep_id)[0]) == 6


def test_complete_resumes_what_did_not_end_but_nothing_that_the_rule_has_stopped(values, runs_folder, started):
    sweep_id = jobs.launch(values, runs_folder)
    ends = [*[("finished", "done")] * 2, ("failed", "out of memory"), ("stopped", "stopped on request"),
            ("stopped", f"{sweeps.BEHIND} x at the same size"), ("stopped", f"{sweeps.MET} x")]  # fmt: skip
    own = list(sweeps.members(runs_folder, sweep_id))
    for run_id, how in zip(own, ends, strict=True):
        end(runs_folder / run_id, *how)
    assert jobs.complete(runs_folder, sweep_id) == ([], own[2:4])
    assert not any(sweeps.member_of(runs_folder / run_id).exempt for run_id in own)


def test_a_run_that_somebody_resumes_goes_on_whatever_the_rule_says(values, runs_folder, started):
    sweep_id = jobs.launch(values, runs_folder)
    first, second = list(sweeps.members(runs_folder, sweep_id))[2:4]
    end(runs_folder / first, "stopped", f"{sweeps.BEHIND} x at the same size: 1% against 2%")
    end(runs_folder / second, "stopped", "stopped on request")
    for run_id in (first, second):
        control.resume(runs_folder, run_id)
    assert sweeps.member_of(runs_folder / first).exempt
    assert not sweeps.member_of(runs_folder / second).exempt


def test_stopping_a_sweep_asks_all_its_active_runs(values, runs_folder, started):
    sweep_id = jobs.launch(values, runs_folder)
    own = list(sweeps.members(runs_folder, sweep_id))
    end(runs_folder / own[0], "finished")
    other = control.prepare_run(spec.parse(without_sweep(values)), runs_folder)
    assert set(jobs.stop(runs_folder, sweep_id)) == set(own[1:])
    assert [runs.requested(runs_folder / run_id) for run_id in own] == ["", *["stop"] * 5]
    assert runs.requested(other) == ""
    with pytest.raises(RunError, match="there is no sweep"):
        jobs.stop(runs_folder, "nowhere")


def without_sweep(values: dict) -> dict:
    return {key: value for key, value in values.items() if key != "sweep"}


def test_a_damaged_sweep_file_is_one_line(values, runs_folder, started):
    sweep_id = jobs.create(values, runs_folder)
    sweeps.sweep_path(runs_folder, sweep_id).write_text("[sweep")
    with pytest.raises(SpecError, match="not valid TOML"):
        jobs.complete(runs_folder, sweep_id)


def test_two_processes_do_not_launch_the_same_runs(values, runs_folder, started, monkeypatch):
    monkeypatch.setattr(jobs, "WAIT", 0.05)
    sweep_id = jobs.create(values, runs_folder)
    with FileLock(lock_path(runs_folder, sweep_id, "sweep")), pytest.raises(RunError, match="another process is"):
        jobs.complete(runs_folder, sweep_id)
    assert not started
    with pytest.raises(RunError, match="is not the id of a sweep"):
        jobs.complete(runs_folder, "../x")
    assert len(jobs.complete(runs_folder, sweep_id)[0]) == 6


# --- real runs ---


def carry_out(values: dict, runs_folder) -> str:
    sweep_id = jobs.create(values, runs_folder)
    for folder in jobs.prepared(runs_folder, sweep_id):
        ended = sweep_rule.verdict(folder) or worker.carry_out(folder, log=folder / "log.txt")
        runs.write_exit(folder, **ended)
    return sweep_id


def test_a_run_from_a_shared_base_is_the_run_that_trains_its_own(values, runs_folder, csvs_of):
    values = with_sweep(values, step__value=[0.2, 0.6])
    sweep_id = carry_out(values, runs_folder)
    base, *own = sweeps.members(runs_folder, sweep_id)
    assert [e["kind"] for e in runs.read_events(runs_folder / base)].count("epoch") == 2
    for run_id, value in zip(own, (0.2, 0.6), strict=True):
        alone = copy.deepcopy(without_sweep(values))
        alone["step"][0]["value"] = value
        folder = control.prepare_run(spec.parse(alone), runs_folder / "alone")
        worker.carry_out(folder, log=folder / "log.txt")
        assert csvs_of(runs_folder / run_id) == csvs_of(folder)
        phases = {e["phase"] for e in runs.read_events(runs_folder / run_id) if e["kind"] == "epoch"}
        assert phases == {"retrain"}, "the base is not trained again"


def test_a_run_that_falls_behind_stops_itself_and_can_be_resumed(values, runs_folder):
    """Another run has 99 % at a hundredth of the size, which its 20 validation images cannot reach by chance."""
    values["sweep"] = {"values": {"step.value": [0.2, 0.3]}, "stop_behind": 0.01}
    sweep_id = jobs.create(values, runs_folder)
    jobs_left = jobs.prepared(runs_folder, sweep_id)
    base = next(jobs_left)
    runs.write_exit(base, **worker.carry_out(base, log=base / "log.txt"))
    own = next(jobs_left)
    rival = runs.create(runs_folder, "lenet5", "")
    sweeps.write_member(rival, Member(sweep_id, 2, point=1, settings={"step.value": 0.3}))
    (rival / "events.jsonl").write_text(json.dumps({
        "kind": "iteration", "iteration": 1, "layers_trimmed": [], "widths": {}, "parameters": 500,
        "compression": 100.0, "macs": 5, "macs_ratio": 2.0, "accuracy_final": 0.9, "validation_accuracy": 0.99,
    }))  # fmt: skip
    ended = worker.carry_out(own, log=own / "log.txt")
    assert ended["state"] == "stopped"
    assert ended["reason"].startswith(f"behind run {rival.name} (value 0.3) at the same size: ")
    runs.write_exit(own, **ended)
    assert [e["iteration"] for e in runs.read_events(own, ("iteration",))] == [0, 1]
    control.reopen(own)
    assert worker.carry_out(own, log=own / "log.txt")["state"] == "finished"
    assert [e["iteration"] for e in runs.read_events(own, ("iteration",))] == [0, 1, 2]


def test_the_sweep_stops_when_its_target_is_met(values, runs_folder):
    values = with_sweep(values, step__value=[0.1, 0.6, 0.3])
    values["sweep"]["target"] = {"accuracy": 0.0, "smaller": 3.0}
    sweep_id = carry_out(values, runs_folder)
    table = jobs.table(runs_folder, sweep_id)
    assert table.state.tolist() == ["finished", "finished", "finished", "stopped"]
    assert table.iterations.tolist() == [0, 2, 1, 0]
    met = table.run[2]
    assert table.reason[2].startswith("it met the sweep's target: validation accuracy")
    assert table.reason[3].startswith(f"the sweep's target was met by run {met} (value 0.6)")
    assert tables.SWEEP[2:] == list(table.columns[2:])
