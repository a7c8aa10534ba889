"""Names, notes and tags on the pages, shown literally."""

from dashboard.session import run_reader
from tests.dashboard.pages import page, texts
from trimcore import runs

MARKUP = "<b>x</b> *y* [z](http://example.org) www.example.org\n    # not a heading\n1. no list"


def field(widgets, label: str):
    return next(widget for widget in widgets if widget.label == label)


def test_the_form_shows_the_stored_values(run_id, runs_folder):
    for name, tags in (("one", ("a",)), ("two", ())):
        runs.write_notes(runs_folder, run_id, runs.Notes(name, f"note {name}", tags))
        app = page("compare", run=run_id)
        assert field(app.text_input, "Name").value == name
        assert field(app.text_area, "Note").value == f"note {name}"
        assert field(app.multiselect, "Tags").value == list(tags)
        assert field(app.text_input, "Name").proto.default == name, "the form may be opened much later"


def test_saving_the_form_updates_all_lists(run_id, runs_folder):
    app = page("compare", run=run_id)
    field(app.text_input, "Name").set_value("best so far")
    field(app.text_area, "Note").set_value(MARKUP)
    field(app.multiselect, "Tags").set_value(["paper", "lenet"])
    next(button for button in app.button if button.label == "Save").click().run()
    assert not app.exception
    assert runs.notes_of(runs_folder / run_id) == runs.Notes("best so far", MARKUP, ("paper", "lenet"))
    assert app.dataframe[0].value.run[0].startswith("best so far · ")
    assert list(app.dataframe[0].value.tags[0]) == ["paper", "lenet"]
    assert any("best so far" in option for option in app.selectbox(key="run_choice").options)
    report = page("report", run=run_id)
    assert "best so far" in report.caption[0].value or "best so far" in texts(report)
    assert "Tags: paper, lenet" in texts(report)


def test_a_note_is_shown_as_plain_text(run_id, runs_folder):
    runs.write_notes(runs_folder, run_id, runs.Notes("*n* <i>", MARKUP, ("[t](http://example.org)",)))
    for name in ("compare", "report"):
        app = page(name, run=run_id)
        assert [text.value for text in app.text] == [MARKUP], "in a text element, which does not render Markdown"
        assert MARKUP not in texts(app)
        assert "[t](http" not in texts(app)
    assert "*n* <i>" not in texts(app)


def test_an_invalid_tag_is_a_notice_and_changes_nothing(run_id, runs_folder):
    app = page("compare", run=run_id)
    field(app.multiselect, "Tags").set_value(["x" * 41])
    next(button for button in app.button if button.label == "Save").click().run()
    assert "a tag has at most 40 characters" in app.error[0].value.replace("\\", "")
    assert runs.notes_of(runs_folder / run_id) == runs.Notes()


def test_without_a_name_the_name_in_the_spec_is_shown(run_id, runs_folder):
    runs.write_notes(runs_folder, run_id, runs.Notes("other"))
    assert run_reader.title(run_id).startswith("other · ")
    runs.write_notes(runs_folder, run_id, runs.Notes(""))
    assert run_reader.title(run_id).startswith("as launched · ")
    assert run_reader.short_title(run_id) == "as launched"
