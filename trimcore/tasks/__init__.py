"""Tasks: what a network learns, by which loss, and by which metrics it is judged.

May import `tables`, `compute`, `system` and `errors`.
"""

from trimcore.tasks.registry import check_name, listed, register, task_for
from trimcore.tasks.task import Task

__all__ = ["Task", "check_name", "listed", "register", "task_for"]
