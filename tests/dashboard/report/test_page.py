"""The export formats on the page Report."""

from tests.dashboard.pages import field, page, texts


def test_the_report_offers_a_sparse_file(units_run):
    app = page("report", run=units_run.name)
    format = field(app, "Format")
    assert "sparse safetensors (.sparse.safetensors)" in format.options
    format.set_value("sparse").run()
    assert "--format sparse --out trimmed.sparse.safetensors" in app.code[0].value
    assert "Three sizes" in texts(app)
