"""The list of runs on the page Compare."""

from tests.dashboard.pages import page


def test_the_page_lists_the_run(run):
    app = page("compare", run=run.name)
    listed = app.dataframe[0].value
    assert listed.run[0].startswith("made by a test")
    assert listed.iterations[0] == 2
