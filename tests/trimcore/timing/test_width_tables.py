"""Time against width: measured once, interpolated exactly where time is a product of widths, kept in a file."""

import json
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimcore.timing import width_tables
from trimcore.timing.layer_shape import LayerShape
from trimcore.timing.width_tables import GRID, WidthTables, measure

CPU = torch.device("cpu")


def shape_with(outputs: int = 64, inputs: int = 32) -> LayerShape:
    operands = {"input": torch.zeros(2, inputs, device="meta"), "weight": torch.zeros(outputs, inputs)}
    return LayerShape(torch.nn.functional.linear, operands, ("out", "in"), {"out": outputs, "in": inputs}, False)


@pytest.fixture
def measured(monkeypatch) -> list:
    """Every measurement that is made. Time is a bilinear function of the widths."""
    found = []

    def fake(shape, widths, device):
        found.append((widths["in"], widths["out"]))
        return 1 + 2 * widths["in"] + 3 * widths["out"] + 5 * widths["in"] * widths["out"]

    monkeypatch.setattr(width_tables, "measure", fake)
    return found


def expected(inputs: int, outputs: int) -> float:
    return 1 + 2 * inputs + 3 * outputs + 5 * inputs * outputs


@given(st.integers(2, 32), st.integers(4, 64))
def test_a_bilinear_time_is_interpolated_exactly(inputs, outputs):
    """From the smallest width of the grid up, for any widths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(width_tables, "measure", lambda shape, widths, device: expected(widths["in"], widths["out"]))
        found = WidthTables(CPU).estimate(shape_with(), {"in": inputs, "out": outputs})
    assert found == pytest.approx(expected(inputs, outputs))


def test_each_point_is_measured_once_and_no_more_than_the_grid(measured):
    tables = WidthTables(CPU)
    for inputs in range(1, 33):
        tables.estimate(shape_with(), {"in": inputs, "out": 2 * inputs})
    assert len(measured) == len(set(measured)) <= len(GRID) ** 2
    assert {point[0] for point in measured} <= {2, 8, 16, 24, 32}
    count = len(measured)
    assert tables.ms(shape_with(), {"in": 32, "out": 64}) == expected(32, 64)
    assert len(measured) == count
    tables.ms(shape_with(), {"in": 31, "out": 64})
    assert measured[-1] == (31, 64)


def test_points_are_kept_with_their_age(measured, tmp_path, monkeypatch):
    tables = WidthTables(CPU, tmp_path)
    tables.ms(shape_with(), {"in": 3, "out": 4})
    tables.save()
    (file,) = tmp_path.iterdir()
    kept = json.loads(file.read_text())
    assert kept["about"] == tables.about
    ((points),) = kept["tables"].values()
    points["3,4"][1] -= 86_400  # a day ago
    file.write_text(json.dumps(kept))
    again = WidthTables(CPU, tmp_path)
    assert again.ms(shape_with(), {"in": 3, "out": 4}) == expected(3, 4)
    assert measured == [(3, 4)]
    assert 86_400 <= time.time() - again.oldest < 86_500
    assert again.measured == 0


def test_another_number_of_threads_has_a_file_of_its_own(measured, tmp_path):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            tables = WidthTables(CPU, tmp_path)
            tables.ms(shape_with(), {"in": 3, "out": 4})
            tables.save()
    finally:
        torch.set_num_threads(before)
    assert len(list(tmp_path.iterdir())) == 2
    assert len(measured) == 2


def test_what_others_have_kept_stays(measured, tmp_path):
    one, other = WidthTables(CPU, tmp_path), WidthTables(CPU, tmp_path)
    one.ms(shape_with(), {"in": 3, "out": 4})
    other.ms(shape_with(), {"in": 5, "out": 6})
    one.save()
    other.save()
    again = WidthTables(CPU, tmp_path)
    for inputs, outputs in ((3, 4), (5, 6)):
        again.ms(shape_with(), {"in": inputs, "out": outputs})
    assert again.measured == 0
    assert again.days_old < 0.1


def test_a_folder_that_cannot_be_written_is_no_error(measured, tmp_path):
    (tmp_path / "file").write_text("")
    tables = WidthTables(CPU, tmp_path / "file")
    tables.ms(shape_with(), {"in": 3, "out": 4})
    tables.save()


@pytest.mark.parametrize("text", [
    "", "{}", "[]", '{"version": 2}', '{"version": 2, "tables": {"a": 3}}',
    '{"version": 2, "tables": {"a": {"3,4": [1]}}}', '{"version": 99, "tables": {}}',
])  # fmt: skip
def test_a_damaged_file_is_measured_again(measured, tmp_path, text):
    tables = WidthTables(CPU, tmp_path)
    tables.ms(shape_with(), {"in": 3, "out": 4})
    tables.save()
    (file,) = tmp_path.iterdir()
    file.write_text(text)
    assert WidthTables(CPU, tmp_path).ms(shape_with(), {"in": 3, "out": 4}) == expected(3, 4)
    assert len(measured) == 2


def test_a_measurement_is_the_shortest_of_some_calls_and_leaves_random_numbers_alone(monkeypatch):
    ticks = iter([100.0, 100.0, 7.0, 3.0, *[5.0] * 20])
    monkeypatch.setattr(width_tables, "milliseconds", lambda begin, end: next(ticks))
    monkeypatch.setattr(width_tables, "LIMIT_SECONDS", 1e9)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    assert measure(shape_with(), {"in": 3, "out": 4}, CPU) == 3.0
    assert torch.equal(torch.rand(3), wanted)
