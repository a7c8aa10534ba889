"""What the pages remember of run folders is never older than the folders, and it spares reading and drawing."""

import contextlib
import gc
import json
import os
import threading
import weakref

import pytest
import torch

from dashboard import garbage, listing, results, store
from dashboard.planning import opened
from dashboard.remembering import Remembered
from tests.dashboard.fakes import fake_run
from tests.dashboard.large import fake_vgg16
from tests.dashboard.test_pages import page, texts
from trimcore import runs, tables
from trimcore.compute.threads import one_thread
from trimcore.system.files import write_atomic

STAGES = [{"conv1": 20, "conv2": 50 - 10 * k, "fc1": 500 - 100 * k} for k in range(3)]


@pytest.fixture
def run(runs_folder):
    """A finished run of two cuts."""
    return runs_folder / fake_run(runs_folder, {"name": "mine"}, STAGES, [0.9, 0.8, 0.7])


# --- files ---


def test_a_file_is_read_again_only_when_it_is_another(tmp_path):
    path, asked = tmp_path / "one", []
    read = Remembered(lambda path: asked.append(path) or path.read_text())
    path.write_text("a")
    assert [read(path), read(path)] == ["a", "a"]
    assert len(asked) == 1
    before = path.stat()
    write_atomic(path, "b")  # as long, and dated back: only the inode tells
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [read(path), read(path)] == ["b", "b"]
    assert len(asked) == 2
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(path)


def test_what_cannot_be_read_is_asked_for_again(tmp_path):
    path, read = tmp_path / "one", Remembered(lambda path: int(path.read_text()))
    path.write_text("no")
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            read(path)


def test_the_file_that_changed_longest_ago_is_forgotten(tmp_path):
    asked = []
    read = Remembered(lambda path: asked.append(path.name), most=2)
    for name in "abcabc":
        (tmp_path / name).touch()
    for name in "abc":
        read(tmp_path / name)
    read(tmp_path / "c")
    read(tmp_path / "a")
    assert asked == ["a", "b", "c", "a"]


def test_some_kinds_of_events_are_those_of_all_events(run):
    lines = [
        {"seq": 90, "time": 1.0, "kind": "weights", "layers": {"fc1": {"kind": "iteration"}}},
        {"seq": 91, "text": "x" * 300, "kind": "iteration", "iteration": 9},  # its kind stands late
        {"seq": 92, "no": "kind"}, ["iteration"],
    ]  # fmt: skip
    with open(run / "events.jsonl", "a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines) + '{"seq": 93, "kind": "iteration", "iter')
    everything = list(runs.read_events(run))
    for kinds in [("iteration",), ("weights", "epoch"), ("profiled",), ("nothing",)]:
        assert list(runs.read_events(run, kinds)) == [event for event in everything if event["kind"] in kinds]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('model = "lenet5"\nname = "a [b] \\"c\\""\n\n[base]\nepochs = 1\n', 'a [b] "c"'),
        ('model = "lenet5"\n[options]\nname = "of a section"\n', ""), ("name = 3\n", ""), ("name = [", ""), ("", ""),
    ],
)  # fmt: skip
def test_the_name_is_read_without_the_sections(tmp_path, text, name):
    (tmp_path / "spec.toml").write_text(text)
    assert runs.launched_as(tmp_path / "spec.toml") == name
    assert runs.launched_as(tmp_path / "nowhere") == ""


# --- lists ---


def test_a_row_of_the_list_is_the_last_row_of_the_table(run):
    events = list(runs.read_events(run))
    (row,), last = listing.read_runs().itertuples(), tables.iterations(events).iloc[-1]
    found = listing.read_runs().iloc[0]
    assert (found.id, found.state, found.iterations) == (run.name, "finished", 2)
    assert (found.compression, found["test accuracy"], found.parameters, found["MACs ratio"]) == (
        last.compression, last.accuracy_final, last.parameters, last.macs_ratio,
    )  # fmt: skip
    assert found.compression == pytest.approx(570 / (20 + 30 + 300))
    assert "mine" in row.run


def test_the_row_counts_what_is_not_zero(run):
    rows = tables.latest(list(runs.read_events(run)), "iteration")
    more = {"nonzero_parameters": 7_000, "bytes_dense": 9, "bytes_sparse": 5, "verification": 0.75}
    with open(run / "events.jsonl", "a") as file:
        file.write(json.dumps({"seq": 99, **rows[2], **more}) + "\n")
    found = listing.read_runs().iloc[0]
    assert (found["not zero"], found.verification) == (7_000, 0.75)
    assert found["compression, non-zero"] == pytest.approx(57_000 / 7_000)


