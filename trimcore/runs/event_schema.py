"""Validate recorded events: a run folder may be damaged or come from elsewhere, and its readers rely on certain fields.

Only fields that every version has written are required. Unknown fields are allowed.
"""

from collections.abc import Callable, Mapping
from typing import Any

LARGEST = 10**15  # parameters, multiply-accumulates, seconds
MOST_ITERATIONS = 10**6

Check = Callable[[Any], bool]


def number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LARGEST  # False for NaN


def count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def iteration(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_ITERATIONS


def text(value: Any) -> bool:
    return isinstance(value, str)


def maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def flag(value: Any) -> bool:
    return type(value) is bool


def list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def table_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def fields(required: Mapping[str, Check], **optional: Check) -> Check:
    """A JSON object with all required fields; optional fields are checked if present."""

    def check(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and all(name in value and own(value[name]) for name, own in required.items())
            and all(own(value[name]) for name, own in optional.items() if name in value)
        )

    return check


def of_metric(required: Mapping[str, Check], **optional: Check) -> Check:
    """`fields` of a run whose metric is accuracy, or the same fields with `metric` in place of `accuracy`."""
    for_accuracy = fields(required, **optional)
    named = [{name.replace("accuracy", "metric"): own for name, own in each.items()} for each in (required, optional)]
    for_others = fields(named[0], **named[1])
    return lambda value: for_accuracy(value) or for_others(value)


MEASURED = {"iteration": iteration, "accuracy": number}
METRIC = fields({"name": text, "higher_is_better": flag, "percent": flag})
BY_CLASS = {
    "class_accuracy": table_of(list_of(maybe(number))), "class_examples": table_of(list_of(count)),
}  # fmt: skip
PROFILED = fields(
    {"kind": text, "width": count, "parameters": count, "macs": count, "apoz": list_of(maybe(number)),
     "original": list_of(count)},
    tolerance=number, groups=list_of(count), heads=list_of(maybe(count)),
)  # fmt: skip
UNITS = fields({"k": count, "examples": count, "positions": count, "shares": count, "counts": list_of(list_of(count))})
KINDS: dict[str, Check] = {
    "started": fields({}, classes=list_of(text), splits=table_of(count), image=list_of(count), device=text, torch=text,
                      found=list_of(text), metric=METRIC, task=text),
    "epoch": of_metric(
        {"iteration": iteration, "phase": text, "epoch": count, "loss": number, "accuracy": maybe(number),
         "validation_accuracy": number, "seconds": number},
        epochs=count, images_per_second=number,
    ),
    "profiled": fields({"iteration": iteration, "layers": table_of(PROFILED)}, units=table_of(UNITS)),
    "pruned": fields(
        {"iteration": iteration, "layers": table_of(fields(
            {"cut": list_of(count)}, original=list_of(count), heads=count,
        ))},
        widths=table_of(count), k=table_of(count),
    ),
    "weights": fields(
        {"iteration": iteration, "layers": table_of(fields({"zeros": count, "weights": count}))},
        widths=table_of(count), k=table_of(count),
    ),
    "initial": of_metric(MEASURED, validation_accuracy=maybe(number), accuracy_reestimated=maybe(number), **BY_CLASS),
    "verified": fields(
        {**MEASURED, "pairs": text, "distance": text, "count": count, "roc": list_of(list_of(number))},
    ),
    "iteration": of_metric(
        {"iteration": iteration, "layers_trimmed": list_of(text), "widths": table_of(count), "parameters": count,
         "compression": number, "macs": count, "macs_ratio": number, "accuracy_final": number},
        accuracy_initial=maybe(number), validation_accuracy=maybe(number), nonzero_parameters=maybe(count),
        latency_ms=maybe(number), seconds=maybe(number), loss_final=maybe(number), result=iteration,
        k=table_of(count), bytes_dense=maybe(count), bytes_sparse=maybe(count), verification=maybe(number),
        verification_error=maybe(number), accuracy_reestimated=maybe(number), metrics=table_of(table_of(number)),
        **BY_CLASS,
    ),
    "control": of_metric({"accuracy": number, "epochs": count}),
    "note": fields({"text": text}),
    "ended": fields({}, reason=text, result=iteration),
}  # fmt: skip


def is_valid(event: Any) -> bool:
    """Whether this is an event with every field that its kind requires. Unknown kinds are always valid."""
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        return False
    check = KINDS.get(event["kind"])
    return check is None or check(event)
