"""Architectures by name: built-in, torchvision's, from installed packages, and user-defined.

May import `layers`, `system` and `errors`.
"""

from trimcore.models.architecture import Architecture, Option
from trimcore.models.registry import (
    REGISTRY,
    architecture,
    build,
    check_name,
    check_options,
    empty,
    example_input,
    listed,
    offered,
    options_for,
    refused,
    register,
    renew,
)

__all__ = [
    "REGISTRY", "Architecture", "Option", "architecture", "build", "check_name", "check_options", "empty",
    "example_input", "listed", "offered", "options_for", "refused", "register", "renew",
]  # fmt: skip
