"""A command or a webhook when a run ends: what it is told, for every end, once; and that it can break nothing."""

import http.server
import json
import os
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

import trimcore as tc
from tests.dashboard.fakes import fake_run
from trimcore import runs, spec
from trimcore.cli.main import main
from trimcore.errors import RunError, TrimError
from trimcore.jobs import control, on_end, supervisor
from trimcore.jobs.supervisor import supervise
from trimcore.system.logs import logging_to

WIDTHS = [{"conv1": 20, "fc1": 80}, {"conv1": 20, "fc1": 20}]  # 100 and 40 neurons: 2.5 times
HOSTILE = ["$(rm -rf x)", "`touch x`; touch x", "one\ntwo", "'\"%s{}", "größer ☃", "--help", "a\0b", "\ud800"]


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """What a test names is forgotten after it."""
    monkeypatch.setenv(on_end.ON_END, "")


@pytest.fixture
def told(tmp_path):
    """A command that writes its environment as JSON, one line for each call; and a function that reads them."""
    script, out = tmp_path / "a hook.py", tmp_path / "told"
    script.write_text(
        "import json, os, sys\n"
        f"with open({str(out)!r}, 'a') as file:\n"
        "    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + '\\n')\n"
    )

    def read() -> list:
        return [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []

    return f"'{sys.executable}' '{script}' 'two words' $HOME", read


@pytest.fixture
def hook():
    """A server on this machine: its address, what was posted to it, and the status that it answers with."""
    seen, status = [], [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(status[0])
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/secret?key=k", seen, status
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ended(runs_folder) -> Path:
    """A finished run with made-up events and a name."""
    return runs_folder / fake_run(runs_folder, {"name": "mine"}, WIDTHS, [0.99, 0.98])


def tell(folder: Path, capsys, state: str = "finished", reason: str = "all steps are done") -> str:
    """What the log says."""
    capsys.readouterr()
    with logging_to(None):
        on_end.tell(folder, {"state": state, "reason": reason, "code": 0, "time": 0.0})
    return capsys.readouterr().out


VALUES = {"name": "mine", "state": "finished", "reason": "all steps are done", "metric": "accuracy", "value": 0.98,
          "compression": 2.5, "iterations": 1}  # fmt: skip


def test_a_command_gets_the_values_in_its_environment(ended, told, capsys):
    command, calls = told
    on_end.use(command)
    assert "on end: told python" in tell(ended, capsys)
    ((words, environment),) = calls()
    assert words == ["two words", "$HOME"], "split like a shell does, but not run by one"
    got = {key: environment[f"TRIMCORE_{key.upper()}"] for key in (*VALUES, "run")}
    assert got == {key: str(value) for key, value in {**VALUES, "run": ended.name}.items()}
    assert environment["TRIMCORE_RUNS"] == str(ended.parent.resolve())
    assert "TRIMCORE_ON_END" not in environment, "a run that it starts would call it again"


def test_a_webhook_gets_them_as_json(ended, hook, capsys):
    address, seen, _ = hook
    on_end.use(address)
    log = tell(ended, capsys)
    assert seen == [("/secret?key=k", "application/json", {"run": ended.name, **VALUES})]
    assert "told 127.0.0.1" in log
    assert "secret" not in log


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_plain_text(ended, told, hook, capsys, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    (ended / "notes.json").write_text(json.dumps({"name": text}))
    command, calls = told
    on_end.use(command)
    tell(ended, capsys, reason=text)
    ((_, environment),) = calls()
    expected = text.replace("\0", "").replace("\ud800", "?")
    assert (environment["TRIMCORE_NAME"], environment["TRIMCORE_REASON"]) == (expected, expected)
    assert (tmp_path / "x").is_dir()
    on_end.use(hook[0])
    tell(ended, capsys, reason=text)
    (_, _, body) = hook[1][0]
    assert (body["name"], body["reason"]) == (text, text)


def test_a_run_without_an_iteration_has_no_values(runs_folder, hook, capsys):
    folder = control.prepare_run(spec.parse({"device": "cpu"}), runs_folder)
    on_end.use(hook[0])
    tell(folder, capsys, "failed", "out of memory")
    body = hook[1][0][2]
    assert (body["state"], body["value"], body["compression"], body["iterations"]) == ("failed", None, None, 0)


# --- failures ---


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sh -c 'echo no such channel >&2; exit 3'", "sh: it ended with code 3: no such channel"),
        ("sh -c 'kill -9 $$'", "sh: it ended with code -9"),
        ("'unfinished", "the command: --on-end is no command: No closing quotation"),
        ("/no/such/program --token secret", "program: No such file or directory"),
        ("http://127.0.0.1:1/secret", "127.0.0.1: Connection refused"),
        ("http://127.0.0.1:1/a secret", "127.0.0.1: no valid address"),
        ("http://[::1/secret", "the command: "),
    ],
)
def test_a_failure_is_one_line_in_the_log(ended, capsys, monkeypatch, command, words):
    monkeypatch.setenv(on_end.ON_END, command)
    (line,) = tell(ended, capsys).splitlines()
    assert f"WARNING on end: {words}" in line
    assert "secret" not in line


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_other_than_yes_is_a_failure(ended, hook, capsys, status):
    hook[2][0] = status
    on_end.use(hook[0])
    assert f"127.0.0.1: it answered {status}" in tell(ended, capsys)
    assert len(hook[1]) == 1, "a redirect is not followed"


def test_a_command_has_a_time_limit_with_all_that_it_starts(ended, capsys, monkeypatch, tmp_path, eventually):
    monkeypatch.setattr(on_end, "LIMIT", 0.3)
    on_end.use(f"sh -c 'sleep 60 & echo $! > {tmp_path}/pid; wait'")
    assert "it took longer than 0.3 seconds and was ended" in tell(ended, capsys)
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text(), 10)


