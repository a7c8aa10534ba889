"""Update the width attributes of modules: features, channels and groups."""

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.conv import _ConvNd

from trimcore.graph.rules.layers import cuts_whole_groups
from trimcore.layers.attention import become_trimmed


def set_widths(module: nn.Module, sizes: Mapping[str, int]) -> None:
    """Set a module's width attributes to match its weights. `sizes` has the sizes of the roles that its tensors show
    (see `graph.channel_graph.Part`)."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = sizes["out"], sizes["in"]
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = sizes["out"]
    elif isinstance(module, nn.MultiheadAttention):
        become_trimmed(module)
    elif isinstance(module, nn.RNNBase):
        module.hidden_size, module.input_size = sizes.get("out", module.hidden_size), sizes.get("in", module.input_size)
        module._init_flat_weights()  # it also keeps its weights in a list
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = (sizes["out"],)
    elif isinstance(module, nn.GroupNorm):
        module.num_groups = max(1, sizes["out"] * module.num_groups // module.num_channels)
        module.num_channels = sizes["out"]
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = sizes["out"]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = sizes["out"]
    elif isinstance(module, _ConvNd):
        _set_conv_widths(module, sizes)


def _set_conv_widths(module: _ConvNd, sizes: Mapping[str, int]) -> None:
    inputs, outputs = module.in_channels // module.groups, module.out_channels // module.groups  # per group
    whole_groups = module.groups > 1 and cuts_whole_groups(module)
    if module.groups > 1:
        module.cut_whole_groups = whole_groups  # type: ignore[assignment]  # later cuts may find few groups left
    if whole_groups:
        groups = sizes["out"] // outputs if "out" in sizes else sizes["in"] // inputs
        module.in_channels, module.out_channels, module.groups = groups * inputs, groups * outputs, groups
    elif module.groups > 1:
        module.in_channels = sizes.get("in", module.groups * sizes.get("in of one group", inputs))
        module.out_channels = sizes.get("out", module.groups * sizes.get("out of one group", outputs))
    else:
        module.in_channels, module.out_channels = sizes["in"], sizes["out"]
