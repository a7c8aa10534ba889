"""The command `trimcore models`."""

import click


@click.command()
def models() -> None:
    """List the models."""
    from trimcore.models import listed, refused

    for name, line in listed().items():
        click.echo(f"{name:20} {line}")
    for line in refused():
        click.echo(f"note: {line}", err=True)
