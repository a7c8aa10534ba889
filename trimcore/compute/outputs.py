"""What a network returns: class scores, alone or with other outputs."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def scores_of(outputs: Any) -> Any:
    """The class scores among a network's outputs: the entry "logits" of a mapping, such as a Hugging Face result, and
    otherwise the first tensor."""
    if isinstance(outputs, Mapping):
        tensors = [value for value in outputs.values() if isinstance(value, Tensor)]
        return outputs["logits"] if "logits" in outputs else next(iter(tensors), outputs)
    return outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs
