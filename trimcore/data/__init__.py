"""Data sets, their splits, and batches for training and evaluation.

May import `compute` and `errors`.
"""

from trimcore.data.batches import Batches
from trimcore.data.dataset import Data
from trimcore.data.pairs import PairSet, load_pairs
from trimcore.data.registry import check_name, check_there, datasets, load

__all__ = ["Batches", "Data", "PairSet", "check_name", "check_there", "datasets", "load", "load_pairs"]
