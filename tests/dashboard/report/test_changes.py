"""The section What changed? of the page Report: numbers, pairs, images, kept results, and an image of one's own."""

import io
import os
import shutil
import threading
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from dashboard.report import changes as section
from dashboard.report import kept, pair, robustness
from dashboard.session import run_network
from tests.dashboard.fakes import NARROWER, fake_run, real_run, run_of
from tests.dashboard.pages import button, click, field, metrics, open_link, page, segmented, texts
from tests.hostile.images import BAD
from trimcore import runs, spec
from trimcore.data import registry
from trimcore.evaluation import changes, corruptions
from trimcore.training.prepare import open_iteration


def compared(run: Path, iteration: int = 2, split: str = "test") -> pd.DataFrame:
    """The table as the library measures it."""
    base, found = (open_iteration(run.parent, run.name, number) for number in (0, iteration))
    return changes.compare(base.graph.model, found.graph.model, getattr(found.data, split), found.data, "cpu")


def images(app) -> list[str]:
    """The alt texts of the images of the section."""
    alts = [image.alt for element in app.get("image") for image in element.proto.imgs]
    return [alt for alt in alts if "after trimming" in alt]


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def cut_hard(tmp_path_factory, make_spec) -> Path:
    """A run whose network answers otherwise after two large cuts without retraining, created once."""
    step = {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.7, "iterations": 2}
    return real_run(tmp_path_factory.mktemp("changed"), make_spec(step=[step], retrain={"epochs": 0}))


@pytest.fixture
def run(cut_hard, runs_folder) -> Path:
    return Path(shutil.copytree(cut_hard, runs_folder / cut_hard.name))


@pytest.fixture(autouse=True)
def forget():
    kept._shared.found.clear()


@pytest.fixture
def measured(monkeypatch) -> list[str]:
    """What is measured, and how often."""
    seen = []
    for module, name in ((changes, "compare"), (corruptions, "measure")):
        own = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, own=own, name=name, **kw: seen.append(name) or own(*args, **kw))
    return seen


def test_the_numbers_and_the_images_are_those_of_the_library(run):
    table = compared(run)
    found, counts = changes.changed(table), changes.kinds(table)
    assert len(found), "the example has changes"
    app = page("report", run=run.name)
    shown = metrics(app)
    assert shown["Answers changed"] == f"{len(found)} of {len(table)}"
    assert [shown[kind.capitalize()] for kind in changes.KINDS] == [str(count) for count in counts.values()]
    first = found.iloc[0]
    name = f"{[f'quarter{i}' for i in range(4)][first.base_answer]} before"
    assert len(images(app)) == len(found)
    assert name in images(app)[0]
    assert any("of classes, most often from" in chart.proto.alt for chart in app.get("plotly_chart"))


def test_a_pair_of_classes_is_chosen_and_is_in_the_link(run):
    table = compared(run)
    first = changes.pairs(table).iloc[0]
    text = f"quarter{first.base_answer}-quarter{first.trimmed_answer}"
    app = page("report", run=run.name)
    field(app, "Base answer → new answer").set_value(text).run()
    assert len(images(app)) == first.images
    assert app.query_params["pair"] == text
    again = open_link("report", run=run.name, pair=text)
    assert images(again) == images(app)
    lost = open_link("report", run=run.name, pair="no-such")
    assert len(lost.toast) == 1
    assert len(images(lost)) == len(changes.changed(table))


def test_another_iteration_and_the_validation_split(run):
    table = compared(run, 1, "validation")
    app = open_link("report", run=run.name, trimmed="1", images="validation")
    assert metrics(app)["Answers changed"] == f"{len(changes.changed(table))} of {len(table)}"
    field(app, "Trimmed network").set_value(2).run()
    segmented(app, "Images").set_value("test").run()
    table = compared(run)
    assert metrics(app)["Answers changed"] == f"{len(changes.changed(table))} of {len(table)}"
    assert not {"trimmed", "images"} & set(app.query_params)


def test_more_images_are_shown_on_request(run, monkeypatch):
    monkeypatch.setattr(section, "MORE", 1)
    total = len(changes.changed(compared(run)))
    app = page("report", run=run.name)
    assert len(images(app)) == 1
    click(app, f"Show more ({total - 1} left)")
    assert len(images(app)) == 2


def test_it_is_measured_once_for_all_viewers_and_kept(run, measured):
    first = page("report", run=run.name)
    second = page("report", run=run.name)
    kept._shared.found.clear()  # the server was started again
    third = page("report", run=run.name)
    assert measured == ["compare"]
    assert metrics(first) == metrics(second) == metrics(third)
    assert images(first) == images(third)


