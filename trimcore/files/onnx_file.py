"""Write a network as an ONNX file, and run ONNX files with ONNX Runtime on the CPU."""

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.errors import TrimError, first_line
from trimcore.files.program import Args, any_batch


def need(*packages: str) -> None:
    """Raise TrimError, with the command that installs them, if one of the packages is missing."""
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise TrimError(f"ONNX needs the package {error.name}: pip install {' '.join(packages)}") from None


def write_onnx(network: nn.Module, example: Args, path: Path) -> None:
    """Write a network in evaluation mode. `example` is that of `program_of`. The input of a network with one input is
    called "images", the first output "scores". Raises TrimError for a network that ONNX cannot express, and OSError."""
    need("onnxscript", "onnxruntime")
    names = ["images"] if len(example) == 1 else [f"input_{number}" for number in range(len(example))]
    try:
        torch.onnx.export(
            network, example, str(path), input_names=names, output_names=["scores"], external_data=False,
            dynamic_shapes=any_batch(example), dynamo=True, verbose=False,
        )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        raise TrimError(f"cannot export this network as ONNX: {first_line(error)}") from None


class OnnxNetwork(nn.Module):
    """An ONNX file that is called like the network: tensors in, the list of all outputs out.

    It uses as many threads as PyTorch does. They sleep while they wait, since networks that are timed in turns must not
    take the cores from each other. Raises TrimError for a file that ONNX Runtime cannot open, or inputs that it cannot
    take.
    """

    def __init__(self, path: Path):
        super().__init__()
        need("onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors have no class of their own in common
            raise TrimError(f"ONNX Runtime cannot open {path.name!r}: {first_line(error)}") from error
        self.names = [each.name for each in self.session.get_inputs()]

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        feeds: dict[str, Any] = {name: each.numpy() for name, each in zip(self.names, inputs, strict=True)}
        try:
            return [torch.from_numpy(output) for output in self.session.run(None, feeds)]
        except Exception as error:  # see above
            raise TrimError(f"ONNX Runtime cannot run the file: {first_line(error)}") from error
