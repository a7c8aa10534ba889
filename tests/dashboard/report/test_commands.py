"""The commands that repeat a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.report import commands
from tests.dashboard.fakes import fake_branch
from tests.dashboard.pages import page
from trimcore import spec
from trimcore.jobs import control
from trimcore.system import own_code


def code(app) -> list[str]:
    return app.code[0].value.splitlines()


def test_the_commands_of_a_run_and_of_a_branch(run_id, runs_folder):
    branch = fake_branch(runs_folder, run_id, 1)
    there = f" --runs {runs_folder}"
    assert code(page("report", run=run_id))[0] == f"python -m trimcore run spec.toml{there}"
    lines = code(page("report", run=branch))
    assert lines[0].startswith("#")
    assert lines[1] == f"python -m trimcore branch {run_id} --iteration 1 spec.toml{there}"
    assert all(line.endswith(there) for line in lines[1:])


def test_comments_name_further_requirements():
    assert commands.repeat({"model": "lenet5-maxout", "options": {"k": 2}}) == "python -m trimcore run spec.toml"
    own = commands.repeat({"model": "my.nets:tiny", "base": {"weights": "weights file.pt\nrm -r ~"}})
    assert own.splitlines() == [
        "# run this in the folder that contains my.py", "# the run starts from the weights in weights file.pt rm -r ~",
        "python -m trimcore run spec.toml",
    ]  # fmt: skip
    assert "weights" not in commands.repeat({"base": {"weights": "pretrained"}})


@given(st.text(min_size=1), st.text())
def test_values_of_a_spec_never_become_commands(run, weights):
    import shlex

    spec = {"parent": {"run": run, "iteration": 3}, "model": f"{weights}:x", "base": {"weights": weights}}
    words = shlex.split(commands.repeat(spec), comments=True)
    assert words == ["python", "-m", "trimcore", "branch", run, "--iteration", "3", "spec.toml"]


def test_the_commands_for_a_branch_of_a_branch():
    line = [("a", {}), ("b", {"parent": {"run": "a", "iteration": 2}}), ("c", {"parent": {"run": "b", "iteration": 1}})]
    printed = [text for text in commands.repeat_line(line).splitlines() if not text.startswith("#")]
    assert printed == [
        "python -m trimcore run a.toml", "python -m trimcore branch a --iteration 2 b.toml",
        "python -m trimcore branch b --iteration 1 spec.toml",
    ]  # fmt: skip


def test_the_command_line_accepts_the_printed_command(run_id, runs_folder, tmp_path, monkeypatch):
    """Pass the printed commands to the command line."""
    import shlex

    from click.testing import CliRunner

    from trimcore.cli.main import cli

    branch = fake_branch(runs_folder, run_id, 1)
    asked = []
    monkeypatch.setattr(control, "launch", lambda spec, folder: asked.append((spec, folder)) or "new")
    monkeypatch.chdir(tmp_path)
    text = (runs_folder / branch / "spec.toml").read_text("utf-8")
    (tmp_path / "spec.toml").write_text(text, "utf-8")
    line = code(page("report", run=branch))[1]
    result = CliRunner().invoke(cli, shlex.split(line)[3:], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert asked == [(spec.loads(text), runs_folder)], "the same spec and the same starting point"


@pytest.mark.parametrize(("values", "first"), [
    ({"model": "object:UNet", "data": "object:data"}, "# a Python program carried out this run; it repeats it"),
    ({"model": "lenet5", "data": "shop.data:load"}, "# run this in the folder that contains shop.py"),
    ({"data": "imagefolder:x", "task": "goals:Depth"}, "# run this in the folder that contains goals.py"),
    ({"model": "lenet5", "data": "unlabelled:/x"}, "python -m trimcore run spec.toml"),
])  # fmt: skip
def test_code_of_ones_own_is_mentioned(values, first):
    assert commands.repeat(values).splitlines()[0] == first


def test_the_variable_for_code_in_use_is_mentioned(monkeypatch):
    monkeypatch.setattr(own_code, "load_used", lambda: {"nets.py": ["model 'mine'", "data 'theirs'"]})
    lines = commands.repeat({"model": "mine", "data": "mnist-5k"}).splitlines()
    assert lines == ["# TRIMCORE_USE names the module that registers model 'mine'", "python -m trimcore run spec.toml"]
