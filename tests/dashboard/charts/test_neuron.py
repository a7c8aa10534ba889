"""Charts of one neuron, compared with numpy."""

import numpy as np
import pytest

from dashboard.charts.neuron import ROW, SLICES, activation_histogram, apoz_by_class, filter_slices

RANDOM = np.random.default_rng(0)


def shown_slices(figure) -> dict[int, np.ndarray]:
    """The weights of each input in the cells of a figure."""
    z, which = np.asarray(figure.data[0].z), np.asarray(figure.data[0].customdata)
    found = {}
    for number in {int(n) for n in figure.data[1].text}:
        rows, columns = np.nonzero((which == number) & ~np.isnan(z))
        found[number] = z[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return found


@pytest.mark.parametrize("shape", [(20, 5, 5), (1, 5, 5), (3, 3, 3), (64, 7, 7), (5, 1, 9), (2, 30, 40)])
def test_slices_show_the_strongest_inputs(shape):
    weights = RANDOM.normal(size=shape).astype(np.float32)
    weights[0] += 5  # so that the first input differs from the gaps between the slices
    norms = [float(np.linalg.norm(piece)) for piece in weights]
    best = sorted(range(len(weights)), key=lambda i: -norms[i])[:SLICES]
    figure = filter_slices(weights)
    assert [int(text) for text in figure.data[1].text] == best
    for number, cells in shown_slices(figure).items():
        np.testing.assert_array_equal(cells, weights[number])
    axis = figure.layout.coloraxis
    assert axis.cmax == -axis.cmin == pytest.approx(np.abs(weights).max())
    assert f"strongest input is {best[0]}" in figure.layout.meta["alt"]


def test_kernels_with_more_dimensions_are_flattened():
    weights = RANDOM.normal(size=(2, 3, 4, 5)).astype(np.float32) + 3
    for number, cells in shown_slices(filter_slices(weights)).items():
        np.testing.assert_array_equal(cells, weights[number].reshape(12, 5))


@pytest.mark.parametrize("count", [1, 84, 300])
@pytest.mark.parametrize("shape", [(), (1, 1)])
def test_vectors_are_strips_in_the_order_of_the_inputs(count, shape):
    weights = RANDOM.normal(size=(count, *shape)).astype(np.float32)
    heat = filter_slices(weights).data[0]
    assert np.asarray(heat.z).shape[1] == min(count, ROW)
    np.testing.assert_array_equal(np.asarray(heat.z).ravel()[:count], weights.ravel())
    np.testing.assert_array_equal(np.asarray(heat.customdata).ravel()[:count], range(count))
    assert np.isnan(np.asarray(heat.z).ravel()[count:]).all()


def test_the_histogram_leaves_out_exact_zeros():
    counts, edges = np.array([1, 0, 6, 3]), np.array([-1.0, 0, 1, 2, 3])
    figure = activation_histogram(counts, edges, exact_zeros=90)
    (bars,) = figure.data
    assert (list(bars.x), list(bars.y)) == ([-0.5, 0.5, 1.5, 2.5], [1, 0, 6, 3])
    assert list(bars.customdata[2]) == [1, 2, 6], "6 of 100 positions"
    assert "10 non-zero activations, half of them above 1.5" in figure.layout.meta["alt"]
    assert "90\u00a0% of all are exactly zero" in figure.layout.meta["alt"]


@pytest.mark.parametrize("count", [1, 10, 20, 21, 1000])
def test_every_class_with_images_has_its_apoz(count):
    apoz = RANDOM.random(count)
    if count > 1:
        apoz[1] = np.nan
    names = [f"class {i}" for i in range(count)]
    figure = apoz_by_class(apoz, names)
    data = figure.data[0]
    if count <= 20:
        assert len(data.y) == (~np.isnan(apoz)).sum()
        shown = dict(zip(data.customdata, data.y, strict=True))
    else:
        z, labels = np.asarray(data.z).ravel(), np.asarray(data.customdata).ravel()
        shown = {label: value for label, value in zip(labels, z, strict=True) if not np.isnan(value)}
    expected = {name: 100 * value for name, value in zip(names, apoz, strict=True) if not np.isnan(value)}
    assert shown == pytest.approx(expected, abs=1e-4)
    assert names[int(np.nanargmin(apoz))] in figure.layout.meta["alt"]


@pytest.mark.parametrize("figure", [
    filter_slices(RANDOM.normal(size=(512, 7, 7))), filter_slices(RANDOM.normal(size=(64, 56, 56))),
    filter_slices(RANDOM.normal(size=(2, 224, 224))),
    filter_slices(RANDOM.normal(size=4096)), activation_histogram(np.arange(40), np.linspace(0, 1, 41), 9),
    apoz_by_class(RANDOM.random(20), "abcdefghijklmnopqrst"), apoz_by_class(RANDOM.random(1000), ["some class"] * 1000),
    filter_slices(np.zeros((3, 2, 2))),
])
def test_charts_are_light_and_low_and_have_alt_texts(figure):
    assert len(figure.to_json()) < 500_000
    assert figure.layout.height <= 480
    alt = figure.layout.meta["alt"]
    assert alt.endswith(".")
    assert "nan" not in alt.lower()
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


@pytest.mark.parametrize(("chart", "arguments", "named"), [
    (filter_slices, [np.zeros((0, 3, 3))], "weights are empty"),
    (activation_histogram, [np.zeros(3), np.arange(4)], "counts are empty"),
    (activation_histogram, [np.ones(3), np.arange(3)], "between edges"),
    (apoz_by_class, [[np.nan], ["a"]], "one class that has images"),
    (apoz_by_class, [[0.5], ["a", "b"]], "2 classes"),
])
def test_errors_name_what_is_missing(chart, arguments, named):
    with pytest.raises(ValueError, match=named):
        chart(*arguments)
