"""Two networks answer one image that somebody brought."""

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from trimcore.compute.layout import is_channels_last
from trimcore.data.dataset import Data
from trimcore.evaluation.answers import normalised, probabilities
from trimcore.system.image_sandbox import decode_untrusted
from trimcore.timing.latency import compare_latency

TOP = 5  # classes of each network


@dataclass(frozen=True)
class Answered:
    """`classes` has a row for each class among the TOP of either network, the most probable first: its number `class`,
    and its probabilities `base` and `trimmed`, 0..1. `base_ms` and `trimmed_ms` are the median milliseconds of a
    forward pass over this one image, both networks in turns."""

    classes: pd.DataFrame
    base_ms: float
    trimmed_ms: float


def read_own(content: bytes, name: str, data: Data) -> Tensor:
    """An image of any size and format as the data are loaded: (C, H, W) uint8. Decoded in a separate process. Raises
    DataError for a file that is no image, or that is refused."""
    pixels = decode_untrusted(content, name, data.image_size, data.channels, data.resize)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def answer(base: nn.Module, trimmed: nn.Module, pixels: Tensor, data: Data, device: torch.device | str) -> Answered:
    """The answers of both networks to an image (C, H, W) uint8. Raises what `probabilities` raises."""
    image = pixels[None]
    found = [probabilities(network, image, data, device)[0] for network in (base, trimmed)]
    top = sorted({number for each in found for number in each.argsort(descending=True, stable=True)[:TOP].tolist()})
    table = pd.DataFrame({"class": top, "base": found[0][top].numpy(), "trimmed": found[1][top].numpy()})
    order = table[["base", "trimmed"]].max(axis=1).sort_values(ascending=False, kind="stable").index
    example = normalised(image, data, device, is_channels_last(base))
    (times,) = compare_latency(base, trimmed, example, [1], limit_seconds=1.0)
    return Answered(table.loc[order].reset_index(drop=True), times.before_ms, times.after_ms)