@pytest.mark.parametrize(
    ("what", "words"),
    [("https://", "needs an address with a host"), ("no-such-program x", "no program 'no-such-program'"),
     (" ", "no program"), ("'a", "No closing quotation")],
)  # fmt: skip
def test_a_mistake_is_said_before_anything_starts(what, words, tmp_path, monkeypatch, capfd):
    with pytest.raises(TrimError, match=words):
        on_end.use(what)
    (tmp_path / "spec.toml").write_text("")
    monkeypatch.setattr(sys, "argv", ["trimcore", "launch", str(tmp_path / "spec.toml"), "--on-end", what])
    assert main() == 2
    assert words in capfd.readouterr().err


# --- who tells it ---


@pytest.fixture
def queued(runs_folder) -> Path:
    made = runs.create(runs_folder, "lenet5", "")
    runs.update_status(made, device_key="cpu", queued_at=1.0)
    return made


@pytest.mark.parametrize(
    ("script", "state"),
    [("""echo '{"outcome": {"state": "finished", "reason": "done"}}' > "$3/status.json" """, "finished"),
     ("exit 1", "failed"), ("""echo '{"action": "stop"}' > "$3/request.json"; exit 0""", "stopped")],
)  # fmt: skip
def test_the_supervisor_tells_every_end_once(queued, told, tmp_path, monkeypatch, capsys, script, state):
    command, calls = told
    on_end.use(command)
    (tmp_path / "trainer.sh").write_text(f"#!/bin/sh\n{script}")
    (tmp_path / "trainer.sh").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "trainer.sh"))
    assert supervisor.main(queued) == 0
    assert [environment["TRIMCORE_STATE"] for _, environment in calls()] == [state]
    assert runs.state_of(queued).state == state


def test_a_failing_hook_does_not_change_how_the_run_ended(queued, monkeypatch):
    monkeypatch.setenv(on_end.ON_END, "false")
    runs.request(queued, "stop")
    assert supervisor.main(queued) == 0
    assert runs.state_of(queued).state == "stopped"


def test_supervise_alone_tells_nothing(queued, told):
    on_end.use(told[0])
    runs.request(queued, "stop")
    supervise(queued)
    assert told[1]() == []


def test_the_command_line_tells_it_in_the_foreground(tiny, tmp_path, runs_folder, monkeypatch, told, capfd):
    (tmp_path / "spec.toml").write_text(spec.dumps(tiny), "utf-8")
    monkeypatch.setattr(sys, "argv", ["trimcore", "run", str(tmp_path / "spec.toml"), "--on-end", told[0]])
    assert main() == 0
    ((_, environment),) = told[1]()
    (run_id,) = runs.list_runs(runs_folder)
    assert (environment["TRIMCORE_RUN"], environment["TRIMCORE_STATE"]) == (run_id, "finished")
    assert environment["TRIMCORE_ITERATIONS"] == "2"
    assert "on end: told python" in (runs_folder / run_id / "log.txt").read_text("utf-8")
    assert "on end" not in capfd.readouterr().out


def test_a_launched_run_tells_it_too(tiny, runs_folder, hook, tmp_path, monkeypatch, eventually):
    (tmp_path / "spec.toml").write_text(spec.dumps(tiny), "utf-8")
    monkeypatch.setattr(sys, "argv", ["trimcore", "launch", str(tmp_path / "spec.toml"), "--on-end", hook[0]])
    assert main() == 0
    eventually(lambda: hook[1])
    (run_id,) = runs.list_runs(runs_folder)
    body = hook[1][0][2]
    assert (body["run"], body["state"], body["iterations"]) == (run_id, "finished", 2)
    log = runs_folder / run_id / "log.txt"
    eventually(lambda: "on end: told 127.0.0.1" in log.read_text("utf-8"))


def test_programs_that_run_or_record_tell_it(make_spec, runs_folder, told):
    on_end.use(told[0])
    tc.run(make_spec(step=[]), runs=runs_folder)
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with pytest.raises(ZeroDivisionError), tc.record(network, torch.zeros(1, 2), runs=runs_folder):
        raise ZeroDivisionError
    with pytest.raises(RunError, match="there is no checkpoint"):
        tc.run(make_spec(base={"weights": "/none.pt"}), runs=runs_folder)
    assert [environment["TRIMCORE_STATE"] for _, environment in told[1]()] == ["finished", "failed", "failed"]


def test_a_relative_program_is_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "notify.sh").write_text("#!/bin/sh\n")
    (tmp_path / "notify.sh").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    on_end.use("./notify.sh --loud")
    assert os.environ[on_end.ON_END] == f"{tmp_path}/notify.sh --loud"
    on_end.use("")
    assert on_end.ON_END not in os.environ
