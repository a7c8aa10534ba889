"""Which runs belong to a sweep, whatever their sweep.json says."""

import json

import pytest

from trimcore import runs
from trimcore.errors import RunError
from trimcore.runs import sweeps
from trimcore.runs.sweeps import Member

GOOD = Member("sweep-1", 4, point=2, settings={"step.0.value": 1.5, "order": ["fc1", "conv2"]}, stop_behind=0.02,
              target={"accuracy": 0.98, "smaller": 10})  # fmt: skip


@pytest.fixture
def folder(runs_folder):
    return runs.create(runs_folder, "lenet5", "")


def test_a_member_is_written_and_read_again(folder):
    assert sweeps.member_of(folder) is None
    sweeps.write_member(folder, GOOD)
    assert sweeps.member_of(folder) == GOOD
    assert GOOD.label == "value 1.5, order fc1 → conv2"
    sweeps.exempt(folder)
    assert sweeps.member_of(folder).exempt


@pytest.mark.parametrize("change", [
    {"sweep": 3}, {"sweep": "../../etc"}, {"sweep": ""}, {"sweep": "x" * 1000}, {"points": 0}, {"points": "4"},
    {"points": 10**30}, {"point": -1}, {"point": 1.5}, {"point": None}, {"base": 0}, {"point": True},
    {"settings": []}, {"settings": {"a": {"b": 1}}}, {"settings": {"": 1}}, {"settings": {"=1+2": 1}},
    {"settings": {"seed": "x" * 1000}}, {"settings": {"seed": [[1]]}}, {"settings": {"seed": None}},
    {"settings": {"seed": float("nan")}}, {"settings": {"<b>": 1}}, {"settings": {"a\nb": 1}},
    {"stop_behind": -1}, {"stop_behind": "0"}, {"stop_behind": None}, {"stop_behind": float("nan")},
    {"stop_behind": float("inf")}, {"target": 3}, {"target": {"accuracy": "high"}}, {"target": {"smaller": 2}},
    {"target": {"accuracy": float("nan")}}, {"target": {"accuracy": 0.5, "code": 1}}, {"exempt": 1}, {"exempt": "no"},
], ids=str)  # fmt: skip
def test_a_made_up_file_is_ignored(folder, change):
    sweeps.write_member(folder, GOOD)
    values = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({**values, **change}))
    assert sweeps.member_of(folder) is None
    assert sweeps.members(folder.parent, "sweep-1") == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"3", b"[" * 100_000, b"9" * 10_000])
def test_a_torn_file_is_ignored(folder, content):
    sweeps.write_member(folder, GOOD)
    (folder / "sweep.json").write_bytes(content)
    assert sweeps.member_of(folder) is None


def test_a_file_that_is_cut_anywhere_is_ignored(folder):
    sweeps.write_member(folder, GOOD)
    whole = (folder / "sweep.json").read_bytes()
    for length in range(len(whole)):
        (folder / "sweep.json").write_bytes(whole[:length])
        assert sweeps.member_of(folder) is None


def test_unknown_keys_of_a_later_version_are_allowed(folder):
    sweeps.write_member(folder, GOOD)
    values = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({**values, "colour": "red"}))
    assert sweeps.member_of(folder) == GOOD


def test_the_members_are_in_order_and_only_those_of_this_installation(runs_folder):
    made = {}
    for name, member in {
        "second": Member("s", 2, point=1), "other": Member("t", 2, point=0), "first": Member("s", 2, point=0),
        "base": Member("s", 2, base=0), "brought": Member("s", 2, point=0),
    }.items():  # fmt: skip
        folder = made[name] = runs.create(runs_folder, name, "")
        sweeps.write_member(folder, member)
    (made["brought"] / "brought.json").write_text("{}")
    assert list(sweeps.members(runs_folder, "s")) == [made[name].name for name in ("base", "first", "second")]
    assert set(sweeps.all_members(runs_folder)) == {"s", "t"}
    assert sweeps.members(runs_folder / "nowhere", "s") == {}


def test_a_sweep_is_kept_as_a_spec(runs_folder):
    assert sweeps.list_sweeps(runs_folder) == []
    made = sweeps.create_sweep(runs_folder, "seed = 3\n")
    assert sweeps.list_sweeps(runs_folder) == [made]
    assert sweeps.sweep_path(runs_folder, made).read_text() == "seed = 3\n"
    assert runs.list_runs(runs_folder) == [], "it is no run"


@pytest.mark.parametrize("name", ["../x", "", "nowhere", "a/b", "x" * 200, "a\0b", "link"])
def test_there_is_no_such_sweep(runs_folder, tmp_path, name):
    sweeps.create_sweep(runs_folder, "")
    (tmp_path / "outside.toml").write_text("")
    (runs_folder / ".sweeps" / "link.toml").symlink_to(tmp_path / "outside.toml")
    with pytest.raises(RunError, match="is not the id of a sweep|there is no sweep"):
        sweeps.sweep_path(runs_folder, name)


def test_short_names_stay_distinct():
    assert sweeps.settings_text({"step.value": 2.0, "seed": 1}) == "value 2, seed 1"
    assert sweeps.settings_text({"step.0.value": 2.0, "step.1.value": 3}) == "step.0.value 2, step.1.value 3"
    assert sweeps.settings_text({"retrain.keep_momentum": True}) == "retrain.keep_momentum true"
