"""What a network is called with: a tensor, or a tuple of positional inputs, the first dimension being the examples."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map


def moved(value: Any, device: torch.device) -> Any:
    """A copy on `device` of a tensor or a nest of lists, tuples and dicts of tensors. Other values stay."""
    return tree_map(lambda leaf: leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf, value)


def call(network: nn.Module, inputs: Any) -> Any:
    """The network's outputs. A tuple is several positional inputs."""
    return network(*inputs) if isinstance(inputs, tuple) else network(inputs)


def count(inputs: Any) -> int:
    """The number of examples in a batch of inputs: the length of its first tensor."""
    first = next((leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)), None)
    return len(first) if first is not None else 0


def examples(batch: Any) -> int:
    """The number of examples in a batch of (inputs, targets). Inputs may be a list with one tensor per example."""
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    return len(first) if isinstance(first, list) else count(first)


def first_example(inputs: Any) -> Any:
    """A batch with only the first example."""
    return tree_map(lambda leaf: leaf[:1] if isinstance(leaf, Tensor) else leaf, inputs)


def repeated(inputs: Any, batch: int) -> Any:
    """The first example, repeated to a batch."""
    return tree_map(
        lambda leaf: leaf[:1].repeat(batch, *[1] * (leaf.dim() - 1)) if isinstance(leaf, Tensor) else leaf, inputs
    )
