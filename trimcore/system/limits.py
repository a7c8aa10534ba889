"""Limits of a process that reads what other people made."""

import contextlib

MAX_FILE = 4096  # bytes that it may write to a file: some libraries test whether they can write


def limit(memory: int, seconds: float) -> None:
    """Limit this process to `memory` bytes beyond its current use, `seconds` of CPU time, and tiny files.

    Does nothing on systems without resource limits.
    """
    with contextlib.suppress(ImportError):
        import resource

        import psutil

        now = psutil.Process().memory_info().vms
        used = sum(psutil.Process().cpu_times()[:2])
        for kind, value in (
            ("RLIMIT_AS", now + memory),
            ("RLIMIT_CPU", int(used + seconds) + 1),
            ("RLIMIT_FSIZE", MAX_FILE),
        ):
            with contextlib.suppress(ValueError, OSError, AttributeError):
                resource.setrlimit(getattr(resource, kind), (value, value))
