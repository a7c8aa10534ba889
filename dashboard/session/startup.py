"""What the person who started the server asked for: the options after `--`.

    streamlit run dashboard/app.py -- --data-folder /data/photos --use nets.py --use shop.data --on-end notify.sh
"""

import argparse
import sys
from functools import cache
from pathlib import Path

from trimcore.errors import SpecError, TrimError
from trimcore.jobs import on_end
from trimcore.system import own_code


@cache
def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--data-folder", action="append", type=Path, default=[])
    parser.add_argument("--use", action="append", default=[])
    parser.add_argument("--on-end")
    return parser.parse_known_args(sys.argv[1:])[0]


def data_folders() -> list[Path]:
    """The folders in which the page Model looks for data sets: the working folder, unless others were named."""
    return [folder.expanduser().absolute() for folder in _options().data_folder] or [Path.cwd()]


def missing_folders() -> list[Path]:
    """Those of them that do not exist."""
    return [folder for folder in data_folders() if not folder.is_dir()]


def use_own_code() -> str:
    """Import the modules and files that `--use` names, in this process and in the trainers that it starts. Returns what
    is wrong with them in one line, or ""."""
    try:
        own_code.use(_options().use)
        own_code.load_used()
    except SpecError as error:
        return str(error)
    return ""


@cache
def use_on_end() -> str:
    """Let the runs that this server starts call what `--on-end` names. Returns what is wrong with it, or ""."""
    try:
        if (what := _options().on_end) is not None:
            on_end.use(what)
    except TrimError as error:
        return str(error)
    return ""
