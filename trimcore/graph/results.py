"""The tensors in what a function or a network returns."""

from typing import Any

from torch import Tensor


def has_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(has_tensor(v) for v in value)
    return isinstance(value, Tensor) or (isinstance(value, dict) and has_tensor(list(value.values())))


def shapes_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.shape
    if isinstance(value, tuple | list):
        return tuple(shapes_of(v) for v in value)
    return value


def as_plain_containers(value: Any) -> Any:
    """The value with mappings and objects with fields turned into dicts."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return tuple(as_plain_containers(v) for v in value)
    if isinstance(value, tuple | list):
        return type(value)(as_plain_containers(v) for v in value) if type(value) in (tuple, list) else tuple(value)
    if hasattr(value, "items"):
        return {str(k): as_plain_containers(v) for k, v in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {k: as_plain_containers(getattr(value, k)) for k in value.__dataclass_fields__}
    return value
