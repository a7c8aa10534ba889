"""Print how long a network takes in each runtime."""

import click
import torch

from trimcore.evaluation.runtimes import compare_runtimes
from trimcore.files.checkpoint import Checkpoint
from trimcore.files.export import noise


def show_runtimes(made: Checkpoint) -> None:
    """Time the network of a checkpoint on the CPU and print a table, then why runtimes are missing from it."""
    rows = compare_runtimes(made.build(), noise(made, 1))
    click.echo(f"{'runtime':<14}{'batch':>6}{'ms':>10}   on the CPU, threads: {torch.get_num_threads()}")
    for row in rows:
        if row.ms is not None:
            click.echo(f"{row.runtime:<14}{row.batch:>6}{row.ms:>10.3f}")
    for line in dict.fromkeys(f"{row.runtime}: {row.reason}" for row in rows if row.reason):
        click.echo(line)
