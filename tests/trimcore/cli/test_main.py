"""The command line: what each command prints and writes, and its one-line error messages."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from trimcore import models, runs, spec
from trimcore.data import datasets
from trimcore.files import checkpoint
from trimcore.jobs import control
from trimcore.jobs.worker import carry_out
from trimcore.system.files import read_json, write_atomic


@pytest.fixture
def spec_file(tiny, tmp_path) -> Path:
    (tmp_path / "spec.toml").write_text(spec.dumps(tiny))
    return tmp_path / "spec.toml"


@pytest.fixture
def done(tiny, runs_folder, capfd) -> Path:
    """The folder of a finished run."""
    folder = control.prepare_run(tiny, runs_folder)
    carry_out(folder)
    write_atomic(folder / "exit.json", '{"state": "finished", "reason": "all steps are done"}')
    return folder


def rows(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def without_labels(err: str) -> list[str]:
    """The lines of the error output without progress bar labels; without a terminal, a bar only prints its label."""
    return [line for line in err.splitlines() if line not in ("starting", "profiling", "")]


# --- lists ---


def test_models_and_datasets_are_listed(trimcore):
    forms = ["timm:NAME", "hf:FOLDER"]
    for command, known in (("models", [*models.REGISTRY, *forms]), ("datasets", datasets())):
        code, out, err = trimcore(command)
        assert (code, err) == (0, "")
        assert [line.split()[0] for line in out.splitlines()] == list(known)


def test_runs_are_listed_newest_first_with_their_state(trimcore, done, runs_folder, tiny):
    (runs_folder / "99990101-000000-lenet5-0000").mkdir()
    (runs_folder / "99990101-000000-lenet5-0000" / "spec.toml").write_text("")
    code, out, err = trimcore("list")
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["99990101-000000-lenet5-0000", "lost", "0%"], [done.name, "finished", "100%"],
    ]  # fmt: skip
    assert trimcore("list", "--runs", runs_folder / "nowhere") == (0, "", "")


def test_list_imports_no_torch(done):
    code = "import sys; sys.argv = ['trimcore', 'list']; from trimcore.cli.main import main; code = main(); "
    code += "print('torch' in sys.modules, 'pandas' in sys.modules); sys.exit(code)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[0].startswith(done.name)
    assert found.stdout.splitlines()[1] == "False False"


def test_a_closed_pipe_is_not_an_error(done):
    """`trimcore list | head -0`"""
    command = [sys.executable, "-m", "trimcore", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# --- profile ---


def test_profile_prints_a_table_and_writes_csvs(trimcore, pictures, tmp_path):
    arguments = ("--model", "lenet5", "--data", f"imagefolder:{pictures}", "--device", "cpu", "--limit", 5)
    code, out, err = trimcore("profile", *arguments, "--csv", tmp_path / "out")
    assert (code, without_labels(err)) == (0, [
        "note: without --weights, the network is untrained",
        "note: 99 % of the neurons can be removed; most of the rest cannot because it is an output of the network.",
        "note: 4 classes; 160 to train, 20 for validation and 20 as the test, both held out of pictures0/",
    ])  # fmt: skip
    assert out.startswith("5 examples in ")
    assert [line.split()[:3] for line in out.splitlines()[2:5]] == [
        ["conv1", "conv", "20"], ["conv2", "conv", "50"], ["fc1", "linear", "500"],
    ]  # fmt: skip
    assert sorted(os.listdir(tmp_path / "out")) == ["layers.csv", "neurons.csv"]
    assert [row["width"] for row in rows(tmp_path / "out" / "layers.csv")] == ["20", "50", "500"]
    neurons = rows(tmp_path / "out" / "neurons.csv")
    assert len(neurons) == 570
    positions = 5 * 60 * 60  # of 64x64 pictures
    assert all(float(n["apoz"]) * positions == pytest.approx(round(float(n["apoz"]) * positions), abs=0.02)
               for n in neurons[:20])  # fmt: skip


def test_profile_also_times_the_layers(trimcore, tmp_path):
    """For one example and for a training batch. The figures are the machine's; their sum is not."""
    arguments = ("--model", "lenet5", "--data", "mnist-5k", "--device", "cpu", "--limit", 5, "--time")
    code, out, _ = trimcore("profile", *arguments, "--csv", tmp_path)
    assert code == 0
    assert sorted(os.listdir(tmp_path)) == ["layers.csv", "neurons.csv", "times.csv"]
    found = rows(tmp_path / "times.csv")
    names = ["conv1", "conv2", "fc1", "fc2", "(before)", "(outside)", "(whole network)"]
    assert [(row["batch"], row["layer"]) for row in found] == [(size, name) for size in ("1", "128") for name in names]
    for part in (found[:6], found[7:13]):
        assert sum(float(row["share"]) for row in part) == pytest.approx(1)
        assert all(float(row["ms"]) > 0 for row in part[:4])
    assert "(whole network)" in out


