"""Put scripts beside an export: one that times it, and for weights one that loads them. Neither needs trimcore."""

import os
from contextlib import suppress
from pathlib import Path

from trimcore.errors import TrimError
from trimcore.files.checkpoint import Checkpoint
from trimcore.files.export import FORMATS, batches_of, largest_difference, noise
from trimcore.files.program import program_of, without_weights, write_program
from trimcore.files.standalone import load_network
from trimcore.system.files import write_atomic

TEMPLATES = Path(load_network.__file__).parent
WEIGHTS = ("state_dict", "safetensors")  # formats that need the layers in a file of their own


def check_scripts(format: str, out: Path) -> None:
    """Raise TrimError if no script can go with a file of this format or of this name."""
    if format == "sparse":
        raise TrimError("only trimcore reads sparse files, so no script goes with them; export as safetensors instead")
    suffix = Path(f"x{FORMATS[format]}").suffix
    if out.suffix != suffix:
        raise TrimError(f"the scripts know a {format} file by its name: it must end in {suffix}, unlike {out.name!r}")


def script_paths(format: str, out: Path) -> list[Path]:
    """What `write_scripts` writes beside the exported file `out`."""
    timing, loading = out.with_name("time_export.py"), out.with_name("load_network.py")
    return [timing, loading, load_network.architecture_of(out)] if format in WEIGHTS else [timing]


def write_scripts(made: Checkpoint, format: str, out: Path) -> list[Path]:
    """Write what goes with the exported file `out` into its folder, and return the paths.

    time_export.py times the file. For weights, load_network.py loads them into NAME.architecture.pt2, a torch.export
    program without weights; the loaded network is compared with `made` first. Raises TrimError for a network that is no
    such program, a file that cannot be written, and as `check_scripts` does.
    """
    check_scripts(format, out)
    paths = script_paths(format, out)
    try:
        for path in paths:
            if path.suffix == ".py":
                write_atomic(path, (TEMPLATES / path.name).read_text("utf-8"))
            else:
                _write_architecture(made, format, out, path)
    except OSError as error:
        raise TrimError(f"cannot write to {str(out.parent)!r}: {error.strerror or error}") from None
    return paths


def _write_architecture(made: Checkpoint, format: str, out: Path, path: Path) -> None:
    network = made.build().eval()
    examples = [noise(made, batch) for batch in batches_of(made, network)]
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.pt2")
    try:
        write_program(program_of(without_weights(network), examples[0]), temporary)
        loaded = load_network.load(out, temporary)
        for example in examples:
            largest_difference(network, loaded, example, format)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
