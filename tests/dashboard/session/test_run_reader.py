"""Reading run folders always gives the current state."""

import json

import pytest

from dashboard.session import run_reader
from trimcore import runs


def test_reading_some_kinds_equals_filtering_all_events(cut_run):
    lines = [
        {"seq": 90, "time": 1.0, "kind": "weights", "layers": {"fc1": {"kind": "iteration"}}},
        {"seq": 91, "text": "x" * 300, "kind": "iteration", "iteration": 9},  # `kind` comes late in the line
        {"seq": 92, "no": "kind"}, ["iteration"],
    ]  # fmt: skip
    with open(cut_run / "events.jsonl", "a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines) + '{"seq": 93, "kind": "iteration", "iter')
    everything = list(runs.read_events(cut_run))
    for kinds in [("iteration",), ("weights", "epoch"), ("profiled",), ("nothing",)]:
        assert list(runs.read_events(cut_run, kinds)) == [event for event in everything if event["kind"] in kinds]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('model = "lenet5"\nname = "a [b] \\"c\\""\n\n[base]\nepochs = 1\n', 'a [b] "c"'),
        ('model = "lenet5"\n[options]\nname = "of a section"\n', ""), ("name = 3\n", ""), ("name = [", ""), ("", ""),
    ],
)  # fmt: skip
def test_only_the_top_level_name_is_read(tmp_path, text, name):
    (tmp_path / "spec.toml").write_text(text)
    assert runs.launched_as(tmp_path / "spec.toml") == name
    assert runs.launched_as(tmp_path / "nowhere") == ""


def test_the_log_tail_follows_the_file(cut_run):
    (cut_run / "log.txt").write_text("one\n")
    assert run_reader.log_tail(cut_run.name) == "one"
    (cut_run / "log.txt").write_text("".join(f"{number}\n" for number in range(300)))
    assert run_reader.log_tail(cut_run.name).splitlines() == [str(number) for number in range(100, 300)]
