"""Events of the training loop: the only source of everything shown or saved about a run.

`data` holds plain values only, so an event is one JSON object. `payload` stays in the process: call it to build the
checkpoint or snapshot to be saved, so nothing is built unless it is needed.

| kind | data |
|---|---|
| started | model, data, task, metric, classes, splits, device, torch, python, trimcore, seed, iterations, epochs |
| progress | phase, iteration, epoch, epochs, step, steps, fraction (of the run), iteration_end, images_per_second |
| epoch | iteration, phase, epoch, epochs, loss, accuracy (train), validation_accuracy, lr, images_per_second, seconds |
| profiled | iteration, examples, seconds, layers: {name: kind, width, parameters, macs, apoz, original, ...}, units |
| pruned | iteration, step, layers: {name: rule, criterion, threshold, cut, original}, widths, k, parameters, macs |
| weights | iteration, step, layers: {name: rule, threshold, weights, zeros, newly}, widths, k, parameters, macs |
| initial | iteration, accuracy (test), validation_accuracy, loss, class_accuracy, class_examples |
| verified | iteration, pairs (their name), distance, layer, count, accuracy, standard_error, folds, auc, roc, seconds |
| iteration | a row of iterations.csv, result, activations ("relu" when converted), class_accuracy, class_examples |
| control | parameters, epochs, accuracy, validation_accuracy, loss, seconds |
| note | text, level ("warning"; absent: info) |
| ended | reason, result (iteration) |
The metric is accuracy here. With another headline metric, all these fields are called `metric`, `validation_metric`,
`metric_initial` and so on (see `tables.metric`), and an iteration has `metrics`: {split: {name: value}}. `metric` in
`started` has its name, higher_is_better and percent; runs of version 0.1 lack it. `accuracy` of an epoch is null if the
task does not measure training examples.
`started` also has image (shape), resumed, and the base model's parameters and macs. A layer in `pruned` also has value
(of the rule); if the step rounds widths, the event has rounding: {multiple, parameters kept by rounding}.
A profiled layer also has `tolerance` and `limits`, which define what counted as zero (see `apoz.LayerProfile`). If some
of its neurons can only be removed together, it has `groups`: a number per neuron, equal within a group.
`units` in a profile lists the maxout layers that still take a maximum: {layer: {k, examples, positions, shares,
counts}}. `counts` has k integers per unit, in 1/`shares` of a maximum, so a unit's counts add up to
examples * positions * shares (see `scoring.relevance`). `k` is {layer: neurons per unit}, 1 once the maximum is gone.
An iteration has either `pruned` (neurons are removed) or `weights` (weights are held at zero: of each layer's
`weights`, `zeros` are now zero, `newly` of them because of this event).
`class_accuracy` is {"validation": [...], "test": [...]}, 0..1 in the order of `classes`, null for a class without
examples; `class_examples` is the number of examples per class. Both are absent above 1,000 classes and in old runs.
`phase` is base, convert, retrain or control. In progress events it can also be profile, relevance or verify, whose
steps count examples.
`iteration_end` is the fraction of the run at which the training of this iteration ends; None for the control.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """One event of a run: its kind, and the plain values listed for that kind in the table above."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    payload: Callable[[], Any] | None = None
    recorded: bool = True  # progress is shown but not recorded
