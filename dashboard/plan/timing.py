"""The time of the starting network and of plans for it, on the device of the draft. The server's process measures."""

from dashboard.plan import measurement
from dashboard.plan.origin import StartPoint
from dashboard.session import run_network, run_reader
from trimcore import runs
from trimcore.compute.device import resolve
from trimcore.compute.inputs import moved
from trimcore.timing.prediction import TimeModel
from trimcore.timing.width_tables import FOLDER
from trimcore.training.prepare import open_network


def time_model(draft: dict, start: StartPoint, batch: int) -> TimeModel:
    """Measured on first use, which takes some seconds. Raises TrimError."""

    def measure() -> TimeModel:
        folder = run_reader.folder()
        path = runs.checkpoint_path(runs.open_run(folder, start[0]), start[1])
        device = resolve(draft["device"])
        _, graph = open_network(path, device, run_reader.spec_of(start[0]).removable)
        example = moved(run_network.subject(*start).data.example_input, device)
        return TimeModel(graph, example, batch, folder / FOLDER)

    return measurement.cached(_key(draft, start, batch), measure)


def known_ms(draft: dict, start: StartPoint, batches: tuple[int, ...]) -> dict[int, float]:
    """The milliseconds of the starting network by batch size, where they have been measured."""
    found = ((batch, measurement.cache().get(_key(draft, start, batch))) for batch in batches)
    return {batch: model.base_ms for batch, model in found if model is not None}


def is_busy() -> bool:
    """Whether a run is training, so that times are too long."""
    return any(run_reader.status(run_id).active for run_id in run_reader.unfinished())


def _key(draft: dict, start: StartPoint, batch: int) -> tuple:
    return (*measurement.weights_key(start), "times", draft["device"], batch)
