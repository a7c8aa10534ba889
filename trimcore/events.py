"""What the loop reports. Everything that is seen of a run, on a terminal, in a file or on a page, comes from these.

`data` holds plain values only, so that an event is one JSON object. `payload` stays in the process: it makes what has
to be saved, and only when somebody asks.

| kind | data |
|---|---|
| started | model, data, classes, splits, device, precision, torch, seed, iterations, epochs |
| progress | phase, iteration, epoch, epochs, step, steps, fraction (of the whole run), images_per_second |
| epoch | iteration, phase, epoch, epochs, loss, accuracy (train), validation_accuracy, lr, images_per_second, seconds |
| profiled | iteration, examples, seconds, layers: {name: kind, width, parameters, macs, apoz, original, ...} |
| pruned | iteration, step, layers: {name: rule, criterion, threshold, cut, original}, widths, parameters, macs |
| initial | iteration, accuracy (test), validation_accuracy, loss |
| iteration | a row of iterations.csv, result (iteration), activations ("relu" when converted) |
| control | parameters, epochs, accuracy, validation_accuracy, loss, seconds |
| note | text |
| ended | reason, result (iteration) |
A profiled layer also says what counted as zero: tolerance and limits, as in `apoz.LayerProfile`; and, where not each
of its neurons goes alone, groups: a number for each neuron, the same for those that only go together.
`phase` is base, convert, retrain or control; progress also knows profile.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    payload: Callable[[], Any] | None = None
    recorded: bool = True  # progress is shown but not kept
