"""Convert the activations to ReLU or to maxout units."""

from collections.abc import Iterator

from trimcore.compute.layout import is_channels_last
from trimcore.data.batches import Batches
from trimcore.evaluation.accuracy import EVALUATION_BATCH
from trimcore.layers import sharpened
from trimcore.runs.events import Event
from trimcore.surgery import grouping
from trimcore.training.iteration import close_iteration
from trimcore.training.phases.training import train
from trimcore.training.run import Run


def begin_conversion(run: Run) -> Event:
    """Start the conversion; for maxout, group the neurons. Returns a note with the accuracy before further training."""
    state, measured, epochs = run.state, run.measure("test"), run.state.convert_epochs
    state.phase, state.spent, state.epoch, state.optimizer = "convert", state.spent + state.epoch, 0, None
    metric = run.metric
    over = f"{epochs} epoch{'s' if epochs > 1 else ''}"
    if run.spec.convert.to == "maxout":
        grouped = ", ".join(_group(run))
        after = run.measure("test")
        text = (
            f"test {metric.name} {metric.text(measured.value)} with ReLU, {metric.text(after.value)} with the neurons "
            f"of {grouped} grouped into maxout units of {run.spec.convert.k}; training continues for {over}"
        )
    else:
        kinds = " and ".join(dict.fromkeys(sharpened.smooth_modules(state.network).values()))
        text = f"test {metric.name} {metric.text(measured.value)} with {kinds}; converting to ReLU over {over}"
    return Event("note", {"text": text}, payload=run.snapshot)


def convert(run: Run) -> Iterator[Event]:
    """Continue training as a maxout network, or while the activations gradually become ReLU. ReLU modules then replace
    them, so zeros are exact from here on."""
    settings, epochs = run.spec.convert, run.state.convert_epochs
    if settings.to == "maxout":
        yield from train(run, settings, epochs, "convert")
        yield from close_iteration(run)
        return
    network = sharpened.sharpen(run.state.network, 1.0)
    yield from train(
        run, settings, epochs, "convert",
        before_step=lambda step, steps: sharpened.set_sharpness(network, sharpened.sharpness_at(step, steps)),
    )  # fmt: skip
    sharpened.to_relu(network)
    run.state.activations = "relu"
    run.retrace()
    yield from close_iteration(run)


def _group(run: Run) -> list[str]:
    """Group neurons into maxout units (see `surgery.grouping`). Returns the layers that now have units."""
    state, settings, data = run.state, run.spec.convert, run.data
    layout = is_channels_last(state.network)
    batches = Batches(data.train, data, EVALUATION_BATCH, run.device, channels_last=layout)
    orders = grouping.group(run.graph, batches, settings.layers, settings.k)
    state.origins |= {name: [state.origins[name][i] for i in order] for name, order in orders.items()}
    state.units |= dict.fromkeys(orders, settings.k)
    run.retrace()
    return list(orders)
