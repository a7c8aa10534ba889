"""The command `trimcore models`."""

import click


@click.command()
def models() -> None:
    """List the models."""
    from trimcore.models import listed, refused

    for name, line in listed().items():
        click.echo(f"{name:20} {line}")
    click.echo(f"{'timm:NAME':20} any network of the package timm")
    click.echo(f"{'hf:FOLDER':20} an image classifier that transformers saved to a folder")
    for line in refused():
        click.echo(f"note: {line}", err=True)
