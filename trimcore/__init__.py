"""Network Trimming as a library: see which neurons are mostly zero, cut them out, retrain, repeat.

>>> import trimcore as tc
>>> model = tc.build("lenet5", num_classes=10)

Names are imported when they are first used: a process that only looks at run folders never loads torch.
"""

import importlib
from typing import Any

_HOME = {
    "apoz": ["Profile", "LayerProfile", "profile"],
    "batches": ["Batches"],
    "checkpoint": ["Checkpoint"],
    "costs": ["Cost", "cost"],
    "criteria": ["scores"],
    "data": ["load_data"],
    "errors": ["CheckpointError", "DataError", "NotTrimmable", "RunError", "SpecError", "TrimError"],
    "events": ["Event"],
    "graph": ["ChannelGraph"],
    "latency": ["compare_latency"],
    "models": ["build", "register"],
    "planning": [
        "Absolute",
        "Count",
        "Fraction",
        "Keep",
        "LeastRelevant",
        "MeanPlusStd",
        "Plan",
        "plan",
        "plan_within_units",
    ],
    "spec": ["Spec"],
    "sensitivity": ["Sensitivity", "one_shot", "scanning"],
    "surgery": ["prune"],
    "targets": ["Accuracy", "LessWork", "NoLayerAbove", "Smaller", "propose"],
    "tracing": ["trace"],
    "loop": ["trim"],
    "maxout": ["Maxout"],
    "pairs": ["load_pairs"],
    "maxima": ["UnitRelevance", "relevance"],
    "verification": ["Verified", "verify", "verify_pairs"],
}
_RENAMED = {"load_data": "load"}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE_OF)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'trimcore' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"trimcore.{_MODULE_OF[name]}"), _RENAMED.get(name, name))
    globals()[name] = value
    return value
