"""Every rule against the oracle, and the freeze reason of every operation without a rule."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trimcore.nets import Net, between, conv
from tests.trimcore.oracle import check, images, random_plan, randomised
from trimcore.graph import rules
from trimcore.graph.tracing import trace


def with_constants(net: Net) -> Net:
    """Adds a scalar and tensors with one value per channel, per position, and for both."""
    shapes = {"number": (), "vector": (6, 1, 1), "map": (1, 1, 8, 8), "full": (1, 6, 8, 8), "last": (6,)}
    for i, (name, shape) in enumerate(shapes.items()):
        value = images(*shape, seed=i) + 2
        setattr(net, name, nn.Parameter(value))
        net.register_buffer(f"{name}_buffer", value.clone())
        net.register_buffer(f"{name}_unsaved", value.clone(), persistent=False)
    return net


def traced(step, inputs: int = 6, **modules: nn.Module):
    torch.manual_seed(0)
    model = randomised(with_constants(between(step, inputs, **modules)))
    return model, trace(model, images(3, 3, 8, 8))


def pool(outputs: int = 1) -> nn.Module:
    return nn.AdaptiveAvgPool2d(outputs)


TRACKED = {
    "times a number": lambda m, x: 2 * x / 3 * m.number,
    "times a map": lambda m, x: x * m.map,
    "plus itself": lambda m, x: torch.add(x, x, alpha=-2) - x.sub(x * x),
    "plus another batch": lambda m, x: x + x.mean(0, keepdim=True),
    "in place": lambda m, x: operator.imul(operator.iadd(x.clone(), m.one(x) * x), 3),
    "copied, then changed in place": lambda m, x: (x.clone(), operator.iadd(x, x))[0],
    "gate of one channel": lambda m, x: x * m.one(x),
    "one channel broadcast over all": lambda m, x: x * torch.relu(m.one(x)),
    "gate from a linear layer": lambda m, x: x * m.linear(m.pool(x).flatten(1)).view(x.size(0), x.size(1), 1, 1),
    "mean": lambda m, x: x * torch.mean(x, (2, 3), keepdim=True) + x.mean(axis=(2, 3), keepdim=True),
    "functional pooling": lambda m, x: F.max_pool2d(x, 3, 3, 1, 1, True) + F.avg_pool2d(x, 3, 3, 1, True),
    "adaptive pooling": lambda m, x: F.adaptive_max_pool2d(x, (2, 3)) + F.adaptive_avg_pool2d(x, (2, 3)),
    "view": lambda m, x: x.view(x.size(0), -1, 4, 16).reshape(x.shape),
    "view by sizes by name": lambda m, x: x.view(x.size(dim=0), x.size(dim=1), 4, 16).reshape(x.shape),
    "reshape by name": lambda m, x: torch.reshape(x, shape=(x.shape[0], -1, 4, 16)),
    "there and back": lambda m, x: x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2).unsqueeze(2).contiguous(),
    "squeeze": lambda m, x: m.pool(x).squeeze(-1).unsqueeze(-1).clone(),
    "norm of the flat map": lambda m, x: torch.relu(m.flat_norm(x.flatten(1))).view(x.size(0), -1, 8, 8),
    "norm twice": lambda m, x: m.relu(m.norm(m.relu(m.norm(x)))),
    "norm without statistics": lambda m, x: m.relu(m.plain_norm(x)),
    "dropout": lambda m, x: F.dropout(m.dropout(m.identity(x)), 0.5, m.training),
    "added to its transpose": lambda m, x: x + x.transpose(2, 3),
    "times a stored vector": lambda m, x: m.vector * x * m.vector_buffer,
    "times a stored number for each channel and position": lambda m, x: x * m.full * m.vector * m.vector,
    "times views of stored tensors": lambda m, x: x * m.last.view(1, -1, 1, 1) * m.last[:, None, None] *
    m.vector.permute(1, 2, 0).permute(2, 0, 1) + m.last.reshape(-1, 1, 1).expand(-1, 8, 8),
    "norm of each map": lambda m, x: torch.relu(m.maps(x) + m.instance(x)),
    "functional norm of rows": lambda m, x: F.layer_norm(x, (8,)).relu(),
    "gate": lambda m, x: x * torch.sigmoid(m.same(x)) * m.hard(x) * m.same(x).sigmoid(),
    "own slopes": lambda m, x: m.slopes(m.norm(x)) + m.slope(m.norm(x)),
    "clipped": lambda m, x: m.clip(m.norm(x)),
    "other sizes": lambda m, x: F.interpolate(x, scale_factor=2)[:, :, ::2, 1::2] + m.up(x)[..., :8, :8],
    "padded": lambda m, x: F.pad(x, (1, 1, 2, 2)) + m.zeros(x) * m.mirror(x),
    "square again": lambda m, x: (x.sum((2, 3), keepdim=True) * x).amax(3, keepdim=True).expand(-1, -1, 8, 8),
    "channels last": lambda m, x: (x.permute(0, 2, 3, 1) * m.last).permute(0, 3, 1, 2),
    "transposed": lambda m, x: m.relu(m.transposed(x)),
    "a shape as a whole": lambda m, x: x.flatten(1).reshape(x.shape),
    "rows by the size of columns": lambda m, x: x[:, :, : x.size(3)] * x.shape[2],
    "plus a norm": lambda m, x: x + m.norm(x),
    "power": lambda m, x: x**2,
    "mask": lambda m, x: torch.where(x > 1, x, 2 * x),
    "divided by its size": lambda m, x: x / (1 + x.abs()),
    "softmax over positions": lambda m, x: x * x.flatten(2).softmax(2).view(x.shape),
    "stacked": lambda m, x: torch.stack([x, 2 * x], 2).sum(2) + torch.stack((x, x)).mean(0),
    "unbound": lambda m, x: sum(x.unbind(3)).unsqueeze(3) * x,
    "split along a row": lambda m, x: torch.cat(x.split(3, 3), 3) + torch.cat(torch.split(x, [2, 6], 2), 2),
    "expanded as": lambda m, x: m.pool(x).expand_as(x) * x,
    "several axes and back": lambda m, x: x.unflatten(1, (2, -1)).flatten(1, 2) + torch.unflatten(
        x, 1, (2, -1)).flatten(1, 2),
    "repeated": lambda m, x: m.pool(x).repeat(1, 1, 8, 8) + x,
    "each repeated": lambda m, x: m.pool(x).repeat_interleave(8, -1).repeat_interleave(8, dim=-2) + x,
    "to the maximum and back": lambda m, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "to the maximum and back by modules": lambda m, x: m.unpool(*m.indexed(m.same(x))) + x,
    "index of the maximum": lambda m, x: x * F.max_pool2d(x, 3, 1, 1, return_indices=True)[1].to(x.dtype),
    "sampled": lambda m, x: x + F.grid_sample(
        x, torch.linspace(-1, 1, 128, dtype=x.dtype).view(1, 8, 8, 2).expand(len(x), -1, -1, -1), align_corners=False),
    "by its neighbours": lambda m, x: m.response(m.same(x)) + F.local_response_norm(m.same(x), 3),
    "rolled": lambda m, x: torch.roll(x, (1, 2), (2, 3)) + x.flip(2),
    "flipped twice": lambda m, x: x.flip(2, 3) + torch.flip(x, dims=(3,)),
    "rolled by name": lambda m, x: x.roll(shifts=1, dims=3),
    "normalised over positions": lambda m, x: F.normalize(x, dim=(2, 3)) + F.normalize(x, dim=-1),
    "clamped": lambda m, x: x.clamp(max=1).clamp_(-1) + x.clamp_max(2),
    "another type and back": lambda m, x: x.double() + x.to(x.dtype).type_as(x),
    "activation in place, result unused": lambda m, x: (m.same(x), F.relu(x, inplace=True))[0],
}
MODULES = {
    "one": lambda: nn.Conv2d(6, 1, 1), "linear": lambda: nn.Linear(6, 6), "pool": pool, "same": lambda: conv(6, 6),
    "maps": lambda: nn.LayerNorm((8, 8)), "instance": lambda: nn.InstanceNorm2d(6, affine=True), "hard": nn.Hardsigmoid,
    "slopes": lambda: nn.PReLU(6), "slope": nn.PReLU, "clip": lambda: nn.Hardtanh(-0.5, 2.0),
    "up": lambda: nn.Upsample(scale_factor=2, mode="bilinear"), "zeros": lambda: nn.ZeroPad2d((1, 1, 2, 2)),
    "mirror": lambda: nn.ReflectionPad2d((1, 1, 2, 2)), "transposed": lambda: nn.ConvTranspose2d(6, 6, 3, padding=1),
    "norm": lambda: nn.BatchNorm2d(6), "flat_norm": lambda: nn.BatchNorm1d(384), "dropout": lambda: nn.Dropout(0.5),
    "unpool": lambda: nn.MaxUnpool2d(2), "indexed": lambda: nn.MaxPool2d(2, return_indices=True),
    "response": lambda: nn.LocalResponseNorm(5),
    "plain_norm": lambda: nn.BatchNorm2d(6, affine=False, track_running_stats=False), "identity": nn.Identity,
}  # fmt: skip


@pytest.mark.parametrize("step", TRACKED.values(), ids=TRACKED)
@pytest.mark.parametrize("ratio", [0, 0.5, 1])
def test_tracked(step, ratio):
    model, graph = traced(step, **{name: make() for name, make in MODULES.items()})
    assert len(graph.candidates("conv1")) == 6
    check(model, random_plan(graph, ratio, 1, ["conv1"]), images(3, 3, 8, 8), graph)


WIDER = {
    "concatenated": (lambda m, x: torch.cat(tensors=(x, x * 2), dim=-3), 12),
    "concatenated by axis": (lambda m, x: torch.concat([x, m.norm(x), x], axis=1).relu(), 18),
    "depthwise with a multiplier": (lambda m, x: m.relu(m.depthwise(x)), 18),
    "unfolded": (lambda m, x: F.unfold(x, 2).unsqueeze(3), 24),
    "split by its own width": (lambda m, x: torch.cat(x.split(x.size(1) // 2, 1)[::-1], 1), 6),
    "concatenated along a row": (lambda m, x: torch.cat((x, x), 3), 6),
}


def shuffled(x, groups: int):
    count, channels, height, width = x.size()
    return x.view(count, groups, channels // groups, height, width).transpose(1, 2).reshape(count, -1, height, width)


def shuffled_by_numbers(x, groups: int):
    """As in torchvision's ShuffleNet."""
    count, channels, height, width = x.size()
    x = x.view(count, groups, channels // groups, height, width)
    return x.transpose(1, 2).contiguous().view(count, channels, height, width)


# step, inputs of conv2, a neuron of conv1, the neurons removed with it, remaining inputs of conv2
IN_GROUPS = {
    "channel shuffle": (lambda m, x: shuffled(x, 3), 6, 0, [0, 2, 4], 3),
    "shuffle by numbers": (lambda m, x: shuffled_by_numbers(x, 3), 6, 0, [0, 2, 4], 3),
    "shuffle back": (lambda m, x: x.view(x.size(0), -1, 3, 8, 8).transpose(1, 2).flatten(1, 2), 6, 0, [0, 1, 2], 3),
    "chunks": (lambda m, x: torch.cat([x.chunk(3, 1)[2], torch.chunk(x, 3, dim=1)[0]], 1), 4, 1, [1, 3, 5], 2),
    "half as the gate of half": (lambda m, x: x.chunk(2, 1)[0] * x.chunk(2, 1)[1].sigmoid(), 3, 2, [2, 5], 2),
    "whole groups": (lambda m, x: m.relu(m.blocks(x)), 12, 3, [2, 3], 8),
    "positions in groups": (lambda m, x: m.relu(m.halves(x)), 4, 1, [1, 4], 4),
    "whole groups, transposed": (lambda m, x: m.relu(m.up_blocks(x)), 12, 0, [0, 1], 8),
    "positions, transposed": (lambda m, x: m.relu(m.up_halves(x)), 4, 4, [1, 4], 4),
    "depthwise, transposed": (lambda m, x: m.relu(m.up_deep(x)), 12, 4, [4], 10),
    "group norm": (lambda m, x: m.relu(m.norm(x)), 6, 3, [3, 4, 5], 3),
    "pixels to channels": (lambda m, x: F.pixel_unshuffle(x, 2), 24, 5, [5], 20),
    "channels to pixels": (lambda m, x: m.pixels(m.relu(m.up_deep(x))), 3, 3, [2, 3], 2),
}
GROUPED = {
    "blocks": lambda: conv(6, 12, groups=3), "halves": lambda: conv(6, 4, groups=2), "norm": lambda: nn.GroupNorm(2, 6),
    "up_blocks": lambda: nn.ConvTranspose2d(6, 12, 3, padding=1, groups=3), "pixels": lambda: nn.PixelShuffle(2),
    "up_halves": lambda: nn.ConvTranspose2d(6, 4, 3, padding=1, groups=2),
    "up_deep": lambda: nn.ConvTranspose2d(6, 12, 3, padding=1, groups=6),
}  # fmt: skip


@pytest.mark.parametrize(("step", "inputs", "neuron", "together", "left"), IN_GROUPS.values(), ids=IN_GROUPS)
def test_neurons_that_are_removed_together(step, inputs, neuron, together, left):
    model, graph = traced(step, inputs, **{name: make() for name, make in GROUPED.items()})
    assert graph.together("conv1", [neuron]) == together
    small = check(model, {"conv1": [neuron]}, images(3, 3, 8, 8), graph)
    assert small.conv2.in_channels == left
    again = trace(small, images(3, 3, 8, 8))  # a second cut behaves the same
    if len(again.candidates("conv1")) > len(together):
        assert len(again.together("conv1", [0])) == len(together)
        check(small, {"conv1": [0]}, images(3, 3, 8, 8), again)


def test_later_cuts_of_a_grouped_convolution_use_the_same_option():
    """Six groups of five are cut as whole groups. With four groups left, positions would be the finer option."""
    net = Net(lambda m, x: m.last(m.relu(m.grouped(m.relu(m.first(x))))), relu=nn.ReLU(),
              first=conv(3, 30), grouped=conv(30, 30, groups=6), last=conv(30, 2))  # fmt: skip
    x = images(2, 3, 8, 8)
    model = randomised(net)
    small = check(model, {"first": [0, 29]}, x)
    assert (small.grouped.groups, small.grouped.in_channels, small.first.out_channels) == (4, 20, 20)
    assert trace(small, x).together("first", [7]) == [5, 6, 7, 8, 9]
    check(small, {"first": [7]}, x)


@pytest.mark.parametrize(("step", "inputs"), WIDER.values(), ids=WIDER)
def test_tracked_to_another_width(step, inputs):
    model, graph = traced(step, inputs, norm=nn.BatchNorm2d(6), depthwise=conv(6, 18, groups=6))
    small = check(model, {"conv1": [1, 4]}, images(3, 3, 8, 8), graph)
    assert small.conv2.in_channels == inputs * 4 // 6


@pytest.mark.parametrize("activate", [*rules.ACTIVATION_FUNCTIONS, *(kind() for kind in rules.ACTIVATION_MODULES)])
def test_an_activation_of_zero_is_zero(activate):
    values = torch.linspace(-3, 3, 7)
    result = activate(values.clone())
    assert result[3] == 0
    assert (result[4:] > 0).all()
    assert activate in rules.ACTIVATION_FUNCTIONS or type(activate) in rules.MODULES


# Zero does not stay zero here, so conv2 reads a constant where a neuron of conv1 is held at zero.
EXPOSED = {
    "plus a number": lambda m, x: x + 1,
    "a number minus it": lambda m, x: 1 - x,
    "plus a map": lambda m, x: x + m.map,
    "plus a broadcast channel": lambda m, x: x + torch.relu(m.one(x)),
    "a number divided by it": lambda m, x: 2 / (x + 9),
    "stored map of all": lambda m, x: x + m.full,
    "sigmoid": lambda m, x: x.sigmoid(),
    "negative power": lambda m, x: (x + 9) ** -2,
    "padded with ones": lambda m, x: F.pad(x, (1, 0), value=1.0),
    "one or two": lambda m, x: torch.where(x > 1, 1.0, 2.0).to(x.dtype),
}


@pytest.mark.parametrize("step", EXPOSED.values(), ids=EXPOSED)
def test_a_layer_that_reads_a_constant_keeps_its_inputs(step):
    model, graph = traced(step, **{name: make() for name, make in MODULES.items()})
    assert len(graph.candidates("conv1")) == 6
    small = check(model, {"conv1": [0, 3]}, images(3, 3, 8, 8), graph)
    assert (len(small.conv1.weight), small.conv2.in_channels) == (4, 6)
    check(small, {"conv1": [1]}, images(3, 3, 8, 8))


TOGETHER = "its channels can only be removed all at once"
FROZEN = {
    "divided by itself": (lambda m, x: x / x.abs(), "truediv has no finite value at zero"),
    "logarithm": (lambda m, x: torch.log(x), "log has no finite value at zero"),
    "inverse": (lambda m, x: x**-1, "pow_1 has no finite value at zero"),
    "the width as a factor": (lambda m, x: x * x.size(1), "mul computes with the number of channels"),
    "a power of the width": (lambda m, x: x.div(x.shape[1] ** 0.5), "div computes with the number of channels"),
    "width as a number": (lambda m, x: x.view(-1, 6, 8, 8), "view hard-codes the length 6 of its channel axis"),
    "width in a tuple": (lambda m, x: x.reshape((x.size(0), 6, 64)), "reshape hard-codes the length 6 of"),
    "width by name": (lambda m, x: torch.reshape(x, shape=(-1, 6, 8, 8)), "reshape hard-codes the length 6 of"),
    "flat length": (lambda m, x: x.view(-1, 384), "view hard-codes the length 384 of its channel axis; use -1 instead"),
    "shuffle": (lambda m, x: x.view(x.size(0), 2, 3, 8, 8).transpose(1, 2), "view spreads its channels over several"),
    "batch and channels mixed": (lambda m, x: x.flatten(0, 1), "flatten spreads its channels over several axes"),
    "channels and positions tied": (lambda m, x: m.six(x) + m.six(x).transpose(1, 2), TOGETHER),
    "not a weight": (lambda m, x: x * m.vector_unsaved, "mul combines it with a stored tensor"),
    "computed of a weight": (lambda m, x: x * (m.vector + 1), "mul combines it with a stored tensor"),
    "a view of written length": (lambda m, x: x * m.last.view(1, 6, 1, 1), "mul combines it with a stored tensor"),
    "read elsewhere too": (lambda m, x: x * m.vector * m.vector.norm(), "vector shares its weights with vector"),
    "one group norm": (lambda m, x: m.relu(m.one_norm(x)), "one_norm normalises over all channels together"),
    "layer norm over channels": (lambda m, x: m.layer_norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).relu(),
                                 "layer_norm normalises over all channels together"),
    "layer norm over all": (lambda m, x: F.layer_norm(x, (6, 8, 8)).relu(), "layer_norm normalises over all channels"),
    "as many rows as channels": (lambda m, x: x[:, :, : x.size(1)], "getitem computes with the number of channels"),
    "stretched": (lambda m, x: m.relu(m.one(x)).expand(-1, 6, 8, 8) + x,
                  "expand broadcasts one value over all channels"),
    "padded channels": (lambda m, x: F.pad(x, (0, 0, 0, 0, 1, 1)), "there is no rule for pad at pad"),
    "softmax over channels": (lambda m, x: x.softmax(1), "softmax normalises over all channels together"),
    "softmax module": (lambda m, x: m.softmax(x), "softmax normalises over all channels together"),
    "mean over channels": (lambda m, x: x * x.mean(1, keepdim=True), "mean reduces over channels"),
    "mean of all": (lambda m, x: x * x.mean(), "mean reduces over channels"),
    "a table read at an activation": (lambda m, x: torch.ones(6, 2)[x.argmax(1)].movedim(-1, 1).repeat(1, 3, 1, 1),
                                      "there is no rule for argmax at argmax"),
    "reversed": (lambda m, x: x.flip(1), "there is no rule for flip at flip"),
    "reversed with rows": (lambda m, x: x.flip(1, 3), "there is no rule for flip at flip"),
    "rolled through all axes": (lambda m, x: torch.roll(x.permute(0, 2, 3, 1), 1), "there is no rule for roll at roll"),
    "strided, of computed weights": (lambda m, x: F.conv2d(x, m.same.weight / m.same.weight.max(), None, 6),
                                     "conv2d computes its weights at each call"),
    "statistics of the batch": (
        lambda m, x: F.batch_norm(x, m.norm.running_mean, m.norm.running_var, m.norm.weight, m.norm.bias, True),
        "there is no rule for batch_norm at batch_norm"),
    "with a constant": (lambda m, x: torch.cat([x, m.full], 0), "cat combines it with a stored tensor"),
    "spectral norm": (lambda m, x: m.relu(m.spectral_norm(x)), "spectral_norm computes its weights at each call"),
    "pre-hook": (lambda m, x: m.relu(m.hooked(x)), "hooked has a pre-hook, a parametrization"),
    "operands by name": (lambda m, x: torch.mul(input=x, other=x), "there is no rule for mul at mul"),
    "into another tensor": (lambda m, x: torch.add(x, x, out=x * 2), "there is no rule for add at add"),
}


