"""Charts of a verification."""

import numpy as np

from dashboard import charts
from tests.dashboard.charts.examples import ROC, VERIFIED, trace


def test_roc_curves_and_their_areas():
    figure = charts.roc(ROC)
    base, result = trace(figure, "base: AUC 0.8750"), trace(figure, "result: AUC 0.9375")
    assert (list(base.x), list(base.y)) == ([0, 25, 100], [0, 100, 100])
    assert (list(result.x), list(result.y)) == ([0, 12.5, 50, 100], [0, 75, 100, 100])
    assert base.line.color != result.line.color
    assert figure.layout.meta["alt"] == (
        "ROC curves of 2 verifications; the areas under the curves are: base 0.8750, result 0.9375."
    )


def test_verification_with_and_without_standard_error():
    (line,) = charts.verification_history(VERIFIED).data
    np.testing.assert_allclose(line.y, [90, 92, 88])
    np.testing.assert_allclose(line.error_y.array, [1, 0, 2])
    assert list(line.customdata) == [" ± 1.00", "", " ± 2.00"]
