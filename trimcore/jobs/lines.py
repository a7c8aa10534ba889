"""Events as log lines."""

import math

from trimcore.runs.events import Event
from trimcore.tables.captions import heads_text
from trimcore.tables.metric import ACCURACY, Metric, value_of
from trimcore.tables.recorded import mean_apoz


def log_line(event: Event, metric: Metric = ACCURACY) -> str:
    """The log line of an event of a run with this metric."""
    d = event.data
    if event.kind == "epoch":
        value, speed = metric.text(value_of(d, "validation_accuracy")), f"{d['images_per_second']:,.0f} images/s"
        place = f"{d['phase']} iteration {d['iteration']} epoch {d['epoch']}/{d['epochs']}"
        return f"{place}: loss {d['loss']:.4f}, validation {value}, {speed}"
    if event.kind == "profiled":
        means = {name: mean_apoz(layer["apoz"]) for name, layer in d["layers"].items()}
        shown = ", ".join(f"{n} {'no activation' if math.isnan(m) else f'{m:.1%}'}" for n, m in means.items())
        return f"APoZ after iteration {d['iteration']} on {d['examples']} examples: {shown}"
    if event.kind == "pruned":
        gone = ", ".join(
            f"{name} −{len(layer['cut'])}{heads_text(layer.get('heads', 0))}" for name, layer in d["layers"].items()
        )
        rounding = d.get("rounding")
        kept = f", {rounding['parameters']:,} of them due to rounding to {rounding['multiple']}" if rounding else ""
        return f"iteration {d['iteration']} cuts {gone}: {d['parameters']:,} parameters left{kept}"
    if event.kind == "weights":
        zeros = sum(layer["zeros"] for layer in d["layers"].values())
        return f"iteration {d['iteration']} holds {zeros:,} weights at zero in {', '.join(d['layers'])}"
    if event.kind == "initial":
        again, value = value_of(d, "accuracy_reestimated"), metric.text(value_of(d, "accuracy"))
        more = "" if again is None else f", {metric.text(again)} with BatchNorm estimated again"
        return f"iteration {d['iteration']}: {metric.name} before retraining {value}{more}"
    if event.kind == "iteration":
        value = metric.text(value_of(d, "accuracy_final"))
        return f"iteration {d['iteration']} done: {d['compression']:.2f}x smaller, test {metric.name} {value}"
    if event.kind == "control":
        value = metric.text(value_of(d, "accuracy"))
        return f"control from new weights: test {metric.name} {value} after {d['epochs']} epochs"
    if event.kind == "started":
        how = "resumed" if d["resumed"] else "started"
        found = "".join(f"; {text}" for text in d.get("found", ()))
        return f"{how}: {d['model']} on {d['data']}, {d['device']}, torch {d['torch']}{found}"
    return d.get("text") or f"{event.kind}: {d.get('reason', '')}, result is iteration {d.get('result')}"
