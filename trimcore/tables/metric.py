"""The headline metric of a run: its name, its direction, and how its values are recorded and written.

Runs record it in their `started` event. Runs of version 0.1 have none: their metric is accuracy. Fields of events that
hold its values are called `accuracy`, `validation_accuracy`, `accuracy_initial` and so on where the metric is accuracy,
and `metric`, `validation_metric`, `metric_initial` and so on where it is not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

LONGEST = 60  # characters of a metric's name


@dataclass(frozen=True)
class Metric:
    """A number that says how good a network is. `percent`: a share from 0 to 1, which is written in percent."""

    name: str = "accuracy"
    higher_is_better: bool = True
    percent: bool = True

    @property
    def is_accuracy(self) -> bool:
        return self.name == "accuracy"

    @property
    def title(self) -> str:
        """The name at the start of a sentence or an axis: `Accuracy`, `mIoU`."""
        return self.name[:1].upper() + self.name[1:] if self.name.islower() else self.name

    def is_better(self, value: float, other: float) -> bool:
        return value > other if self.higher_is_better else value < other

    def loss(self, before: float, after: float) -> float:
        """How much worse `after` is than `before`, in units of the metric. Negative if it is better."""
        return before - after if self.higher_is_better else after - before

    def text(self, value: float | None, digits: int = 2) -> str:
        """A value as text: `97.32%`, `0.0312`, or `–` if there is none."""
        if value is None:
            return "–"
        return f"{value:.{digits}%}" if self.percent else f"{value:.4g}"

    def fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of an event, given by their names for accuracy.

        >>> Metric("mIoU").fields({"accuracy_final": 0.5, "loss_final": 0.1})
        {'metric_final': 0.5, 'loss_final': 0.1}
        """
        return dict(values) if self.is_accuracy else {field_of(key): value for key, value in values.items()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Metric":
        """The metric that was recorded. Its name may come from elsewhere: it is cut to one short line."""
        name = " ".join(str(values["name"]).split())[:LONGEST] or "metric"
        return cls(name, bool(values["higher_is_better"]), bool(values["percent"]))

    def recorded(self) -> dict[str, Any]:
        """The metric as plain values, for the `started` event."""
        return asdict(self)


ACCURACY = Metric()


def field_of(name: str) -> str:
    """The field that holds, for any metric, what `name` holds for accuracy."""
    return name.replace("accuracy", "metric")


def value_of(event: Mapping[str, Any], name: str) -> Any:
    """The value of the metric in an event, whatever the metric is. `name` is that of the field for accuracy."""
    value = event.get(name)
    return event.get(field_of(name)) if value is None else value


def metric_of(events: Iterable[Mapping[str, Any]]) -> Metric:
    """The metric that a run recorded, or accuracy."""
    for event in events:
        if event["kind"] == "started":
            return Metric.of(event["metric"]) if event.get("metric") else ACCURACY
    return ACCURACY
