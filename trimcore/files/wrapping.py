"""Find a network's weights in what a training script saved: in an entry, under prefixes, as an average, or from before
BatchNorm counted its batches. Pure functions of names and tensors."""

from collections.abc import Collection, Mapping
from typing import Any

import torch

ENTRIES = ("state_dict", "model_state_dict", "model", "network", "net")  # where training scripts keep the weights
AVERAGES = ("model_ema", "ema", "state_dict_ema", "ema_state_dict", "ema_model", "averaged_model")  # ... and averages
MAX_DEPTH = 3  # of nested entries; an untrusted file may nest without end
COMPILED = "_orig_mod."  # the prefix that torch.compile adds to names
COUNTER = "num_batches_tracked"  # of BatchNorm, since PyTorch 0.4.1
AVERAGED = "n_averaged"  # a counter of torch.optim.swa_utils.AveragedModel


def unwrapped(content: Mapping[str, Any], wanted: Collection[str]) -> tuple[Mapping[str, Any], list[str]]:
    """Find the state dict inside a training checkpoint, under the model's own names. Also returns readable notes on
    what was removed or added.

    The weights may be one entry among others (`state_dict`, `model_state_dict`, ...). An average of them is taken only
    if they are not there. All names may share a prefix (`module.` from DataParallel, `model.` from a wrapper) or
    contain `_orig_mod.` from torch.compile. A prefix is removed only if more names then match `wanted`. Counters of
    BatchNorm that are missing are set to 0.
    """
    content, done = _innermost(content)
    if not all(isinstance(name, str) for name in content):
        return content, done
    if AVERAGED not in wanted:
        content = {name: value for name, value in content.items() if name != AVERAGED}
    content, removed = _without_prefix(content, wanted)
    if counters := [name for name in wanted if _is_lost_counter(name, content)]:
        content = {**content, **{name: torch.tensor(0) for name in counters}}
        removed.append(f"with {COUNTER} set to 0")
    return content, [*done, *removed]


def _innermost(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The innermost entry that holds weights."""
    done = []
    for _ in range(MAX_DEPTH):
        entries, averages = ([key for key in names if isinstance(content.get(key), Mapping)]
                             for names in (ENTRIES, AVERAGES))  # fmt: skip
        if not entries and not averages:
            break
        entry = (entries or averages)[0]
        done.append(f"taken from its entry {entry!r}" + ("" if entries else ", an average of the weights"))
        if entries and averages:
            done.append(f"not from its entry {averages[0]!r}, an average of the weights")
        content = content[entry]
    return content, done


def _without_prefix(content: Mapping[str, Any], wanted: Collection[str]) -> tuple[Mapping[str, Any], list[str]]:
    names = [name.replace(COMPILED, "") for name in content]
    best = max(_prefixes(names), key=lambda prefix: sum(name[len(prefix) :] in wanted for name in names))
    fitted = dict(zip([name[len(best) :] for name in names], content.values(), strict=True))
    if len(fitted) < len(content) or sum(name in wanted for name in fitted) <= sum(n in wanted for n in content):
        return content, []
    left_out = [part for part in (COMPILED, best) if part and any(part in name for name in content)]
    return fitted, [f"without the prefix {part!r}" for part in left_out]


def _is_lost_counter(name: str, content: Mapping[str, Any]) -> bool:
    layer, _, own = name.rpartition(".")
    return own == COUNTER and name not in content and f"{layer}.running_mean" in content


def _prefixes(names: list[str]) -> list[str]:
    """The dotted prefixes shared by all names, the empty one first."""
    parts = [name.split(".")[:-1] for name in names]
    shared = 0
    while parts and all(len(part) > shared and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return ["".join(f"{part}." for part in parts[0][:count]) if parts else "" for count in range(shared + 1)]
