"""The command `trimcore presets`."""

import click


@click.command()
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List the specs that come with the package, or print one: `presets NAME > spec.toml`."""
    from trimcore.spec import dumps
    from trimcore.spec import presets as known

    if name:
        click.echo(dumps(known.preset(name)), nl=False)
    else:
        for entry in known.names():
            click.echo(f"{entry:22} {known.preset(entry).name}")