@pytest.mark.parametrize(("step", "reason"), FROZEN.values(), ids=FROZEN)
def test_frozen_with_the_reason(step, reason):
    hooked = conv(6, 6)
    hooked.register_forward_pre_hook(lambda module, inputs: None)
    modules = {
        "conv1": conv(3, 6), "conv2": conv(6, 2), "relu": nn.ReLU(), "one": nn.Conv2d(6, 1, 1), "six": pool(6),
        "norm": nn.BatchNorm2d(6), "softmax": nn.Softmax2d(), "hooked": hooked,
        "same": conv(6, 6), "one_norm": nn.GroupNorm(1, 6), "layer_norm": nn.LayerNorm(6),
        "spectral_norm": nn.utils.parametrizations.spectral_norm(conv(6, 6)),
    }  # fmt: skip

    def steps(m, x):
        result = step(m, m.relu(m.conv1(x)))
        return m.conv2(result) if reason == TOGETHER or "shares" in reason else result

    graph = trace(with_constants(Net(steps, **modules)), torch.zeros(3, 3, 8, 8))
    assert graph.trimmable() == []
    assert graph.candidates("conv1") == []
    assert reason in graph.layers["conv1"].reason


ALIASES = {
    "itself": lambda m, x: x,
    "view": lambda m, x: x.view(x.size(0), -1, 8, 8),
    "dropout": lambda m, x: m.dropout(x),
    "activation": lambda m, x: m.inplace(x),
    "functional activation": lambda m, x: F.relu(x, inplace=True),
    "activation by method": lambda m, x: x.relu_(),
}


