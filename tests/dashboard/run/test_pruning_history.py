"""The charts of zeros and units."""

from tests.dashboard.pages import page, texts


def test_the_page_shows_zeros_and_units_of_an_active_run(units_run):
    headings = texts(page("run", run=units_run.name))
    for heading in ("weakest neuron of each unit", "Zero weights by layer", "File size"):
        assert heading in headings
    text = (units_run / "events.jsonl").read_text("utf-8").splitlines()
    until = next(number for number, line in enumerate(text) if '"weights"' in line and '"kind": "weights"' in line)
    (units_run / "events.jsonl").write_text("\n".join(text[: until + 1]) + "\n", "utf-8")
    headings = texts(page("run", run=units_run.name))
    assert "Zero weights by layer" in headings, "before its iteration is finished"
