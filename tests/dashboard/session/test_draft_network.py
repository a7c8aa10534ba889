"""The network of a draft is the one that a run would train."""

import pytest

from dashboard.session.draft_network import arguments_for
from trimcore import spec
from trimcore.training.prepare import data_for


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("lenet5", {}),
        ("lenet5", {"channels": 3}),
        ("densenet121", {}),
        ("inception_v3", {}),
        ("vit_b_32", {"image_size": 32}),
    ],
)
def test_the_page_uses_the_network_that_a_run_would_train(model, asked):
    found = data_for(spec.parse({"model": model, **asked}))
    wanted = {"num_classes": 10, "in_channels": found.channels, "image_size": found.image_size}
    assert arguments_for(model, "mnist-5k", asked.get("image_size", 0), asked.get("channels", 0)) == wanted
