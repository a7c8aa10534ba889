"""Ids as tensors: the axis along which they differ, and the layers that they lead to."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trimcore.graph import channels
from trimcore.graph.tracing import trace


@st.composite
def spread_ids(draw):
    """Ids that differ along at most one axis of a tensor, that axis, and the ids along it."""
    shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    axis = draw(st.integers(0, len(shape) - 1))
    vector = torch.tensor(draw(st.lists(st.integers(0, 5), min_size=shape[axis], max_size=shape[axis])))
    return channels.spread(vector, shape, axis), axis, vector


@given(spread_ids(), st.booleans())
def test_ids_along_an_axis(made, dense):
    ids, axis, vector = made
    ids = ids.contiguous() if dense else ids
    differing = {axis} if len(set(vector.tolist())) > 1 else set()
    for other in range(ids.dim()):
        found = channels.along(ids, other)
        rows = {tuple(row) for row in ids.movedim(other, -1).reshape(-1, ids.shape[other]).tolist()}
        assert (found is None) == (len(rows) > 1)
        assert found is None or tuple(found.tolist()) in rows
    slim = channels.canonical(ids)
    assert torch.equal(slim, ids)
    assert set(channels.varying_axes(slim)) == differing
    if differing:
        assert channels.channel_axis(slim) == (axis or None)  # the batch axis is not a channel axis


@given(spread_ids())
def test_setting_flags_keeps_the_channels(made):
    ids, _, _ = made
    for flags in (0, channels.BEHIND, channels.OWN, channels.BOTH):
        assert torch.equal(channels.with_flags(ids, on=flags).ids, ids // 4 * 4 + flags)
        assert torch.equal(channels.atoms_of(channels.with_flags(ids, on=flags).ids), ids // 4)
    assert torch.equal(channels.with_flags(ids, off=channels.BEHIND).ids, ids // 2 * 2)


def test_ids_over_two_axes_have_no_channel_axis():
    ids = torch.arange(6).view(1, 2, 3)
    assert channels.channel_axis(ids) is None
    assert channels.channel_axis(torch.arange(3)) is None


class Squeezed(nn.Module):
    """Squeezes axes of length one. Without arguments, that includes the channel axis once one neuron is left."""

    def __init__(self, *axes: int):
        super().__init__()
        self.axes = axes
        self.conv, self.relu, self.fc = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Linear(4, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        return self.fc(self.pool(self.relu(self.conv(x))).squeeze(*self.axes))


def test_squeeze_freezes_channels_unless_it_names_its_axes():
    example = torch.zeros(2, 1, 8, 8)
    assert "squeeze" in trace(Squeezed(), example).layers["conv"].reason
    assert trace(Squeezed((2, 3)), example).trimmable() == ["conv"]
