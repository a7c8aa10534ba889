"""The command line as a whole. The exit code is 0, or 2 after a one-line error message."""

import sys

import click

from trimcore import __version__
from trimcore.cli.branch import branch
from trimcore.cli.changes import changes
from trimcore.cli.dashboard import dashboard
from trimcore.cli.datasets import datasets
from trimcore.cli.delete import delete
from trimcore.cli.doctor import doctor
from trimcore.cli.export import export
from trimcore.cli.launch import launch
from trimcore.cli.list import list_runs
from trimcore.cli.models import models
from trimcore.cli.note import note
from trimcore.cli.pack import pack
from trimcore.cli.pause import pause
from trimcore.cli.presets import presets
from trimcore.cli.profile import profile
from trimcore.cli.propose import propose
from trimcore.cli.queue import queue
from trimcore.cli.report import report
from trimcore.cli.resume import resume
from trimcore.cli.run import run
from trimcore.cli.sensitivity import sensitivity
from trimcore.cli.shapes import shapes
from trimcore.cli.show import show
from trimcore.cli.stop import stop
from trimcore.cli.sweep import sweep
from trimcore.cli.unpack import unpack
from trimcore.errors import TrimError
from trimcore.system import environment

COMMANDS = (
    models, datasets, presets, profile, sensitivity, propose, run, launch, list_runs, show, queue, pause, stop, resume,
    branch, sweep, note, delete, report, changes, shapes, export, pack, unpack, doctor, dashboard,
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trimcore", message="%(prog)s %(version)s")
def cli() -> None:
    """Trim neural networks by APoZ: profile, prune, retrain, inspect."""


for command in COMMANDS:
    cli.add_command(command)


def main() -> int:
    """Run the command line. A user error prints one line on stderr and returns exit code 2."""
    environment.prepare()
    try:
        code = cli.main(prog_name="trimcore", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help())
    except click.ClickException as error:
        print(f"trimcore: {' '.join(error.format_message().split())}", file=sys.stderr)
    except TrimError as error:
        print(f"trimcore: {error}", file=sys.stderr)
    except click.Abort:
        print("trimcore: interrupted", file=sys.stderr)
    except SystemExit:  # click raises it on a closed pipe, as in `trimcore list | head`
        return 0
    return 2
