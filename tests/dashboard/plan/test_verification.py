"""The choice of a verification on the page Plan."""

import pytest

from tests.dashboard.drafts import unit_draft
from tests.dashboard.pages import field, page, texts
from trimcore import spec


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_verification_is_launched(launched, distance):
    app = page("plan", draft=unit_draft())
    assert "Distance" not in {box.label for box in app.selectbox}
    field(app, "Verification").set_value("test").run()
    field(app, "Distance").set_value(distance).run()
    app.button(key="launch").click().run()
    assert launched[0].verify == spec.Verify(pairs="test", distance=distance)


def test_lfw_needs_a_folder(launched, tmp_path):
    app = page("plan", draft=unit_draft())
    field(app, "Verification").set_value("lfw").run()
    assert "Without a folder, the run skips the verification" in texts(app)
    app.button(key="launch").click().run()
    app.switch_page("plan/page.py").run()
    field(app, "Verification").set_value("lfw").run()
    field(app, "Folder that contains lfw-py").set_value(str(tmp_path / "nowhere")).run()
    assert "nowhere" in app.error[0].value
    field(app, "Folder that contains lfw-py").set_value(str(tmp_path)).run()
    assert not app.error
    app.button(key="launch").click().run()
    assert [run.verify.pairs for run in launched] == ["", f"lfw:{tmp_path}"]
