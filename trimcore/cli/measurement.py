"""Measure the sensitivity of an iteration, with a progress bar."""

import sys
from collections.abc import Sequence

import click

from trimcore.compute.generators import finished
from trimcore.planning.sensitivity import Sensitivity, scanning
from trimcore.training.prepare import Opened


def scan(found: Opened, limit: int, fractions: Sequence[float]) -> Sensitivity:
    """The sensitivity of all layers on the first `limit` validation examples (0: all)."""
    profile = found.profile(found.spec.profile.examples)
    steps = scanning(found.graph, profile, found.batches(limit), fractions=fractions, task=found.task)
    with click.progressbar(length=1000, label="measuring", file=sys.stderr, width=30) as bar:
        return finished(steps, lambda seen: bar.update(round(1000 * seen[0] / seen[1]) - bar.pos))