@pytest.mark.parametrize("alias", ALIASES.values(), ids=ALIASES)
@pytest.mark.parametrize("change", [operator.iadd, operator.isub, operator.imul, operator.itruediv])
def test_a_value_that_is_used_after_an_in_place_change_has_changed(alias, change):
    """`other` is x itself or shares its memory, so the change shows in it."""

    def steps(m, x):
        other = alias(m, x)
        change(x, m.norm(x).abs() * 0.1 + 0.2)
        return m.last(m.relu(other))

    modules = {"norm": nn.BatchNorm2d(6), "dropout": nn.Dropout(), "inplace": nn.ReLU(inplace=True), "last": conv(6, 6)}
    model = randomised(between(steps, **modules))
    check(model, {"conv1": [0, 4]}, images(2, 3, 8, 8))


PIECES = {
    "chunk": lambda x: x.chunk(2, 1), "split": lambda x: x.split(3, 1), "unbind": lambda x: x.unsqueeze(1).unbind(1),
    "view": lambda x: (x.unflatten(3, (2, 4)).flatten(3),), "expanded": lambda x: (x.expand_as(x * 2),),
}  # fmt: skip


@pytest.mark.parametrize("taken", PIECES.values(), ids=PIECES)
def test_pieces_of_a_value_change_with_it(taken):
    """The pieces are taken before the change, and are used after it."""

    def steps(m, x):
        pieces = taken(x)
        x.add_(1)
        return torch.cat(tuple(pieces), 1)

    model, x = randomised(between(steps)), images(2, 3, 8, 8)
    check(model, {"conv1": [0, 4]}, x)
