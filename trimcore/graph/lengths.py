"""Numbers that a forward function reads from shapes. They remember how they were computed, so that it can be recorded.

`Length` is an int and `Ratio` a float, so that Python code works with them as usual. Arithmetic gives another number
that remembers its operands. Conversions (`int(n)`, `math.sqrt(n)`) give plain numbers, which are noted in `lost`.
"""

import operator
from collections.abc import Callable
from typing import Any, cast


class _Traced:
    """What the two kinds of numbers share."""

    function: Callable[..., Any]
    operands: tuple[Any, ...]
    lost: list[Any]  # the numbers of one recording that were converted to plain ones
    node: Any  # the node that computes it, once it is recorded

    def __int__(self) -> int:
        self.lost.append(self)
        return int(plain(self))

    def __float__(self) -> float:
        self.lost.append(self)
        return float(plain(self))


class Length(_Traced, int):
    """A whole number."""


class Ratio(_Traced, float):
    """A fraction."""


def plain(number: Any) -> Any:
    """The same number without its memory."""
    if isinstance(number, Length):
        return int.__add__(number, 0)
    return float.__add__(number, 0.0) if isinstance(number, Ratio) else number


def traced(value: Any, function: Callable[..., Any], operands: tuple[Any, ...], lost: list[Any]) -> Any:
    """The result of `function(*operands)`, as a number that remembers them. Other values are returned as they are."""
    kind = type(value)
    if kind not in (int, float):
        return value
    number = Length(value) if kind is int else Ratio(value)
    number.function, number.operands, number.lost, number.node = function, operands, lost, None
    return number


def _method(function: Callable[..., Any], reflected: bool = False) -> Callable[..., Any]:
    def apply(self: Any, *others: Any) -> Any:
        operands = (*others, self) if reflected else (self, *others)
        if not all(isinstance(other, int | float) for other in others):
            return NotImplemented
        return traced(function(*map(plain, operands)), function, operands, self.lost)

    return apply


BINARY = ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow")
for _kind in (Length, Ratio):
    for _name in BINARY:
        _function = cast(Callable[..., Any], getattr(operator, _name))
        setattr(_kind, f"__{_name}__", _method(_function))
        setattr(_kind, f"__r{_name}__", _method(_function, reflected=True))
    _kind.__neg__ = _method(operator.neg)  # type: ignore[method-assign]
