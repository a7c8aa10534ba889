"""Network Trimming as a library: find the neurons that are mostly zero, remove them, retrain, repeat.

>>> import trimcore as tc
>>> model = tc.build("lenet5", num_classes=10)

Names are imported on first use, so a process that only reads run folders never loads torch.
"""

import importlib
from typing import Any

_HOME = {
    "data.batches": ["Batches"],
    "data.own": ["OwnData", "register_data"],
    "data.pairs": ["load_pairs"],
    "data.registry": ["load_data"],
    "errors": ["CheckpointError", "DataError", "NotTrimmable", "RunError", "SpecError", "TrimError"],
    "evaluation.masking": ["one_shot"],
    "evaluation.verification": ["Verified", "verify", "verify_pairs"],
    "files.checkpoint": ["Checkpoint"],
    "files.network_export": ["export"],
    "graph.channel_graph": ["ChannelGraph"],
    "graph.costs": ["Cost", "cost"],
    "graph.tracing": ["trace"],
    "jobs.foreground": ["run"],
    "jobs.recording": ["record"],
    "layers.maxout": ["Maxout"],
    "models": ["build", "register"],
    "planning.plan": ["Plan", "plan", "plan_within_units"],
    "planning.sensitivity": ["Sensitivity", "scanning"],
    "planning.targets": ["Accuracy", "Faster", "LessWork", "NoLayerAbove", "Smaller", "Within", "propose"],
    "runs.events": ["Event"],
    "scoring.apoz": ["LayerProfile", "Profile", "profile"],
    "scoring.criteria": ["scores"],
    "scoring.relevance": ["UnitRelevance", "relevance"],
    "spec": ["Spec"],
    "spec.rules": ["Absolute", "Count", "Fraction", "Keep", "LeastRelevant", "MeanPlusStd"],
    "surgery.cut": ["prune"],
    "tables.metric": ["Metric"],
    "tasks.registry": ["register_task"],
    "tasks.task": ["Task"],
    "timing.latency": ["compare_latency"],
    "timing.layer_times": ["LayerTimes", "time_layers"],
    "timing.prediction": ["TimeModel"],
    "training.loop": ["trim"],
}
_RENAMED = {"load_data": "load", "record": "Recording", "register_task": "register"}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE_OF)
__version__ = "0.9.0"


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'trimcore' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"trimcore.{_MODULE_OF[name]}"), _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
