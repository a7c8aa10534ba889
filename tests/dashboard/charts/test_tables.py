"""The formatting of numbers and names in charts."""

import pytest

from dashboard.charts.tables import percent, short_layer


@pytest.mark.parametrize(("share", "text"), [
    (0, "0 %"), (0.0001, "<0.1 %"), (0.0043, "0.4 %"), (0.814, "81 %"), (0.9913, "99.1 %"), (1, "100 %"),
])
def test_percent(share, text):
    assert percent(share) == text.replace(" ", "\u00a0")


@pytest.mark.parametrize(("name", "short"), [
    ("conv1", "conv1"), ("classifier.3", "classifier.3"), ("layer4.1.conv2", "layer4.1.conv2"),
    ("features.denseblock1.denselayer12.conv1", "f.d1.d12.conv1"), ("features.6.15.block.0.0", "f.6.15.b.0.0"),
    ("features.6.1.block.0.0", "f.6.1.b.0.0"), ("layer2.0.downsample.0", "l2.0.d.0"),
    ("encoder.layers.encoder_layer_11.mlp.0", "e.l.e11.mlp.0"),
    ("encoder.layers.encoder_layer_0.self_attention", "e.l.e0.self_a…"),
])
def test_shortened_names_stay_distinct(name, short):
    assert short_layer(name) == short
