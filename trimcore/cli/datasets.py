"""The command `trimcore datasets`."""

import click


@click.command()
def datasets() -> None:
    """List the data sets."""
    from trimcore.data import datasets as known

    for name, line in known().items():
        click.echo(f"{name:18} {line}")