def test_profile_refuses_weights_for_other_images(trimcore, done, pictures):
    weights = runs.checkpoint_path(done, 2)
    arguments = ("--model", "lenet5", "--data", f"imagefolder:{pictures}", "--weights", weights, "--device", "cpu")
    code, out, err = trimcore("profile", *arguments)
    assert (code, out) == (2, "")  # the weights are for 16 pixels, image folders default to 64
    have, want = (f"4 classes, 3 channels, {size} pixels" for size in (16, 64))
    assert without_labels(err) == [f"trimcore: {str(weights)!r} is for {have}, not {want}"]


# --- a run ---


def test_run_shows_progress_and_the_table(trimcore, spec_file, runs_folder):
    code, out, err = trimcore("run", spec_file)
    lines = out.splitlines()
    assert code == 0
    assert runs.list_runs(runs_folder) == [lines[0]]
    assert [line.split()[0] for line in lines[2:5]] == ["0", "1", "2"]
    assert "conv1 20 · conv2 25 · fc1 245 · fc2 4" in lines[4]
    assert lines[5] == "finished: all steps are done"
    assert "starting" in err
    folder = runs_folder / lines[0]
    ended = read_json(folder / "exit.json")
    assert (ended["state"], ended["reason"], ended["code"]) == ("finished", "all steps are done", 0)
    assert "iteration 2 done" in (folder / "log.txt").read_text()


def test_a_failing_run_says_why_in_its_last_line(trimcore, tiny, tmp_path, runs_folder, make_spec):
    (tmp_path / "bad.toml").write_text(spec.dumps(make_spec(base={"weights": "gone.pt"})))
    code, out, err = trimcore("run", tmp_path / "bad.toml")
    run_id = out.strip()
    assert code == 2
    assert err.splitlines()[-1] == f"trimcore: run {run_id} failed: there is no checkpoint 'gone.pt'"
    assert "Traceback" not in err
    assert runs.state_of(runs_folder / run_id).state == "failed"


def test_show_prints_state_and_iterations(trimcore, done):
    code, out, err = trimcore("show", done.name)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"{done.name}: finished, 100%. all steps are done"
    assert len(out.splitlines()) == 1 + 1 + 3


def test_report_writes_the_tables_of_the_run_folder(trimcore, done, tmp_path):
    code, out, _ = trimcore("report", done.name, "--out", tmp_path / "a" / "report")
    assert code == 0
    names = ["classes.csv", "iterations.csv", "layers.csv", "neurons.csv"]
    assert sorted(Path(line).name for line in out.splitlines()) == names
    for name in names:
        assert (tmp_path / "a" / "report" / name).read_bytes() == (done / name).read_bytes()


@pytest.mark.parametrize(("arguments", "iteration"), [((), 2), (("--iteration", 1), 1)])
def test_export_writes_the_network_of_an_iteration(trimcore, done, tmp_path, arguments, iteration):
    code, out, _ = trimcore("export", done.name, "--out", tmp_path / "small.pt", *arguments)
    assert code == 0
    assert out == f"{tmp_path / 'small.pt'}: iteration {iteration}, computes exactly what the network in memory does\n"
    made = checkpoint.load(tmp_path / "small.pt")
    expected = checkpoint.load(runs.checkpoint_path(done, iteration))
    assert made.widths == expected.widths
    assert all(torch.equal(tensor, expected.state[name]) for name, tensor in made.state.items())


