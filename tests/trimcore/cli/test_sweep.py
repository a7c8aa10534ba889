"""Sweeps on the command line."""

import csv

import pytest

from trimcore import runs, spec
from trimcore.jobs import control
from trimcore.runs import sweeps
from trimcore.system import processes


@pytest.fixture
def spec_file(tiny, tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(spec.dumps(tiny) + "\n[sweep.values]\nstep.value = [0.2, 0.6]\n")
    return path


@pytest.fixture
def idle(monkeypatch):
    """No process is started; the runs count as queued."""

    def start(folder):
        runs.update_status(folder, supervisor=processes.identity())
        return folder, None

    monkeypatch.setattr(control, "start", start)
    monkeypatch.setattr(control, "await_all", list)


def test_a_sweep_in_the_foreground(trimcore, spec_file, runs_folder, tmp_path):
    code, out, err = trimcore("run", spec_file)
    assert code == 0, err
    (sweep_id,) = sweeps.list_sweeps(runs_folder)
    assert out.startswith(f"{sweep_id}\n")
    assert f"{sweep_id}: 2 of 2 runs, 1 base network: 3 finished" in out
    assert trimcore("sweep") == (0, f"{sweep_id:32} 2 of 2 runs, 1 base network: 3 finished\n", "")
    code, out, err = trimcore("sweep", sweep_id, "--csv", tmp_path / "sweep.csv")
    assert (code, err) == (0, "")
    with open(tmp_path / "sweep.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["step.value"] for row in table] == ["", "0.2", "0.6"]
    assert {row["state"] for row in table} == {"finished"}
    assert all(row["run"] in out for row in table)


def test_launch_and_branch_print_the_id_of_the_sweep(trimcore, spec_file, runs_folder, idle, tiny):
    code, out, err = trimcore("launch", spec_file)
    assert (code, err, out.strip()) == (0, "", sweeps.list_sweeps(runs_folder)[0])
    assert len(runs.list_runs(runs_folder)) == 3
    parent = control.prepare_run(tiny, runs_folder)
    runs.checkpoint_path(parent, 1).write_bytes(b"")
    code, out, _ = trimcore("branch", parent.name, "--iteration", 1, spec_file)
    own = sweeps.members(runs_folder, out.strip())
    assert code == 0
    assert [spec.load(runs_folder / run_id / "spec.toml").parent.iteration for run_id in own] == [1, 1], "no base"


def test_an_interrupted_sweep_says_how_to_complete_it_and_can_be_stopped(trimcore, spec_file, runs_folder, idle):
    sweep_id = trimcore("launch", spec_file)[1].strip()
    last = list(sweeps.members(runs_folder, sweep_id))[-1]
    for run_id in sweeps.members(runs_folder, sweep_id):
        runs.write_exit(runs_folder / run_id, "finished", "done")
    runs.delete(runs_folder, last)
    assert "some runs are missing or ended before they were done" in trimcore("sweep", sweep_id)[1]
    (runs_folder / "x").mkdir()
    code, out, _ = trimcore("sweep", sweep_id, "--complete")
    assert code == 2  # its base never trained: the branch has nothing to start from
    base = next(iter(sweeps.members(runs_folder, sweep_id)))
    runs.checkpoint_path(runs_folder / base, 0).write_bytes(b"")
    code, out, _ = trimcore("sweep", sweep_id, "--complete")
    assert out.startswith("launched 1 runs, resumed 0\n")
    code, out, _ = trimcore("sweep", sweep_id, "--stop")
    assert out.startswith("asked 1 runs to stop\n")


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere"], "there is no sweep 'nowhere'"), (["../x"], "is not the id of a sweep"),
    (["--stop"], "name the sweep"), (["--csv", "x.csv"], "name the sweep"),
    (["x", "--stop", "--complete"], "choose one of --complete and --stop"),
])  # fmt: skip
def test_errors_are_one_line(trimcore, arguments, message):
    code, out, err = trimcore("sweep", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_wrong_point_starts_nothing(trimcore, tiny, tmp_path, runs_folder):
    (tmp_path / "spec.toml").write_text(spec.dumps(tiny) + "\n[sweep.values]\nstep.value = [0.2, 7]\n")
    for command in ("run", "launch"):
        code, _, err = trimcore(command, tmp_path / "spec.toml")
        assert code == 2
        assert err == "trimcore: sweep, step.value = 7: step.0: rule 'fraction' takes a value from 0 to 1, not 7.0\n"
    assert not runs_folder.exists()
