"""The commands that repeat a run. Pure functions of specs as plain values."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from trimcore.system import own_code
from trimcore.system.own_code import OBJECT

KINDS = ("model", "data", "task")
FOLDERS = ("timm:", "hf:", "imagefolder:", "images:", "lfw:", "unlabelled:")


def repeat(spec: Mapping[str, Any], file: str = "spec.toml", more: str = "") -> str:
    """The commands that repeat a run from its spec in `file`, with further arguments `more`. A branch needs its parent
    run. If the parent is missing, it has to be repeated first and gets a new id."""
    parent, model, weights = spec.get("parent"), spec.get("model", ""), spec.get("base", {}).get("weights", "")
    if model.startswith(OBJECT):
        return "# a Python program carried out this run; it repeats it"
    lines = [f"# run this in the folder that contains {module}.py" for module in _modules(spec)]
    if used := _registered(spec):
        lines.append(f"# TRIMCORE_USE names the module that registers {', '.join(used)}")
    if parent:
        lines.append("# if the parent run does not exist here, repeat it first and use its new id below")
        run, iteration = shlex.quote(str(parent.get("run"))), int(parent.get("iteration", 0))
        lines.append(f"python -m trimcore branch {run} --iteration {iteration} {shlex.quote(file)}{more}")
    else:
        if weights not in ("", "pretrained"):
            lines.append(f"# the run starts from the weights in {one_line(weights)}")
        lines.append(f"python -m trimcore run {shlex.quote(file)}{more}")
    return "\n".join(lines)


def _modules(spec: Mapping[str, Any]) -> list[str]:
    """The modules of the user's own that a spec names."""
    named = [name for key in KINDS if ":" in (name := str(spec.get(key, "")))]
    own = [name for name in named if not name.startswith(FOLDERS)]
    return list(dict.fromkeys(one_line(name.partition(":")[0].split(".")[0]) for name in own))


def _registered(spec: Mapping[str, Any]) -> list[str]:
    """What the spec takes from modules in use, such as `model 'mine'`."""
    entries = [entry for own in own_code.load_used().values() for entry in own]
    return [entry for key in KINDS if (entry := f"{key} {spec.get(key)!r}") in entries]


def repeat_line(specs: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """The commands that repeat a run and all its ancestors. specs: (run id, spec), oldest first."""
    files = [f"{run_id}.toml" for run_id, _ in specs[:-1]] + ["spec.toml"]
    return "\n".join(repeat(spec, file) for file, (_, spec) in zip(files, specs, strict=True))


def one_line(text: str) -> str:
    """Join a text of any content into one line, so that it stays a comment."""
    return " ".join(text.split())