def test_branch_records_its_parent(trimcore, done, spec_file, tiny, monkeypatch, runs_folder):
    started = []
    monkeypatch.setattr(control, "_start_supervisor", started.append)
    code, out, _ = trimcore("branch", done.name, spec_file, "--iteration", 1)
    assert code == 0
    assert started == [runs_folder / out.strip()]
    asked = spec.load(started[0] / "spec.toml")
    assert asked == tiny.model_copy(update={"parent": spec.Parent(run=done.name, iteration=1)})


def test_launch_pause_resume_stop(trimcore, make_spec, tmp_path, runs_folder, eventually):
    """The run keeps neither the launcher's pipes open nor its terminal session."""
    (tmp_path / "long.toml").write_text(spec.dumps(make_spec(base={"epochs": 1_000_000})))
    command = [sys.executable, "-m", "trimcore", "launch", str(tmp_path / "long.toml")]
    launched = subprocess.run(command, capture_output=True, text=True)  # returns when both pipes are closed
    run_id = launched.stdout.strip()
    folder = runs_folder / run_id
    assert (launched.returncode, launched.stderr, runs.list_runs(runs_folder)) == (0, "", [run_id])
    assert runs.state_of(folder).active
    eventually(lambda: runs.state_of(folder).state == "running")
    for role in ("supervisor", "trainer"):
        pid = read_json(folder / "status.json")[role]["pid"]
        assert os.getsid(pid) == pid
        if sys.platform == "linux":
            files = [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]
            assert files == ["/dev/null", str(folder / "log.txt"), str(folder / "log.txt")]
    assert trimcore("pause", run_id) == (0, f"{run_id}: paused. paused on request; `resume` continues from here\n", "")
    assert not psutil.pid_exists(pid)
    assert trimcore("list")[1].split()[:2] == [run_id, "paused"]
    assert trimcore("resume", run_id) == (0, f"{run_id}\n", "")
    eventually(lambda: runs.state_of(folder).state == "running")
    code, out, err = trimcore("stop", run_id)
    assert (code, out.split(".")[0], err) == (0, f"{run_id}: stopped", "")


