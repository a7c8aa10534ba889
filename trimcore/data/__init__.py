"""Data sets, their splits, and batches for training and evaluation.

May import `compute`, `system` and `errors`.
"""

from trimcore.data.batches import Batches
from trimcore.data.dataset import Data
from trimcore.data.own import OwnData, register_data
from trimcore.data.pairs import PairSet, load_pairs
from trimcore.data.registry import check_name, check_there, datasets, is_own, load, task_of

__all__ = [
    "Batches", "Data", "OwnData", "PairSet", "check_name", "check_there", "datasets", "is_own", "load", "load_pairs",
    "register_data", "task_of",
]  # fmt: skip
