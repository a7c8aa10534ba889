"""What `doctor` finds, and what it advises: each kind of trouble made here."""

import subprocess
import sys

import pytest

from trimcore import runs
from trimcore.jobs import diagnosis
from trimcore.jobs.diagnosis import Finding, examine
from trimcore.system import processes


@pytest.fixture
def made(runs_folder):
    """made(state): a run that stands so."""

    def make(state: str = "finished", **status):
        folder = runs.create(runs_folder, "lenet5", 'model = "lenet5"\n')
        if state != "running":
            runs.write_exit(folder, state, "x")
        runs.update_status(folder, state="running", **status)
        return folder

    return make


def told(folder, level: str) -> list[str]:
    return [str(finding) for finding in examine(folder) if finding.level == level]


def test_all_is_well(runs_folder, made):
    made()
    lines = told(runs_folder, "ok")
    assert any("Python 3." in line for line in lines)
    assert any("torch " in line and "streamlit " in line for line in lines)
    assert any(line.startswith("ok       device: ") for line in lines)
    assert any("can be written" in line for line in lines)
    assert any("1 run, 1 finished" in line for line in lines)
    assert [line for line in told(runs_folder, "problem") if "GiB free" not in line] == []


def test_a_package_of_another_version(monkeypatch, runs_folder, tmp_path):
    (tmp_path / "requirements.txt").write_text("click>=99\nnot-there>=1  # a comment\n# nothing\npsutil>=1\n")
    monkeypatch.setattr(diagnosis, "ROOT", tmp_path)
    problems = told(runs_folder, "problem")
    assert any("click 8." in line and "(click>=99 is wanted)" in line and "pip install" in line for line in problems)
    assert any("not-there is missing" in line for line in problems)
    assert any("psutil 7." in line for line in told(runs_folder, "ok"))


def test_a_level_that_is_none(monkeypatch, runs_folder):
    monkeypatch.setenv("TRIMCORE_LOG", "loud")
    (problem,) = [line for line in told(runs_folder, "problem") if "LOG" in line]
    assert "TRIMCORE_LOG is 'loud', so that logs begin at info" in problem
    assert "debug, info, warning or error" in problem


@pytest.mark.parametrize(
    ("here", "at_home", "environment", "level", "words"),
    [
        ('[server]\naddress = "127.0.0.1"', None, None, "ok", "served on 127.0.0.1 only"),
        (None, '[server]\naddress = "localhost"', None, "ok", "served on localhost only"),
        (None, None, "::1", "ok", "served on ::1 only"),
        (None, None, None, "note", "to every machine"),
        ("[server]\nport = 80", None, None, "note", "to every machine"),
        ('server = "x"', None, None, "note", "to every machine"),
        ('[server]\naddress = "127.0.0.1"', None, "0.0.0.0", "note", "to every machine"),
        ('[server]\naddress = "0.0.0.0"', '[server]\naddress = "127.0.0.1"', None, "note", "to every machine"),
        ("[server", None, "127.0.0.1", "problem", "config.toml: "),
    ],
)
def test_who_could_reach_the_page(monkeypatch, runs_folder, tmp_path, here, at_home, environment, level, words):
    """By the environment before the working folder before the home folder, as Streamlit has it."""
    for name, text in (("work", here), ("home", at_home)):
        (tmp_path / name / ".streamlit").mkdir(parents=True)
        if text is not None:
            (tmp_path / name / ".streamlit" / "config.toml").write_text(text)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("STREAMLIT_SERVER_ADDRESS", raising=False)
    if environment:
        monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", environment)
    assert any(words in line for line in told(runs_folder, level))


def test_a_runs_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("x")
    (line,) = [line for line in told(tmp_path / "file", "problem") if "runs folder" in line]
    assert "TRIMCORE_RUNS" in line


@pytest.mark.parametrize(("free", "level"), [(1 << 20, "problem"), (2 << 30, "note"), (1 << 40, "ok")])
def test_little_room(monkeypatch, runs_folder, free, level):
    usage = diagnosis.shutil.disk_usage(".")
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda _: usage._replace(free=free))
    assert any("GiB free" in line for line in told(runs_folder, level))


def test_runs_that_need_somebody(runs_folder, made):
    lost, failed = made("lost"), made("failed")
    stalled = made("running", trainer=processes.identity(), heartbeat=1.0)
    notes = told(runs_folder, "note")
    assert any(lost.name in line and "`resume` them" in line for line in notes)
    assert any(failed.name in line and "`show`" in line for line in notes)
    assert any(stalled.name in line and "stop" in line for line in told(runs_folder, "problem"))


def test_a_run_that_is_not_what_it_seems(runs_folder, made):
    run = made()
    (run / "log.txt").symlink_to("/etc/passwd")
    (line,) = [line for line in told(runs_folder, "problem") if run.name in line]
    assert "its log.txt is a link" in line


def test_a_process_without_a_run(runs_folder, made):
    gone = (runs_folder / "20260101-000000-lenet5-0000").resolve()
    code = "import sys; sys.stdin.read()"
    command = [sys.executable, "-c", code, "trimcore.jobs.worker", str(gone)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        made()
        (line,) = [line for line in told(runs_folder, "problem") if "belongs to no run" in line]
        assert f"kill {process.pid}" in line


def test_what_fails_is_a_finding_itself(monkeypatch, runs_folder):
    def broken():
        raise OSError(5, "Input/output error")
        yield

    monkeypatch.setattr(diagnosis, "_data", broken)
    assert any("could not be looked at further" in line for line in told(runs_folder, "problem"))


def test_a_finding_is_a_line_and_its_advice_another():
    assert str(Finding("note", "a thing", "do this")) == "note     a thing\n         -> do this"
    assert str(Finding("ok", "a thing")) == "ok       a thing"


@pytest.mark.parametrize("trouble", [False, True])
def test_the_command_tells_by_its_exit_code(runs_folder, tmp_path, trouble):
    where = tmp_path / "file" if trouble else runs_folder
    if trouble:
        where.write_text("x")
    done = subprocess.run([sys.executable, "-m", "trimcore", "doctor", "--runs", where], capture_output=True, text=True)
    assert done.returncode == int(trouble)
    assert done.stdout.splitlines()[-1] == ("1 problem" if trouble else "no problems")
    assert done.stderr == ""
