"""A network as a `torch.export` program, whole or without its weights."""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from trimcore.compute.inputs import count
from trimcore.errors import TrimError, first_line

Args = tuple[Any, ...]


def program_of(network: nn.Module, example: Args) -> ExportedProgram:
    """The program of a network in evaluation mode. `example`: its positional inputs, for any batch size if they are
    several examples, otherwise for one example at a time. Raises TrimError for a network without such a program."""
    try:
        return torch.export.export(network, example, dynamic_shapes=any_batch(example))
    except RuntimeError as error:
        raise TrimError(f"cannot export this network as a torch.export program: {first_line(error)}") from None


def any_batch(example: Args) -> tuple[Any, ...] | None:
    """The same free batch size for all inputs; None for a single example, whose batch size is fixed."""
    if count(example) == 1:
        return None
    batch = torch.export.Dim("batch")
    return tuple({0: batch} for _ in example)


def write_program(program: ExportedProgram, path: Path) -> None:
    """Raises OSError."""
    with open(path, "wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights that share their memory, as those of `without_weights`
        torch.export.save(program, file)  # with a path, it would raise RuntimeError instead of OSError


def without_weights(network: nn.Module) -> nn.Module:
    """A copy whose parameters are zeros that take no room in a file. Shared parameters stay shared."""
    blanks = {id(each): _blank(each) for each in network.parameters()}
    return copy.deepcopy(network, dict(blanks))


def _blank(parameter: Tensor) -> nn.Parameter:
    zeros = torch.zeros(1, dtype=parameter.dtype).expand(parameter.shape)
    return nn.Parameter(zeros, requires_grad=False)
