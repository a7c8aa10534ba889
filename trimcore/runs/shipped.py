"""The finished run that comes with trimcore, to look at before there are runs of one's own. It is read-only."""

from pathlib import Path

from trimcore.errors import RunError

EXAMPLE = "example"  # its run id
FOLDER = Path(__file__).with_name(EXAMPLE)


def is_shipped(folder: Path) -> bool:
    """Whether this is the folder of the example that comes with trimcore."""
    return folder == FOLDER


def check_own(folder: Path) -> None:
    """Raise RunError if a run must not be changed because it is the example."""
    if is_shipped(folder):
        raise RunError("the example comes with trimcore and cannot be changed: branch from it, or start a run of your "
                       "own")  # fmt: skip
