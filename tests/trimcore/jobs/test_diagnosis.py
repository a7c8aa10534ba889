"""What `doctor` finds and advises, for each kind of problem."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from trimcore import runs
from trimcore.jobs import diagnosis
from trimcore.jobs.diagnosis import Finding, examine
from trimcore.system import processes

EVERY_MACHINE = "every machine on the network can open the dashboard"


@pytest.fixture
def made(runs_folder):
    """made(state): a run in that state."""

    def make(state: str = "finished", **status):
        folder = runs.create(runs_folder, "lenet5", 'model = "lenet5"\n')
        if state != "running":
            runs.write_exit(folder, state, "x")
        runs.update_status(folder, state="running", **status)
        return folder

    return make


def lines_of(folder, level: str) -> list[str]:
    return [str(finding) for finding in examine(folder) if finding.level == level]


def test_a_healthy_installation_has_no_problems(runs_folder, made):
    made()
    lines = lines_of(runs_folder, "ok")
    assert any("Python 3." in line for line in lines)
    assert any("torch " in line and "streamlit " in line for line in lines)
    assert any(line.startswith("ok       device: ") for line in lines)
    assert any("writable" in line for line in lines)
    assert any("1 run, 1 finished" in line for line in lines)
    assert [line for line in lines_of(runs_folder, "problem") if "GiB free" not in line] == []


def test_wrong_and_missing_packages_are_reported(monkeypatch, runs_folder, tmp_path):
    (tmp_path / "pyproject.toml").write_text("""
        [project]
        dependencies = ["click>=99", "not-there>=1", "psutil>=1"]
        [project.optional-dependencies]
        page = ["not-wanted>=1", "filelock>=99"]
    """)
    monkeypatch.setattr(diagnosis, "ROOT", tmp_path)
    problems = lines_of(runs_folder, "problem")
    assert any(f"filelock {version('filelock')} (filelock>=99 is required)" in line for line in problems)
    assert any("not-wanted is missing" in line for line in lines_of(runs_folder, "note"))
    click = f"click {version('click')} (click>=99 is required)"
    assert any(click in line and "pip install" in line for line in problems)
    assert any("not-there is missing" in line for line in problems)
    assert any(f"psutil {version('psutil')}" in line for line in lines_of(runs_folder, "ok"))


def test_an_unknown_log_level_is_a_problem(monkeypatch, runs_folder):
    monkeypatch.setenv("TRIMCORE_LOG", "loud")
    (problem,) = [line for line in lines_of(runs_folder, "problem") if "LOG" in line]
    assert "TRIMCORE_LOG is 'loud', which is not a log level; logs use info" in problem
    assert "debug, info, warning or error" in problem


@pytest.mark.parametrize(
    ("here", "at_home", "environment", "level", "words"),
    [
        ('[server]\naddress = "127.0.0.1"', None, None, "ok", "listens on 127.0.0.1 only"),
        (None, '[server]\naddress = "localhost"', None, "ok", "listens on localhost only"),
        (None, None, "::1", "ok", "listens on ::1 only"),
        (None, None, None, "note", EVERY_MACHINE),
        ("[server]\nport = 80", None, None, "note", EVERY_MACHINE),
        ('server = "x"', None, None, "note", EVERY_MACHINE),
        ('[server]\naddress = "127.0.0.1"', None, "0.0.0.0", "note", EVERY_MACHINE),
        ('[server]\naddress = "0.0.0.0"', '[server]\naddress = "127.0.0.1"', None, "note", EVERY_MACHINE),
        ("[server", None, "127.0.0.1", "problem", "config.toml: "),
    ],
)
def test_the_dashboard_address_is_checked(monkeypatch, runs_folder, tmp_path, here, at_home, environment, level, words):
    """The environment overrides the working folder, which overrides the home folder, as in Streamlit if the dashboard
    has no settings of its own."""
    monkeypatch.setattr(diagnosis, "ROOT", tmp_path)
    for name, text in (("work", here), ("home", at_home)):
        (tmp_path / name / ".streamlit").mkdir(parents=True)
        if text is not None:
            (tmp_path / name / ".streamlit" / "config.toml").write_text(text)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("STREAMLIT_SERVER_ADDRESS", raising=False)
    if environment:
        monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", environment)
    assert any(words in line for line in lines_of(runs_folder, level))


def test_an_unusable_runs_folder_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("x")
    (line,) = [line for line in lines_of(tmp_path / "file", "problem") if "runs folder" in line]
    assert "TRIMCORE_RUNS" in line


@pytest.mark.parametrize(("free", "level"), [(1 << 20, "problem"), (2 << 30, "note"), (1 << 40, "ok")])
def test_low_disk_space_is_reported(monkeypatch, runs_folder, free, level):
    usage = diagnosis.shutil.disk_usage(".")
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda _: usage._replace(free=free))
    assert any("GiB free" in line for line in lines_of(runs_folder, level))


def test_runs_that_need_attention_are_listed(runs_folder, made):
    lost, failed = made("lost"), made("failed")
    stalled = made("running", trainer=processes.identity(), heartbeat=1.0)
    notes = lines_of(runs_folder, "note")
    assert any(lost.name in line and "`resume` or `delete` them" in line for line in notes)
    assert any(failed.name in line and "`show`" in line for line in notes)
    assert any(stalled.name in line and "stop" in line for line in lines_of(runs_folder, "problem"))


def test_a_run_with_a_linked_file_is_a_problem(runs_folder, made):
    run = made()
    (run / "log.txt").symlink_to("/etc/passwd")
    (line,) = [line for line in lines_of(runs_folder, "problem") if run.name in line]
    assert "its log.txt is a link" in line


def test_the_dashboards_own_settings_override_those_of_the_folder(monkeypatch, runs_folder, tmp_path):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text('[server]\naddress = "0.0.0.0"')
    monkeypatch.chdir(tmp_path)
    assert any("listens on 127.0.0.1 only" in line for line in lines_of(runs_folder, "ok"))


def test_a_process_without_a_run_is_a_problem(runs_folder, made):
    gone = (runs_folder / "20260101-000000-lenet5-0000").resolve()
    code = "import sys; sys.stdin.read()"
    command = [sys.executable, "-c", code, "trimcore.jobs.worker", str(gone)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        made()
        (line,) = [line for line in lines_of(runs_folder, "problem") if "no longer belongs to a run" in line]
        assert f"kill {process.pid}" in line


def test_a_failing_check_becomes_a_finding(monkeypatch, runs_folder):
    def broken():
        raise OSError(5, "Input/output error")
        yield

    monkeypatch.setattr(diagnosis, "_data", broken)
    assert any("the remaining checks were skipped" in line for line in lines_of(runs_folder, "problem"))


def test_a_finding_is_one_line_and_its_advice_another():
    assert str(Finding("note", "a thing", "do this")) == "note     a thing\n         -> do this"
    assert str(Finding("ok", "a thing")) == "ok       a thing"


@pytest.mark.parametrize("trouble", [False, True])
def test_the_exit_code_says_whether_there_are_problems(runs_folder, tmp_path, trouble):
    where = tmp_path / "file" if trouble else runs_folder
    if trouble:
        where.write_text("x")
    done = subprocess.run([sys.executable, "-m", "trimcore", "doctor", "--runs", where], capture_output=True, text=True)
    assert done.returncode == int(trouble)
    assert done.stdout.splitlines()[-1] == ("1 problem" if trouble else "no problems")
    assert done.stderr == ""
