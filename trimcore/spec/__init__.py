"""The spec: a user's description of a run, validated completely before anything starts.

May import `data` and `models` for their known names, `system` and `errors`. Importing it does not load torch.
"""

from trimcore.spec.measurement import DEFAULT_TOLERANCE, Control, ProfileSettings, Stop, Verify
from trimcore.spec.rules import IN_UNITS, NEURON_RULES, WEIGHT_RULES, CriterionName, RuleName, make_rule
from trimcore.spec.spec import Devices, Parent, Spec
from trimcore.spec.step import LayerRule, Step
from trimcore.spec.sweep import MAX_RUNS, MAX_SETTINGS, Sweep, Target
from trimcore.spec.toml import Point, dumps, load, loads, parse, points, read
from trimcore.spec.training import Base, Convert, Distill, Retrain, StepRetrain, Training

__all__ = [
    "DEFAULT_TOLERANCE", "IN_UNITS", "MAX_RUNS", "MAX_SETTINGS", "NEURON_RULES", "WEIGHT_RULES", "Base", "Control",
    "Convert", "CriterionName", "Devices", "Distill", "LayerRule", "Parent", "Point", "ProfileSettings", "Retrain",
    "RuleName", "Spec", "Step", "StepRetrain", "Stop", "Sweep", "Target", "Training", "Verify", "dumps", "load",
    "loads", "make_rule", "parse", "points", "read",
]  # fmt: skip
