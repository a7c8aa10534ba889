"""How PyTorch's functions are recorded, by name."""

import operator
from collections.abc import Callable
from typing import Any

# Methods and properties of tensors that say nothing about their values, or that only shapes decide.
FACTS = frozenset((
    "dtype", "device", "layout", "requires_grad", "grad_fn", "grad", "is_leaf", "names", "itemsize", "_version",
    "dim", "ndim", "ndimension", "is_floating_point", "is_complex", "is_contiguous", "element_size", "stride",
    "storage_offset", "is_set_to", "__hash__", "__repr__", "__format__", "requires_grad_", "register_hook", "_base",
    "is_cuda", "is_cpu", "is_meta", "is_sparse", "is_quantized", "is_nested", "is_mkldnn", "is_xpu", "is_mps",
    "get_device", "is_inference", "has_names", "_is_view", "is_conj", "is_neg", "is_pinned", "nbytes", "data_ptr",
    "untyped_storage", "is_same_size", "__dir__", "is_tensor", "result_type", "can_cast",
))  # fmt: skip
READS = frozenset((
    "item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__complex__", "__array__",
    "__contains__", "equal", "allclose", "is_nonzero", "_assert_async", "nonzero", "masked_select", "unique",
))  # fmt: skip
MADE_WITHOUT_VALUES = frozenset((
    "zeros", "ones", "empty", "full", "rand", "randn", "randint", "randperm", "normal", "eye", "empty_strided",
))  # fmt: skip
DUNDERS = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lt", "le", "gt", "ge",
    "eq", "ne",
)  # fmt: skip
OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "matmul": operator.matmul,
    "pow": operator.pow, "neg": operator.neg, "add_": operator.add, "sub_": operator.sub, "mul_": operator.mul,
    "div_": operator.truediv, "__getitem__": operator.getitem, "__setitem__": operator.setitem,
}  # fmt: skip


def is_in_place_name(name: str) -> bool:
    """Whether a function of that name changes its first operand in place."""
    return name.endswith("_") and not name.endswith("__")


def operator_of(name: str) -> Callable[..., Any] | None:
    if name in OPERATORS:
        return OPERATORS[name]
    for prefix in ("__r", "__i", "__"):
        core = name[len(prefix) : -2] if name.startswith(prefix) and name.endswith("__") else ""
        if core in DUNDERS or core == "div":
            core = {"div": "truediv", "and": "and_", "or": "or_"}.get(core, core)
            function: Callable[..., Any] = getattr(operator, core)
            return function
    return None
