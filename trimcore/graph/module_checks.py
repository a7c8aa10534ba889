"""Properties of modules that decide how tracing treats them."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from trimcore.layers.places import has_foreign_hooks

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def is_modified(module: nn.Module) -> bool:
    """Whether the module may compute something other than its class defines: its weights are parametrized (weight norm,
    for example), it has forward pre-hooks, or its forward method was replaced."""
    modified = nn.utils.parametrize.is_parametrized(module) or "forward" in vars(module)
    return modified or has_foreign_hooks(module)


def can_absorb_constants(module: nn.Module) -> bool:
    """Whether a constant input adds the same constant at every output position. Zero padding breaks this at borders."""
    if not isinstance(module, _ConvNd):
        return isinstance(module, nn.Linear)
    transposed = isinstance(module, _ConvTransposeNd)
    padded = module.padding_mode == "zeros" and module.padding not in ("valid", (0,) * len(module.kernel_size))
    return module.groups == 1 and not transposed and not padded


def uses_running_stats(module: nn.Module) -> bool:
    """Whether the module is a BatchNorm that uses running statistics in evaluation."""
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def is_plain_batch_norm(module: nn.Module) -> bool:
    """Whether the module is one of PyTorch's own BatchNorm classes, unmodified, with running statistics."""
    return type(module) in BATCH_NORMS and uses_running_stats(module) and not is_modified(module)