def _damaged(table: pd.DataFrame, path: Path, how: str) -> None:
    if how == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    elif how == "a class that does not exist":
        table.assign(base_answer=17).to_csv(path, index=False)
    elif how == "half an image":
        table.assign(image=0.5).to_csv(path, index=False)
    elif how == "a formula":
        table.assign(drop="=1+1").to_csv(path, index=False)
    elif how == "an unknown change":
        table.assign(change="<b>").to_csv(path, index=False)
    elif how == "other columns":
        table.drop(columns="drop").to_csv(path, index=False)
    else:
        os.utime(path, ns=(1, 1))


DAMAGE = ("binary", "a class that does not exist", "half an image", "a formula", "an unknown change", "other columns",
          "old")  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_a_kept_table_that_does_not_belong_to_the_networks_is_measured_again(run, measured, how):
    app = page("report", run=run.name)
    (path,) = (run / kept.FOLDER).iterdir()
    _damaged(pd.read_csv(path, keep_default_na=False), path, how)
    kept._shared.found.clear()
    assert metrics(page("report", run=run.name)) == metrics(app)
    assert measured == ["compare"] * 2


def test_a_folder_that_leads_elsewhere_is_not_written(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (run / kept.FOLDER).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert metrics(page("report", run=run.name))["Answers changed"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_several_who_ask_at_once_share_one_measurement(tmp_path, eventually):
    checkpoint = tmp_path / "a.pt"
    checkpoint.touch()
    table, calls, go = pd.DataFrame({"x": [1]}), [], threading.Event()
    place = kept.Kept(tmp_path, "a.csv", (checkpoint,), lambda found: list(found.columns) == ["x"])

    def measure() -> pd.DataFrame:
        calls.append(1)
        go.wait(60)
        return table

    found = []
    viewers = [threading.Thread(target=lambda: found.append(place.find_or_measure(measure))) for _ in range(4)]
    for viewer in viewers:
        viewer.start()
    eventually(lambda: calls)
    go.set()
    for viewer in viewers:
        viewer.join(60)
    assert len(calls) == 1
    assert [each.x.tolist() for each in found] == [[1]] * 4
    assert place.find().x.tolist() == [1]


def test_corruptions_are_measured_on_request_and_kept(run, measured):
    app = page("report", run=run.name)
    assert "corruptions" not in [table.key for table in app.dataframe]
    click(app, "Measure (about")
    table = next(table.value for table in app.dataframe if "corruption" in table.value)
    assert len(table) == len(corruptions.VARIANTS)
    base, found = (open_iteration(run.parent, run.name, number) for number in (0, 2))
    wanted = corruptions.measure(base.graph.model, found.graph.model, found.data.test, found.data, "cpu")
    assert table.trimmed.tolist() == pytest.approx((100 * wanted.trimmed_accuracy).tolist())
    clean = wanted.iloc[0]
    shown = metrics(app)["Calibration error"]
    assert shown == f"{clean.base_calibration_error:.1%} → {clean.trimmed_calibration_error:.1%}"
    again = page("report", run=run.name)
    assert metrics(again)["Calibration error"] == shown
    assert measured.count("measure") == 2, "once here, and once in this test"


def test_a_long_comparison_waits_for_a_button(run, monkeypatch, measured):
    monkeypatch.setattr(section, "QUICK", 0.0)
    app = page("report", run=run.name)
    assert "Answers changed" not in metrics(app)
    assert not measured
    click(app, "Compare the answers (about")
    assert "Answers changed" in metrics(app)


def test_images_in_files_are_decoded_on_the_fly(run, monkeypatch, measured):
    resident = images(page("report", run=run.name))
    monkeypatch.setattr(registry, "in_memory", lambda split, name: split)
    kept._shared.found.clear()
    shutil.rmtree(run / kept.FOLDER)
    run_network._data.clear()
    shown = images(page("report", run=run.name))
    run_network._data.clear()
    assert measured == ["compare"] * 2
    assert len(shown) == len(resident)
    assert ".png of class quarter" in shown[0]
    assert [alt.partition(" of class ")[2] for alt in shown] == [alt.partition(" of class ")[2] for alt in resident]


def test_images_without_labels_are_neither_right_nor_wrong(run, runs_folder, pictures):
    asked = spec.parse({
        "model": "lenet5", "data": f"unlabelled:{pictures}", "task": "agreement", "image_size": 16, "device": "cpu",
        "parent": {"run": run.name, "iteration": 0}, "retrain": {"epochs": 0}, "distill": {"weight": 1.0},
        "step": [{"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.9}],
    })  # fmt: skip
    app = page("report", run=real_run(runs_folder, asked).name)
    shown = metrics(app)
    assert shown["Answers changed"].split()[0] == str(len(images(app)))
    assert "Right to wrong" not in shown
    click(app, "Measure (about")
    assert "Calibration error" not in metrics(app)
    assert "Without labels, the base's answers" in texts(app)


# --- runs that cannot be compared ---


def test_a_run_without_checkpoints_has_one_line(runs_folder):
    app = page("report", run=fake_run(runs_folder, {}, NARROWER, [0.9, 0.8]))
    (line,) = [caption.value for caption in app.caption if "answers cannot be compared" in caption.value]
    assert "no checkpoint" in line
    assert "\n" not in line


def test_data_that_have_gone_are_one_line(run):
    asked = spec.load(run / "spec.toml").model_copy(update={"data": "imagefolder:/no/such/folder"})
    (run / "spec.toml").write_text(spec.dumps(asked), "utf-8")
    app = page("report", run=run.name)
    assert "answers cannot be compared" in texts(app)


def test_other_tasks_have_one_plain_sentence(run):
    asked = spec.load(run / "spec.toml").model_copy(update={"task": "regression"})
    (run / "spec.toml").write_text(spec.dumps(asked), "utf-8")
    app = page("report", run=run.name)
    assert "Answers are compared for a classification. This run's task is regression." in texts(app)
    assert not app.file_uploader


def test_a_run_that_has_cut_nothing_says_so(runs_folder):
    app = page("report", run=run_of("lenet5", runs_folder))
    assert "no trimmed network yet" in texts(app)


# --- an image of one's own ---


def dropped(app, content: bytes, name: str = "mine.png"):
    app.file_uploader(key="own_image").set_value((name, content, "image/png")).run()
    assert not app.exception
    return app


def test_both_networks_answer_an_image_that_is_dropped_in(run):
    app = dropped(page("report", run=run.name), png(Image.new("RGB", (50, 30), "red")))
    shown = metrics(app)
    assert shown["Base"].startswith("quarter")
    assert shown["Trimmed"].startswith("quarter")
    assert shown["Time of the base"].endswith(" ms")
    assert any("The most probable classes of the image" in chart.proto.alt for chart in app.get("plotly_chart"))
    app.file_uploader(key="own_image").set_value(None).run()
    assert "Time of the base" not in metrics(app)


@pytest.mark.parametrize("name", ["cut off", "a billion pixels", "text"])
def test_a_file_that_is_no_image_is_one_line(run, name):
    app = dropped(page("report", run=run.name), BAD[name][1]())
    (error,) = app.error
    assert "not a readable image" in error.value
    assert "\n" not in error.value
    assert "Time of the base" not in metrics(app)


# --- how long it takes ---


def test_the_estimate_counts_loading_and_both_passes():
    events = [
        {"kind": "started", "splits": {"train": 700, "validation": 100, "test": 200}},
        {"kind": "profiled", "iteration": 0, "seconds": 1.0, "examples": 100},
        {"kind": "profiled", "iteration": 1, "seconds": 0.5, "examples": 100},
    ]
    rows = pd.DataFrame({"iteration": [0, 1], "macs": [1e9, 1e9]})  # 0.02 seconds for an image, on a CPU
    assert pair.about_seconds(events, rows, "mnist-5k", 1, "test") == pytest.approx(1.0 + 200 * (0.02 + 0.02))
    assert pair.about_seconds(events, rows, "imagefolder:x", 1, "validation") == pytest.approx(2.0 + 100 * 0.04)
    assert pair.about_seconds(events[:1], rows, "mnist-5k", 1, "test") == pytest.approx(1.0 + 200 * 0.04)


def test_slow_networks_see_the_first_images_that_fit(run, monkeypatch, measured):
    monkeypatch.setattr(pair, "LEAST", 3)
    monkeypatch.setattr(pair, "LIMIT_SECONDS", 0.0)
    app = page("report", run=run.name)
    assert metrics(app)["Answers changed"].endswith(" of 3")
    assert "Compared on the first 3 of 20 test images." in texts(app)
    assert robustness.ROUNDS == 10
    assert button(app, "Measure (about 1 s)")
    assert runs.checkpoint_path(run, 2).exists()
