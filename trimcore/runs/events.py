"""What the loop reports. Everything that is seen of a run, on a terminal, in a file or on a page, comes from these.

`data` holds plain values only, so that an event is one JSON object. `payload` stays in the process: it makes what has
to be saved, and only when somebody asks.

| kind | data |
|---|---|
| started | model, data, classes, splits, device, torch, python, trimcore, seed, iterations, epochs |
| progress | phase, iteration, epoch, epochs, step, steps, fraction (of the run), iteration_end, images_per_second |
| epoch | iteration, phase, epoch, epochs, loss, accuracy (train), validation_accuracy, lr, images_per_second, seconds |
| profiled | iteration, examples, seconds, layers: {name: kind, width, parameters, macs, apoz, original, ...}, units |
| pruned | iteration, step, layers: {name: rule, criterion, threshold, cut, original}, widths, k, parameters, macs |
| weights | iteration, step, layers: {name: rule, threshold, weights, zeros, newly}, widths, k, parameters, macs |
| initial | iteration, accuracy (test), validation_accuracy, loss, class_accuracy, class_examples |
| verified | iteration, pairs (of what), distance, layer, count, accuracy, standard_error, folds, auc, roc, seconds |
| iteration | a row of iterations.csv, result, activations ("relu" when converted), class_accuracy, class_examples |
| control | parameters, epochs, accuracy, validation_accuracy, loss, seconds |
| note | text, level ("warning"; absent: info) |
| ended | reason, result (iteration) |
A profiled layer also says what counted as zero: tolerance and limits, as in `apoz.LayerProfile`; and, where not each
of its neurons goes alone, groups: a number for each neuron, the same for those that only go together.
`units` of a profile are the maxout layers that still have a maximum: {layer: {k, examples, positions, shares, counts}};
`counts` has for each unit the integers of its k neurons, in 1/`shares` of a maximum, so that a unit's counts add up to
examples * positions * shares (see `maxima`). `k` is {layer: neurons a unit}, 1 where the maximum is gone. An
iteration has either `pruned` (neurons go) or `weights` (weights are held at zero: so many of each layer's `weights`
are `zeros` now, `newly` of them since).
`class_accuracy` is {"validation": [...], "test": [...]}, 0..1 in the order of `classes`, null for a class without
examples, and `class_examples` how many each has. Above 1,000 classes, and in old runs, both are absent.
`phase` is base, convert, retrain or control; progress also knows profile, relevance and verify, which count examples.
`iteration_end` is the fraction of the run at which this iteration has had its training; None for the control.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """One thing that happened: its kind and, as the table above says, its plain values."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    payload: Callable[[], Any] | None = None
    recorded: bool = True  # progress is shown but not kept
