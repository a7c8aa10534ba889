"""Networks from installed packages, as entry points in the group `trimcore.models`. Loaded on first use."""

import functools
import sys
from importlib.metadata import EntryPoint, entry_points

from trimcore.errors import SpecError, first_line
from trimcore.models import own
from trimcore.models.architecture import Architecture

GROUP = "trimcore.models"


@functools.cache
def _found(path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    """Name -> entry points, for the packages on this path."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    return found


def installed() -> dict[str, list[EntryPoint]]:
    """Name -> entry points with that name, from all installed packages."""
    return _found(tuple(sys.path))


def package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def architecture(name: str) -> Architecture:
    """Load the entry point with that name. If it is broken, raises SpecError with one line that names the package."""
    entries = installed()[name]
    if len(entries) > 1:
        raise SpecError(f"model {name!r} is offered by {' and by '.join(map(package_of, entries))}: uninstall one")
    try:
        function = entries[0].load()
    except (Exception, SystemExit) as error:  # a third-party module may raise anything
        package, value = package_of(entries[0]), entries[0].value
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise SpecError(f"cannot load model {name!r} of package {package} from {value}: {reason}") from error
    return own.entry_for(name, function)
