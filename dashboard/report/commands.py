"""The commands that repeat a run. Pure functions of specs as plain values."""

import shlex
from collections.abc import Mapping, Sequence


def repeat(spec: Mapping, file: str = "spec.toml", more: str = "") -> str:
    """The commands that repeat a run from its spec in `file`, with further arguments `more`. A branch needs its parent
    run. If the parent is missing, it has to be repeated first and gets a new id."""
    parent, model, weights = spec.get("parent"), spec.get("model", ""), spec.get("base", {}).get("weights", "")
    lines = []
    if ":" in model and not model.startswith(("timm:", "hf:")):
        lines.append(f"# run this in the folder that contains {one_line(model.partition(':')[0].split('.')[0])}.py")
    if parent:
        lines.append("# if the parent run does not exist here, repeat it first and use its new id below")
        run, iteration = shlex.quote(str(parent.get("run"))), int(parent.get("iteration", 0))
        lines.append(f"python -m trimcore branch {run} --iteration {iteration} {shlex.quote(file)}{more}")
    else:
        if weights not in ("", "pretrained"):
            lines.append(f"# the run starts from the weights in {one_line(weights)}")
        lines.append(f"python -m trimcore run {shlex.quote(file)}{more}")
    return "\n".join(lines)


def repeat_line(specs: Sequence[tuple[str, Mapping]]) -> str:
    """The commands that repeat a run and all its ancestors. specs: (run id, spec), oldest first."""
    files = [f"{run_id}.toml" for run_id, _ in specs[:-1]] + ["spec.toml"]
    return "\n".join(repeat(spec, file) for file, (_, spec) in zip(files, specs, strict=True))


def one_line(text: str) -> str:
    """Join a text of any content into one line, so that it stays a comment."""
    return " ".join(text.split())
