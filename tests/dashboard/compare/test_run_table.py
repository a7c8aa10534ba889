"""The row of a run always shows the current state of its folder."""

import json

import pytest

from dashboard.compare import run_table
from dashboard.session import run_reader
from trimcore import runs, tables


def test_a_row_shows_the_last_iteration(cut_run):
    events = list(runs.read_events(cut_run))
    (row,), last = run_table.read_runs().itertuples(), tables.iterations(events).iloc[-1]
    found = run_table.read_runs().iloc[0]
    assert (found.id, found.state, found.iterations) == (cut_run.name, "finished", 2)
    assert (found.compression, found.metric_final, found.parameters, found["MACs ratio"]) == (
        last.compression, last.metric_final, last.parameters, last.macs_ratio,
    )  # fmt: skip
    assert found.compression == pytest.approx(570 / (20 + 30 + 300))
    assert "mine" in row.run


def test_a_row_counts_non_zero_parameters(cut_run):
    rows = tables.latest(list(runs.read_events(cut_run)), "iteration")
    more = {"nonzero_parameters": 7_000, "bytes_dense": 9, "bytes_sparse": 5, "verification": 0.75}
    with open(cut_run / "events.jsonl", "a") as file:
        file.write(json.dumps({"seq": 99, **rows[2], **more}) + "\n")
    found = run_table.read_runs().iloc[0]
    assert (found["non-zero parameters"], found.verification) == (7_000, 0.75)
    assert found["compression, non-zero"] == pytest.approx(57_000 / 7_000)


def test_changes_of_a_run_folder_appear_immediately(cut_run, runs_folder):
    def seen() -> tuple:
        row = run_table.read_runs().iloc[0]
        return row.run.split(" · ")[0], row.state, row.iterations, row.seed

    assert seen() == ("mine", "finished", 2, 0)
    runs.write_notes(runs_folder, cut_run.name, runs.Notes("yours"))
    assert seen() == ("yours", "finished", 2, 0)
    runs.write_exit(cut_run, "failed", "for a test")
    assert seen() == ("yours", "failed", 2, 0)
    lines = (cut_run / "events.jsonl").read_text().splitlines(keepends=True)
    (cut_run / "events.jsonl").write_text("".join(line for line in lines if '"iteration": 2' not in line))
    assert seen() == ("yours", "failed", 1, 0)
    spec = (cut_run / "spec.toml").read_text()
    (cut_run / "spec.toml").write_text(spec.replace("seed = 0", "seed = 5"))
    assert seen() == ("yours", "failed", 1, 5)
    assert run_reader.parents() == {cut_run.name: None, runs.EXAMPLE: None}
    (cut_run / "spec.toml").write_text(f'{spec}\n[parent]\nrun = "other"\niteration = 1\n')
    assert runs.parents(runs_folder, run_reader._parent_of) == {cut_run.name: ("other", 1)}
    (cut_run / "exit.json").unlink()
    runs.update_status(cut_run, state="queued", outcome=None)
    assert seen()[1] == "queued", "its launcher is alive"
    (cut_run / "spec.toml").unlink()
    assert run_table.read_runs().empty
