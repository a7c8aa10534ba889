"""The headline metric of the run that a plan would start."""

from typing import Any

from dashboard.plan.origin import StartPoint
from dashboard.session import run_reader
from dashboard.session.data_summary import data_summary
from trimcore import tables
from trimcore.errors import TrimError
from trimcore.spec.spec import CLASSIFICATION
from trimcore.tables import ACCURACY, Metric
from trimcore.tasks import task_for

UNKNOWN = Metric("headline metric", percent=False)


def is_classification(draft: dict[str, Any]) -> bool:
    return bool(draft.get("task", CLASSIFICATION) == CLASSIFICATION)


def planned_metric(draft: dict[str, Any], start: StartPoint | None) -> Metric:
    """The metric of the starting run, else that of the draft's task. UNKNOWN if the task cannot say."""
    if start:
        return tables.metric_of(run_reader.events(start[0]))
    if is_classification(draft):
        return ACCURACY
    try:
        task = task_for(draft["task"])
        task.outputs = len(data_summary(draft["data"]).classes)
        return task.metric
    except TrimError:
        return UNKNOWN
