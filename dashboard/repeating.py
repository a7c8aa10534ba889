"""The command line that repeats a run. Pure functions of specs as plain values."""

import shlex
from collections.abc import Mapping, Sequence


def repeat(spec: Mapping, file: str = "spec.toml", more: str = "") -> str:
    """The lines that repeat a run from its spec in `file`; `more` are further arguments. A branch names the run that it
    begins with; where that is not at hand, it has to be repeated first, and has another id then."""
    parent, model, weights = spec.get("parent"), spec.get("model", ""), spec.get("base", {}).get("weights", "")
    lines = []
    if ":" in model:
        lines.append(f"# in the folder of {one_line(model.partition(':')[0].split('.')[0])}.py")
    if parent:
        lines.append("# where the run that it begins with is not there: repeat that first, and put in its new id")
        run, iteration = shlex.quote(str(parent.get("run"))), int(parent.get("iteration", 0))
        lines.append(f"python -m trimcore branch {run} --iteration {iteration} {shlex.quote(file)}{more}")
    else:
        if weights not in ("", "pretrained"):
            lines.append(f"# it begins with the weights in {one_line(weights)}")
        lines.append(f"python -m trimcore run {shlex.quote(file)}{more}")
    return "\n".join(lines)


def repeat_line(specs: Sequence[tuple[str, Mapping]]) -> str:
    """The lines that repeat a run with all that it came from: (run id, spec), the oldest first."""
    files = [f"{run_id}.toml" for run_id, _ in specs[:-1]] + ["spec.toml"]
    return "\n".join(repeat(spec, file) for file, (_, spec) in zip(files, specs, strict=True))


def one_line(text: str) -> str:
    """A text that may hold anything, so that it stays a comment."""
    return " ".join(text.split())
