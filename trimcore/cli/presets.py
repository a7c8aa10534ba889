"""The command `trimcore presets`."""

import click


@click.command()
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List the built-in specs, or print one of them: `presets NAME > spec.toml`."""
    from trimcore.spec import dumps
    from trimcore.spec import presets as builtin

    if name:
        click.echo(dumps(builtin.preset(name)), nl=False)
    else:
        for entry in builtin.names():
            click.echo(f"{entry:22} {builtin.preset(entry).name}")
