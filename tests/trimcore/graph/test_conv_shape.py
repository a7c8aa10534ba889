"""The shapes of convolutions by formula."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trimcore.graph.rules.layers import conv_shape


@st.composite
def convolutions(draw) -> tuple[nn.Module, torch.Size]:
    """Any PyTorch convolution, and an input shape that may or may not fit it."""
    dimensions, transposed = draw(st.integers(1, 3)), draw(st.booleans())
    numbers = {
        name: draw(st.lists(st.integers(low, high), min_size=dimensions, max_size=dimensions))
        for name, low, high in (("kernel_size", 1, 4), ("stride", 1, 3), ("dilation", 1, 3), ("padding", 0, 3))
    }
    if transposed:
        numbers["output_padding"] = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(
            numbers["stride"], numbers["dilation"], strict=True
        )]  # fmt: skip
    elif draw(st.booleans()):
        numbers["padding"] = draw(st.sampled_from(["same", "valid"]))
        if numbers["padding"] == "same":
            numbers["stride"] = [1] * dimensions
    kind = getattr(nn, f"Conv{'Transpose' if transposed else ''}{dimensions}d")
    values = {name: v if isinstance(v, str) else tuple(v) for name, v in numbers.items()}
    module = kind(4, 6, **values, groups=2, device="meta")
    sides = draw(st.lists(st.integers(1, 9), min_size=dimensions, max_size=dimensions))
    return module, torch.Size((2, draw(st.sampled_from([4, 4, 4, 5])), *sides))


@settings(deadline=None, max_examples=300)
@given(convolutions())
def test_convolution_shapes_match_pytorch(case):
    module, shape = case
    try:
        expected = module(torch.empty(shape, device="meta")).shape
    except RuntimeError:
        expected = None
    if expected is None or 0 in expected or shape[1] != 4:  # the meta device does not check the number of channels
        with pytest.raises(RuntimeError, match="it expects 4 channels, not 5|its output is empty"):
            conv_shape(module, shape)
    else:
        assert conv_shape(module, shape) == expected