def test_each_change_of_a_folder_is_in_the_list_at_once(run, runs_folder):
    def seen() -> tuple:
        row = listing.read_runs().iloc[0]
        return row.run.split(" · ")[0], row.state, row.iterations, row.seed

    assert seen() == ("mine", "finished", 2, 0)
    runs.write_notes(runs_folder, run.name, runs.Notes("yours"))
    assert seen() == ("yours", "finished", 2, 0)
    runs.write_exit(run, "failed", "for a test")
    assert seen() == ("yours", "failed", 2, 0)
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(line for line in lines if '"iteration": 2' not in line))
    assert seen() == ("yours", "failed", 1, 0)
    spec = (run / "spec.toml").read_text()
    (run / "spec.toml").write_text(spec.replace("seed = 0", "seed = 5"))
    assert seen() == ("yours", "failed", 1, 5)
    assert store.parents() == {run.name: None}
    (run / "spec.toml").write_text(f'{spec}\n[parent]\nrun = "other"\niteration = 1\n')
    assert runs.parents(runs_folder, store._parent_of) == {run.name: ("other", 1)}
    (run / "exit.json").unlink()
    assert seen()[1] == "queued", "what launched it lives"
    (run / "spec.toml").unlink()
    assert listing.read_runs().empty


# --- the page of a run ---


def test_curves_are_drawn_once_for_all_until_something_is_recorded(run, monkeypatch):
    drawn, real = [], results.charts.accuracy_curve
    monkeypatch.setattr(results.charts, "accuracy_curve", lambda *given: drawn.append(1) or real(*given))
    first, second = page("run", run=run.name), page("run", run=run.name)
    assert len(drawn) == 1
    charts = [[chart.proto.spec for chart in app.get("plotly_chart")] for app in (first, second)]
    assert charts[0] == charts[1]
    assert len(charts[0]) > 2
    epoch = {"kind": "epoch", "phase": "retrain", "iteration": 2, "epoch": 2, "epochs": 2, "loss": 0.125,
             "accuracy": 0.5, "validation_accuracy": 0.625, "seconds": 1.0}  # fmt: skip
    with open(run / "events.jsonl", "a") as file:
        file.write(json.dumps({"seq": 99, **epoch}) + "\n" + json.dumps({"seq": 100, "kind": "note", "text": "new"}))
    second.run()
    assert len(drawn) == 2
    assert "new" in texts(second)
    assert [chart.proto.spec for chart in second.get("plotly_chart")] != charts[1]


def test_the_log_is_as_it_is_now(run):
    (run / "log.txt").write_text("one\n")
    assert store.log_tail(run.name) == "one"
    (run / "log.txt").write_text("".join(f"{number}\n" for number in range(300)))
    assert store.log_tail(run.name).splitlines() == [str(number) for number in range(100, 300)]


def test_figures_of_twelve_thousand_neurons_are_light(runs_folder):
    run_id = fake_vgg16(runs_folder)
    for name in ("profile", "run", "compare"):
        sizes = [len(chart.proto.spec.encode()) for chart in page(name, run=run_id).get("plotly_chart")]
        assert len(sizes) > 2
        assert max(sizes) < 500_000


# --- measuring beside the page ---


def test_a_page_that_is_drawn_anew_waits_for_no_measurement(monkeypatch):
    begun, given_up = threading.Event(), []
    monkeypatch.setattr(opened.looking, "subject", lambda *begin: None)
    monkeypatch.setattr(opened, "_shot_key", lambda *given: "of a test")

    def endless(begin, subject, wanted, stop):
        begun.set()
        given_up.append(stop.wait(60))

    monkeypatch.setattr(opened, "_shot", endless)

    def click() -> None:
        if begun.is_set():
            raise KeyboardInterrupt("the page is drawn anew")

    with pytest.raises(KeyboardInterrupt):
        opened.shot({"step": []}, ("a", 0), click)
    opened._worker().submit(lambda: None).result(60)  # the thread is free again
    assert given_up == [True]
    assert "of a test" not in opened._shelf()


def test_one_thread_is_given_back_after_a_mistake_too():
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        with contextlib.suppress(ValueError), one_thread():
            seen.append(torch.get_num_threads())
            raise ValueError("a mistake")
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_what_comes_after_the_imports_is_still_collected():
    class Ring:
        def __init__(self):
            self.me = self

    spared = Ring()
    garbage.spare_what_stays("a page of this test")
    try:
        assert gc.get_freeze_count() > 100_000, "PyTorch alone has more"
        gone, kept = weakref.ref(Ring()), weakref.ref(spared)
        del spared
        gc.collect()
        assert gone() is None
        assert kept() is not None, "it was taken out of the search"
        garbage.spare_what_stays("a page of this test")
        assert kept() is None, "... until everything is looked through again"
    finally:
        gc.unfreeze()
        garbage._begun.clear()
