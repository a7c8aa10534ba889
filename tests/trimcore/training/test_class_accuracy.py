"""Class accuracy: compared with brute force, recorded with every iteration, and in tables checked by hand."""

import pytest
import torch
from torch import nn

from tests.trimcore.tables.test_csvs import EVENTS, epoch, row
from tests.trimcore.training.runs import carry_out, of_kind
from trimcore import tables
from trimcore.data import Data
from trimcore.data.splits import Resident
from trimcore.evaluation.accuracy import Measure, evaluate
from trimcore.training import measurement

CPU = torch.device("cpu")
HEADER = "iteration,class,split,examples,accuracy_initial,accuracy_final"


def split(labels: torch.Tensor) -> Resident:
    pixels = torch.randint(0, 256, (len(labels), 1, 4, 4), dtype=torch.uint8, generator=torch.manual_seed(3))
    return Resident(pixels, labels, 4, 1)


@pytest.mark.parametrize("seen", [4, 3])
def test_class_accuracy_equals_brute_force(seen):
    """1,203 examples make three batches. With labels from three of the four classes, the last class has no example."""
    labels = torch.randint(0, seen, (1203,), generator=torch.manual_seed(1))
    own = split(labels)
    data = Data("made-up", tuple("abcd"), own, own, own, mean=(0.5,), std=(0.25,), channels=1, image_size=4)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    found = evaluate(model, own, data, CPU)
    right, count = [0] * 4, [0] * 4
    for image, label in zip(own.pixels, labels.tolist(), strict=True):
        count[label] += 1
        right[label] += int(model((image[None] / 255 - 0.5) / 0.25).argmax()) == label
    assert found.by_class == tuple(right)
    assert found.class_examples == tuple(count)
    assert found.accuracy == sum(right) / 1203
    assert found.class_accuracy == [round(r / n, 6) if n else None for r, n in zip(right, count, strict=True)]
    assert (found.class_accuracy[3] is None) == (seen == 3)


def test_a_measure_without_classes_has_no_class_accuracy():
    assert Measure(0.5, 1.0, 10).class_accuracy == []


# --- what a run records ---


@pytest.fixture(scope="module")
def story(tiny):
    return carry_out(tiny)


def test_every_measurement_of_a_run_records_class_accuracy(story, tiny):
    """The mean over classes, weighted by their examples, is the overall accuracy of the same event."""
    events, _, _ = story
    told = [*of_kind(events, "initial"), *of_kind(events, "iteration")]
    assert len(told) == 2 + 3
    for event in told:
        final = {"test": "accuracy_final", "validation": "validation_accuracy"}
        initial = {"test": "accuracy", "validation": "validation_accuracy"}
        for part, key in (final if event["kind"] == "iteration" else initial).items():
            shares, counts = event["class_accuracy"][part], event["class_examples"][part]
            assert (len(shares), sum(counts)) == (4, events[0]["splits"][part])
            mean = sum(share * count for share, count in zip(shares, counts, strict=True)) / sum(counts)
            assert mean == pytest.approx(event[key], abs=1e-6)


def test_class_accuracy_is_not_recorded_for_very_many_classes(make_spec, monkeypatch):
    monkeypatch.setattr(measurement, "MOST_CLASSES", 3)
    events, _, _ = carry_out(make_spec(base={"epochs": 0}, step=[]))
    assert not [event for event in events if "class_accuracy" in event or "class_examples" in event]
    assert "classes.csv" not in tables.csv_texts(events)


def test_a_resumed_run_keeps_its_class_accuracy(story, tiny):
    events, snapshots, _ = story
    after = next(place for place, event in enumerate(events) if event["kind"] == "initial") + 1
    snapshot = next(content for count, content in snapshots if count == after)
    rest, _, _ = carry_out(tiny, resume=snapshot)
    texts = [tables.csv_texts(found)["classes.csv"] for found in (events, [*events[:after], *rest])]
    assert texts[0] == texts[1]
    assert texts[0].count("\n") == 1 + 3 * 2 * 4


# --- tables, by hand ---


def measured(validation: list, test: list, counts: tuple = (2, 0)) -> dict:
    return {"class_accuracy": {"validation": validation, "test": test},
            "class_examples": {"validation": list(counts), "test": list(counts)}}  # fmt: skip


def initial(iteration: int, **more) -> dict:
    return {"kind": "initial", "iteration": iteration, "accuracy": 0.1, "validation_accuracy": 0.2, **more}


RECORDED = [
    {"kind": "started", "classes": ["cat", "dog"]},
    row(0, **measured([1.0, None], [0.5, None])),
    initial(1, **measured([0.9, None], [0.9, None])),
    initial(1, **measured([0.5, None], [0.0, None])),  # repeated after an interruption
    row(1, **measured([0.5, None], [1.0, None])),
    initial(2, **measured([0.25, None], [0.75, None])),
]


def test_classes_csv_is_exact():
    """The unfinished iteration is left out, as in the other files. A class without examples has no value."""
    assert tables.csv_texts(RECORDED)["classes.csv"].split("\n") == [
        HEADER, "0,cat,validation,2,,1.0", "0,dog,validation,0,,", "0,cat,test,2,,0.5", "0,dog,test,0,,",
        "1,cat,validation,2,0.5,0.5", "1,dog,validation,0,,", "1,cat,test,2,0.0,1.0", "1,dog,test,0,,", "",
    ]  # fmt: skip


def test_the_table_includes_the_cut_being_retrained():
    table = tables.class_accuracy(RECORDED)
    last = table[(table.iteration == 2) & (table["class"] == "cat")].set_index("split")
    assert last.accuracy_initial.to_dict() == {"validation": 0.25, "test": 0.75}
    assert last.accuracy_final.isna().all()
    assert last.examples.tolist() == [2, 2]


def test_class_names_can_be_given_or_missing():
    assert tables.class_accuracy(RECORDED, ["a", "b"])["class"].tolist()[:2] == ["a", "b"]
    assert tables.class_accuracy(RECORDED[1:])["class"].tolist()[:2] == ["0", "1"]


@pytest.mark.parametrize("events", [[], EVENTS, [{"kind": "started"}, epoch("base", 0, 1, 2.0)]])
def test_an_old_run_has_no_class_accuracy(events):
    table = tables.class_accuracy(events)
    assert table.empty
    assert ",".join(table.columns) == HEADER
    assert list(tables.csv_texts(events)) == ["iterations.csv", "layers.csv", "neurons.csv"]


def test_a_partially_recorded_run_has_the_recorded_part():
    table = tables.class_accuracy([row(0), initial(1), *RECORDED[3:5]])
    assert table.iteration.unique().tolist() == [1]
    table = tables.class_accuracy([row(0), initial(1), RECORDED[4]])
    assert table.accuracy_initial.isna().all()
    assert table.accuracy_final.tolist()[::2] == [0.5, 1.0]
