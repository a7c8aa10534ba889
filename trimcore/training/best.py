"""The best epoch of a phase by the headline metric in validation, and when to stop waiting for a better one."""

from typing import Any

from torch import nn

from trimcore.spec import Training
from trimcore.tables.metric import ACCURACY, Metric

Best = dict[
    str, Any
]  # epoch (from 1), accuracy (the metric), weights: plain values, so that a resume point can hold them


def better(best: Best | None, epoch: int, value: float, network: nn.Module, metric: Metric = ACCURACY) -> Best:
    """The best epoch so far. Of equally good ones, the first."""
    if best is not None and not metric.is_better(value, best["accuracy"]):
        return best
    weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
    return {"epoch": epoch, "accuracy": value, "weights": weights}


def is_over(settings: Training, best: Best | None, epoch: int) -> bool:
    """Whether none of the last `patience` epochs up to `epoch` was better than those before."""
    return bool(settings.patience and best and epoch - best["epoch"] >= settings.patience)


def outcome_text(settings: Training, best: Best, epoch: int, epochs: int, metric: Metric = ACCURACY) -> str:
    """What was decided at the end of a phase, or "" if it is the last epoch as always."""
    texts = []
    if epoch < epochs:
        many = f"{settings.patience} epoch{'s' if settings.patience > 1 else ''}"
        texts.append(
            f"stopped after epoch {epoch} of {epochs}, because {many} brought no better validation {metric.name}"
        )
    if settings.keep == "best" and best["epoch"] < epoch:
        texts.append(
            f"kept the weights of epoch {best['epoch']}, the best with {metric.text(best['accuracy'])} in validation"
        )
    return "; ".join(texts)
