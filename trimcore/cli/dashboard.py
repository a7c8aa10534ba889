"""The command `trimcore dashboard`."""

import importlib.util
import runpy
import sys
from pathlib import Path

import click

from trimcore.cli.options import ON_END, PATH
from trimcore.errors import TrimError
from trimcore.system import own_code
from trimcore.system.processes import ROOT


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.option("--data-folder", "folders", multiple=True, type=PATH)
@click.option("--use", "modules", multiple=True)
@ON_END
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[STREAMLIT OPTIONS]")
def dashboard(folders: tuple[Path, ...], modules: tuple[str, ...], options: tuple[str, ...]) -> None:
    """Open the dashboard with its own safe settings, from any folder. It listens on this machine only.

    --data-folder PATH names a folder in which the page Model looks for data sets. --use MODULE_OR_FILE imports your
    code: what it registers stands on the lists of the page. Both can be repeated. --on-end COMMAND is run when a run of
    this server has ended; an http(s) address is posted to. Other options are passed to Streamlit, for example
    --server.port 8502 or --server.headless true.
    """
    app = ROOT / "dashboard" / "app.py"  # next to this package, both in a checkout and when installed
    if importlib.util.find_spec("streamlit") is None or not app.is_file():
        raise TrimError("the dashboard is not installed: pip install 'trimcore[dashboard]'")
    asked = [text for folder in folders for text in ("--data-folder", str(folder.absolute()))]
    own_code.use(list(modules))
    own_code.load_used()  # so that a mistake shows here, before a browser opens
    asked += [text for module in own_code.used() for text in ("--use", module)]
    sys.argv = ["streamlit", "run", str(app), *options, *(["--", *asked] if asked else [])]
    try:
        runpy.run_module("streamlit", run_name="__main__")  # in this process, so that signals reach it
    except SystemExit as end:
        raise click.exceptions.Exit(end.code if isinstance(end.code, int) else 1) from None
