"""Load a network that was exported as a state dict or as safetensors, with PyTorch alone.

    from load_network import load
    network = load("small.pt")

The layers are in `small.architecture.pt2`, a torch.export program that was written beside the weights. The network
takes any batch size and computes as in evaluation mode: it has neither dropout nor statistics to train. Reading
safetensors needs the package safetensors as well.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn


def architecture_of(weights: str | Path) -> Path:
    """The file of the layers: `small.architecture.pt2` for `small.pt`."""
    return Path(weights).with_suffix(".architecture.pt2")


def load(weights: str | Path, architecture: str | Path | None = None) -> nn.Module:
    """The network with the weights of a file, on the CPU. Raises KeyError if the file lacks one of its tensors."""
    network: nn.Module = torch.export.load(architecture or architecture_of(weights)).module()
    state = _tensors(Path(weights))
    network.load_state_dict({name: state[name] for name in network.state_dict()}, assign=True)
    return network


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state"]
    return state


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python load_network.py FILE")
    for name, tensor in load(sys.argv[1]).state_dict().items():
        print(name, tuple(tensor.shape))
