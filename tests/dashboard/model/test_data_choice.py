"""Choosing one's own data on the page Model: found by looking, typed, or dropped in as a zip file."""

import io
import zipfile

import pytest
import streamlit as st
from PIL import Image

from dashboard.model import data_choice
from dashboard.session import startup
from tests.dashboard.model.test_uploads import SimpleSession
from tests.dashboard.pages import click, field, page, texts
from trimcore.data.search import find_data

FOLDER, OTHER = "imagefolder:PATH", data_choice.OTHER


def picture(value: int = 0, size=(12, 6)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def pets(tmp_path, monkeypatch, no_runs):
    """A folder pets/ with two splits of two classes; it is what the page finds."""
    for part, count in (("train", 20), ("valid", 4)):
        for name in ("cat", "dog"):
            (tmp_path / "home" / "pets" / part / name).mkdir(parents=True)
            for i in range(count):
                (tmp_path / "home" / "pets" / part / name / f"{i}.png").write_bytes(picture(i))
    monkeypatch.setattr(startup, "data_folders", lambda: [tmp_path / "home"])
    data_choice._found.clear()
    yield tmp_path / "home" / "pets"
    data_choice._found.clear()


def test_nothing_is_wrong_before_a_folder_is_chosen(pets):
    app = page("model")
    app.selectbox[1].set_value(FOLDER).run()
    assert not app.exception
    assert not app.error
    assert "Choose the data first" in app.info[0].value
    assert not any(button.label == "Profile this network" for button in app.button)


def test_a_folder_is_found_and_what_is_in_it_is_said(pets, launched):
    app = page("model")
    app.selectbox[1].set_value(FOLDER).run()
    found = field(app, "Image folder")
    assert found.options == ["home/pets", OTHER]
    found.set_value(str(pets)).run()
    assert not app.exception
    said = texts(app).replace("\\", "")
    assert "2 classes; 36 to train, 4 held out of train/, 8 from valid/ as the test." in said
    field(app, "Images that are not square").set_value("pad").run()
    click(app, "Profile this network")
    assert (launched[0].data, launched[0].resize) == (f"imagefolder:{pets}", "pad")


def test_another_path_can_be_typed(pets, tmp_path):
    app = page("model")
    app.selectbox[1].set_value(FOLDER).run()
    field(app, "Image folder").set_value(OTHER).run()
    field(app, "Path on the server").set_value(str(pets / "train")).run()
    assert not app.exception
    assert "both held out of" in texts(app)
    assert field(app, "Image folder").value == OTHER
    field(app, "Path on the server").set_value(str(tmp_path / "none")).run()
    assert "no folder" in app.error[0].value


def test_where_nothing_is_found_a_path_is_typed(pets, tmp_path, monkeypatch):
    monkeypatch.setattr(startup, "data_folders", lambda: [tmp_path / "none"])
    app = page("model")
    app.selectbox[1].set_value(FOLDER).run()
    assert "does not exist; the server was started with it" in texts(app)
    app.text_input[0].set_value(str(pets)).run()
    assert "2 classes" in texts(app)


def test_what_is_typed_and_found_is_one_folder_for_the_plan(pets):
    """The data that the draft names stay chosen on the next visit."""
    app = page("model")
    app.selectbox[1].set_value(FOLDER).run()
    field(app, "Image folder").set_value(str(pets)).run()
    app.switch_page("plan/page.py").run()
    app.switch_page("model/page.py").run()
    assert not app.exception
    assert app.selectbox[1].value == FOLDER
    assert field(app, "Image folder").value == str(pets)


# ---- zip files


def archive(entries: dict[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        for name, body in entries.items():
            content.writestr(name, body)
    file.file_id = str(hash(file.getvalue()))
    return file


@pytest.fixture
def dropped(monkeypatch):
    """Files that are dropped into the page, one after another, and the errors that it shows."""
    files, errors = [], []
    monkeypatch.setattr(st, "session_state", SimpleSession())
    monkeypatch.setattr(st, "file_uploader", lambda *arguments, **settings: files[-1])
    monkeypatch.setattr(st, "error", lambda text, **settings: errors.append(text))
    return files, errors


def test_a_zip_file_is_unpacked_next_to_the_runs(dropped, runs_folder):
    files, errors = dropped
    files.append(archive({f"{name}/{i}.png": picture() for name in ("cat", "dog") for i in range(9)}))
    name = data_choice._uploaded()
    assert not errors
    assert find_data([runs_folder / ".uploads" / name.rpartition("/")[2]]) == [name]
    made = (runs_folder / ".uploads").stat().st_mtime_ns
    st.session_state.clear()
    assert data_choice._uploaded() == name, "the same file is not unpacked twice"
    assert (runs_folder / ".uploads").stat().st_mtime_ns == made


def test_a_bad_zip_file_is_one_line_and_the_page_goes_on(dropped, runs_folder):
    files, errors = dropped
    files.append(archive({"../cat/1.png": picture()}))
    assert data_choice._uploaded() == ""
    assert "leads out of its folder" in errors[0].replace("\\", "")
    assert list((runs_folder / ".uploads").iterdir()) == []
    files.append(archive({f"{name}/{i}.png": picture() for name in ("cat", "dog") for i in range(9)}))
    assert data_choice._uploaded().startswith("imagefolder:")
    assert len(errors) == 1


# ---- the options of the server


def test_the_server_names_the_folders(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["app.py", "--data-folder", str(tmp_path), "--data-folder", "none", "--more"])
    startup._options.cache_clear()
    try:
        assert startup.data_folders() == [tmp_path, startup.Path("none").absolute()]
        assert startup.missing_folders() == [startup.Path("none").absolute()]
        monkeypatch.setattr("sys.argv", ["app.py"])
        startup._options.cache_clear()
        assert startup.data_folders() == [startup.Path.cwd()]
    finally:
        startup._options.cache_clear()