# --- user errors ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("dance", "No such command 'dance'"),
        ("list --colour", "No such option"),
        ("run", "Missing argument 'SPEC_FILE'"),
        ("run gone.toml", "cannot read the spec 'gone.toml': No such file"),
        ("launch gone.toml", "cannot read the spec 'gone.toml'"),
        ("run bad.toml", "unknown key 'sede'; expected one of model"),
        ("run odd.toml", "step 1: there is no layer 'conv9'; trimmable layers: conv1, conv2, fc1"),
        ("show gone", "there is no run 'gone'"),
        ("show ../gone", "is not a run id"),
        ("resume gone", "there is no run 'gone'"),
        ("pause gone", "there is no run 'gone'"),
        ("stop gone", "there is no run 'gone'"),
        ("branch gone good.toml --iteration 0", "there is no run 'gone'"),
        ("branch gone good.toml", "Missing option '--iteration'"),
        ("branch gone good.toml --iteration -1", "-1"),
        ("report gone --out x", "there is no run 'gone'"),
        ("report gone", "Missing option '--out'"),
        ("export gone --out x", "there is no run 'gone'"),
        ("export gone --out x --format pickle", "'pickle' is not one of 'state_dict', 'safetensors', 'sparse'"),
        ("profile --model lenet7 --data mnist-5k", "unknown model 'lenet7'; expected lenet5"),
        ("profile --model lenet5 --data mnits", "unknown data set 'mnits'; expected one of mnist-5k"),
        ("profile --model lenet5 --data mnist-5k --limit -1", "-1"),
        ("profile --model lenet5-maxout --data mnist-5k --option k", "--option k needs an integer, as in"),
        ("profile --model lenet5 --data mnist-5k --option k=3", "lenet5 has no option 'k'"),
        ("profile --model lenet5 --data mnist-5k --seed 99999999999", "seed = 99999999999"),
        ("profile --model lenet5 --data mnist-5k --device gpu", "unknown device 'gpu'"),
        ("profile --model lenet5 --data mnist-5k --weights gone.pt", "there is no checkpoint 'gone.pt'"),
        ("run good.toml --runs file", "cannot create a run in file"),
        ("launch good.toml --runs file", "choose another folder with --runs"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(trimcore, tmp_path, monkeypatch, tiny, make_spec, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("bad.toml").write_text("sede = 1")
    Path("good.toml").write_text(spec.dumps(tiny))
    Path("odd.toml").write_text(spec.dumps(make_spec(step=[{"layers": ["conv9"]}])))
    code, _, err = trimcore(*arguments.split())
    assert code == 2
    assert words in err
    assert [line[:10] for line in without_labels(err)] == ["trimcore: "]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("pause RUN", "is already finished"),
        ("stop RUN", "is already finished"),
        ("resume RUN", "is finished; it can be resumed if it is paused"),
        ("export RUN --iteration 9 --out x.pt", "there is no checkpoint"),
        ("export RUN --out .", "cannot write"),
        ("report RUN --out file", "cannot write to 'file'"),
        ("branch RUN good.toml --iteration 9", "has no iteration 9 to branch from"),
    ],
)
def test_commands_that_a_finished_run_refuses(trimcore, tmp_path, monkeypatch, tiny, done, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("good.toml").write_text(spec.dumps(tiny))
    code, out, err = trimcore(*arguments.replace("RUN", done.name).split())
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words in err


def test_a_run_without_iterations_has_nothing_to_report(trimcore, tiny, runs_folder):
    folder = control.prepare_run(tiny, runs_folder)
    code, _, err = trimcore("report", folder.name, "--out", "x")
    line = f"trimcore: run {folder.name!r} has no finished iteration yet, so there is nothing to report\n"
    assert (code, err) == (2, line)


def test_no_command_shows_the_help(trimcore):
    code, out, err = trimcore()
    assert (code, err) == (2, "")
    assert all(name in out for name in ("models", "profile", "run", "launch", "branch", "export"))
    assert trimcore("--help")[:2] == (0, out)


# --- notes and deletion ---


def test_notes_are_written_and_shown(trimcore, done):
    assert trimcore("note", done.name, "--name", "best", "--note", "keep this", "--tag", "a", "--tag", "b")[0] == 0
    assert trimcore("note", done.name)[1] == "name: best\ntags: a, b\nkeep this\n"
    trimcore("note", done.name, "--name", "")
    assert trimcore("note", done.name)[1] == "name: \ntags: a, b\nkeep this\n"
    trimcore("note", done.name, "--tag", "")
    assert trimcore("note", done.name)[1] == "name: \ntags: \nkeep this\n"
    code, _, err = trimcore("note", done.name, "--name", "x" * 81)
    assert (code, err) == (2, "trimcore: a name has at most 80 characters, not 81\n")


def test_a_run_is_deleted_only_after_confirmation(trimcore, done, monkeypatch):
    asked = []
    monkeypatch.setattr("click.confirm", lambda text, abort: asked.append(text) or len(asked) > 1)
    assert trimcore("delete", "gone")[0] == 2
    assert asked == []
    trimcore("delete", done.name)
    assert done.exists()
    assert trimcore("delete", done.name)[1] == f"deleted {done.name}\n"
    assert not done.exists()
    assert asked == [f"permanently delete {done.name} and its checkpoints?"] * 2


def test_a_run_with_branches_is_not_deleted(trimcore, done, tiny):
    asked = tiny.model_copy(update={"parent": spec.Parent(run=done.name, iteration=1)})
    child = control.prepare_run(asked, done.parent)
    runs.write_exit(child, "finished", "")
    code, _, err = trimcore("delete", done.name, "--yes")
    assert (code, err) == (2, f"trimcore: run '{done.name}' has branches: delete '{child.name}' first\n")
    assert trimcore("delete", child.name, "--yes")[0] == trimcore("delete", done.name, "--yes")[0] == 0
