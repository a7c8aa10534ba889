"""The parts of the Plan page, one idea a module; the Profile page shares some of them."""

from dashboard.planning.bearing import section as which_layer_bears
from dashboard.planning.beginning import adopt, choose_beginning, profile_to_plan_with, same_network
from dashboard.planning.network import planned
from dashboard.planning.oneshot import awaited, before_retraining
from dashboard.planning.opened import why_not
from dashboard.planning.outlook import asked, guessed, is_estimate, nonzero, removed, seconds_for, stages
from dashboard.planning.steps import edit_step, order_buttons, plan_units, plan_with, steps_in_order
from dashboard.planning.targeting import section as targets
from dashboard.planning.training import conversion, near_zero, training_settings
from dashboard.planning.verifying import verification

__all__ = [
    "adopt",
    "asked",
    "awaited",
    "before_retraining",
    "choose_beginning",
    "conversion",
    "edit_step",
    "guessed",
    "is_estimate",
    "near_zero",
    "nonzero",
    "order_buttons",
    "plan_units",
    "plan_with",
    "planned",
    "profile_to_plan_with",
    "removed",
    "same_network",
    "seconds_for",
    "stages",
    "steps_in_order",
    "targets",
    "training_settings",
    "verification",
    "which_layer_bears",
    "why_not",
]
