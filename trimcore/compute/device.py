"""Devices, and the precision that is fast on each."""

import platform
from contextlib import AbstractContextManager

import torch

from trimcore.errors import SpecError


def resolve(name: str) -> torch.device:
    """The device for a spec's device name on this machine; `auto` prefers cuda, then mps, then cpu.

    Raises SpecError if the machine does not have that device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or (device.index or 0) >= count:
            raise SpecError(
                f"device {name!r} is not available: this machine has {count} CUDA devices; 'auto' picks one that is"
            )
        device = torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SpecError("device 'mps' is not available; 'auto' picks one that is")
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 matrix units: CUDA since Ampere, CPUs with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return bool(found.get("amx_bf16") or found.get("avx512_bf16"))
    return torch.cpu._is_amx_tile_supported()


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 autocast if it is fast on this device, otherwise a no-op."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bf16(device))


def describe(device: torch.device, precision: str | None = None) -> str:
    """A readable description: 'cpu, 2 threads, bf16' or 'cuda:0 NVIDIA H200, bf16'. `precision`: by default, the one
    that trimcore trains in."""
    precision = precision or ("bf16" if has_fast_bf16(device) else "fp32")
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}, {precision}"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"{device}, {threads} thread{'s' if threads != 1 else ''}, {precision}"
    return f"{device}, {precision}"
