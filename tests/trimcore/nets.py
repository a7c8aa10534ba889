"""Small networks for images (N, 3, 8, 8), one for each way in which channels can hang together."""

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimcore.layers.maxout import Maxout


class Net(nn.Module):
    """A network from its forward function, which takes the network and the input, and its modules by name."""

    def __init__(self, steps: Callable[["Net", Tensor], Tensor], **modules: nn.Module):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


def conv(inputs: int, outputs: int, **how) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **how)


def between(step: Callable[[Net, Tensor], Tensor], inputs: int = 6, **modules: nn.Module) -> Net:
    """conv1 (6 neurons), ReLU, `step`, conv2 that takes what `step` gives: what does an operation do to conv1?"""
    parts = {"conv1": conv(3, 6), "relu": nn.ReLU(), "conv2": conv(inputs, 2)}
    return Net(lambda m, x: m.conv2(step(m, m.relu(m.conv1(x)))), **parts | modules)


def conv_norm_relu() -> Net:
    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.pool(m.relu(m.norm1(m.conv1(x))))  # (N, 8, 4, 4); one ReLU module serves twice
        x = m.relu(m.norm2(m.conv2(x)))  # (N, 6, 4, 4)
        return m.fc(torch.flatten(x, 1))

    return Net(
        steps, conv1=conv(3, 8, bias=False), norm1=nn.BatchNorm2d(8), relu=nn.ReLU(inplace=True), pool=nn.MaxPool2d(2),
        conv2=conv(8, 6), norm2=nn.BatchNorm2d(6, affine=False), fc=nn.Linear(6 * 16, 5),
    )  # fmt: skip


def functional() -> Net:
    def steps(m: Net, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(m.conv1(x)), 2)
        x = F.dropout(m.conv2(x).relu(), 0.5, m.training)
        return m.fc2(torch.tanh(m.fc1(x.view(x.size(0), -1))))

    return Net(steps, conv1=conv(3, 7), conv2=conv(7, 6), fc1=nn.Linear(96, 9), fc2=nn.Linear(9, 4))


def residual() -> Net:
    """A stem whose stream two blocks share, then a block with a downsampling convolution on the other branch."""

    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.relu(m.norm(m.stem(x)))
        x = m.relu(m.norm2(m.conv2(m.relu(m.norm1(m.conv1(x))))) + x)
        y = m.norm3(m.conv3(x))
        y += m.norm4(m.downsample(x))
        return m.fc(m.relu(y).mean((2, 3)))

    return Net(
        steps, stem=conv(3, 6), norm=nn.BatchNorm2d(6), relu=nn.ReLU(), conv1=conv(6, 5), norm1=nn.BatchNorm2d(5),
        conv2=conv(5, 6), norm2=nn.BatchNorm2d(6), conv3=conv(6, 8, stride=2), norm3=nn.BatchNorm2d(8),
        downsample=nn.Conv2d(6, 8, 1, stride=2), norm4=nn.BatchNorm2d(8), fc=nn.Linear(8, 4),
    )  # fmt: skip


def dense() -> Net:
    """Every layer takes the outputs of all before it, through BatchNorm of its own."""

    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.relu(m.conv0(x))
        x = torch.cat([x, m.conv1(m.relu(m.norm1(x)))], 1)  # (N, 9, 8, 8)
        x = torch.cat([x, m.conv2(m.relu(m.norm2(x)))], dim=1)  # (N, 12, 8, 8)
        x = m.relu(m.norm3(x)).mean([2, 3])
        return m.fc(x)

    return Net(
        steps, relu=nn.ReLU(), conv0=conv(3, 6), norm1=nn.BatchNorm2d(6), conv1=conv(6, 3), norm2=nn.BatchNorm2d(9),
        conv2=conv(9, 3), norm3=nn.BatchNorm2d(12), fc=nn.Linear(12, 4),
    )  # fmt: skip


def branches() -> Net:
    """Two branches, concatenated, flattened and pooled in several ways."""

    def steps(m: Net, x: Tensor) -> Tensor:
        a, b = m.relu(m.conv1(x)), m.silu(m.conv2(x))
        x = torch.cat((m.max(a), m.average(b), m.adaptive(a)), dim=1)  # (N, 4 + 5 + 4, 4, 4)
        return m.fc(m.flatten(x))

    return Net(
        steps, conv1=conv(3, 4), conv2=conv(3, 5), relu=nn.ReLU(), silu=nn.SiLU(), max=nn.MaxPool2d(2),
        average=nn.AvgPool2d(3, 2, padding=1), adaptive=nn.AdaptiveAvgPool2d(4), flatten=nn.Flatten(),
        fc=nn.Linear(13 * 16, 4),
    )  # fmt: skip


def squeeze_excitation() -> Net:
    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.relu(m.conv1(x))
        gate = m.expand(m.relu(m.squeeze(F.adaptive_avg_pool2d(x, 1))))  # (N, 6, 1, 1)
        return m.conv2(x * gate)

    return Net(
        steps, conv1=conv(3, 6), relu=nn.ReLU(), squeeze=nn.Conv2d(6, 4, 1), expand=nn.Conv2d(4, 6, 1), conv2=conv(6, 3)
    )  # fmt: skip


def depthwise() -> Net:
    """A depthwise convolution that makes two channels of each."""

    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.relu(m.norm1(m.conv1(x)))
        x = m.relu(m.norm2(m.depthwise(x)))
        return m.project(x)

    return Net(
        steps, conv1=conv(3, 6), norm1=nn.BatchNorm2d(6), relu=nn.ReLU6(), depthwise=conv(6, 12, groups=6),
        norm2=nn.BatchNorm2d(12), project=nn.Conv2d(12, 3, 1),
    )  # fmt: skip


def used_twice() -> Net:
    """One convolution called twice: its inputs and its outputs are the same channels."""
    return Net(
        lambda m, x: m.last(m.relu(m.shared(m.relu(m.shared(m.relu(m.first(x))))))),
        first=conv(3, 6), shared=conv(6, 6), relu=nn.ReLU(), last=conv(6, 2),
    )  # fmt: skip


def over_positions() -> Net:
    """Channels last: a linear layer on each position, then one over all of them."""

    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.relu(m.conv1(x)).permute(0, 2, 3, 1).flatten(1, 2)  # (N, 64, 6)
        x = m.gelu(m.mix(x)).transpose(1, 2)  # (N, 5, 64)
        return m.fc(x.reshape(x.shape[0], -1))

    return Net(
        steps, conv1=conv(3, 6), relu=nn.ReLU(), gelu=nn.GELU(), mix=nn.Linear(6, 5), fc=nn.Linear(5 * 64, 3)
    )  # fmt: skip


def recurrent() -> Net:
    """The columns of a map, read one after the other by an LSTM in both directions."""

    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.relu(m.conv1(x)).mean(2).transpose(1, 2)  # (N, 8, 6)
        return m.fc(m.rnn(x)[0].mean(1))

    return Net(
        steps, conv1=conv(3, 6), relu=nn.ReLU(), rnn=nn.LSTM(6, 5, batch_first=True, bidirectional=True),
        fc=nn.Linear(10, 3),
    )  # fmt: skip


def partly_frozen() -> Net:
    """conv3 is added to conv1 and conv2 side by side; what comes from conv1 also meets a softmax."""

    def steps(m: Net, x: Tensor) -> Tensor:
        a, b = m.relu(m.conv1(x)), m.relu(m.conv2(x))
        both = m.relu(torch.cat([a, b], 1) + m.conv3(x))
        return m.last(both) + a.softmax(1)

    return Net(steps, conv1=conv(3, 2), conv2=conv(3, 4), conv3=conv(3, 6), relu=nn.ReLU(), last=conv(6, 2))


def maxouts(k: int = 3, units: int = 4) -> Net:
    """Maxout units behind a convolution with BatchNorm, and behind a linear layer with dropout."""

    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.over_channels(m.relu(m.norm(m.conv1(x))))  # (N, 5, 8, 8)
        x = torch.flatten(m.pool(m.conv2(x).relu()), 1)  # (N, 3 * 16)
        return m.fc2(m.maxout(m.drop(m.relu(m.fc1(x)))))

    return Net(
        steps, conv1=conv(3, 10, bias=False), norm=nn.BatchNorm2d(10), relu=nn.ReLU(), over_channels=Maxout(2),
        conv2=conv(5, 3), pool=nn.MaxPool2d(2), fc1=nn.Linear(48, units * k), drop=nn.Dropout(0.5), maxout=Maxout(k),
        fc2=nn.Linear(units, 5),
    )  # fmt: skip


NETS = {
    make.__name__: make
    for make in (
        conv_norm_relu, functional, residual, dense, branches, squeeze_excitation, depthwise, used_twice,
        over_positions, recurrent, partly_frozen, maxouts,
    )
}  # fmt: skip


def drawn(seed: int, length: int = 12) -> Net:
    """A random network: each step takes earlier values, all of which are 8 pixels high and wide."""
    choice = random.Random(seed)
    modules: dict[str, nn.Module] = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "pool": nn.MaxPool2d(3, 1, 1)}
    widths = [6]
    plan: list[tuple] = []  # name of the step, what it does to which values
    for i in range(length):
        one = choice.randrange(len(widths))
        width = widths[one]
        two = choice.choice([k for k, other in enumerate(widths) if other == width])
        kind = choice.choice(["conv"] * 3 + ["relu"] * 3 + [*STEPS])
        outputs = width
        if kind == "conv":
            outputs = choice.choice([4, 6, width])
            modules[f"step{i}"] = nn.Sequential(nn.ReLU(), conv(width, outputs))
        elif kind == "norm":
            modules[f"step{i}"] = nn.BatchNorm2d(width)
        elif kind == "cat":
            two = choice.randrange(len(widths))
            outputs = width + widths[two]
        elif kind in GROUPED and (groups := choice.choice([g for g in (1, 2, 3, 4, 6) if width % g == 0])):
            outputs = width if kind != "grouped" else groups * choice.choice([1, 2, 3])
            groups = choice.choice([2, 4]) if kind == "split" and width % 4 == 0 else groups
            if kind == "split" and width % 2:
                continue
            outputs = width // 2 if kind == "split" else outputs
            modules[f"step{i}"] = GROUPED[kind](width, outputs, groups)
        elif kind in MADE:
            outputs = width * choice.choice([1, 2]) if kind == "depthwise" else outputs
            outputs = choice.choice([3, 6]) if kind in ("transposed", "project") else outputs
            modules[f"step{i}"] = MADE[kind](width, outputs)
        if outputs <= 24:
            widths.append(outputs)
            plan.append((kind, f"step{i}", one, two))

    def steps(m: Net, x: Tensor) -> Tensor:
        values = [m.first(x)]
        for kind, name, one, two in plan:
            step = STEPS.get(kind, lambda m, name, a, b: getattr(m, name)(a))
            values.append(step(m, name, values[one], values[two]))
        return m.last(torch.relu(torch.cat(values[-4:], 1)))

    return Net(steps, first=conv(3, 6), last=nn.Conv2d(sum(widths[-4:]), 3, 1), **modules)


def own(m: Net, name: str, a: Tensor, b: Tensor) -> Tensor:
    return getattr(m, name)(a)


def shuffle(m: Net, name: str, a: Tensor, b: Tensor) -> Tensor:
    """A channel shuffle in as many groups as the module of that name has."""
    count, channels, height, width = a.shape
    groups = getattr(m, name).groups
    return a.view(count, groups, channels // groups, height, width).transpose(1, 2).reshape(count, -1, height, width)


class Groups(nn.Module):
    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups


# Modules of a step by what they need: the width that comes, the width that goes (and the number of groups).
MADE: dict[str, Callable[[int, int], nn.Module | nn.Parameter]] = {
    "depthwise": lambda width, outputs: conv(width, outputs, groups=width),
    "gate": lambda width, outputs: nn.Conv2d(width, width, 1),
    "single": lambda width, outputs: nn.Conv2d(width, 1, 1),
    "project": lambda width, outputs: nn.Conv2d(width, outputs, 1),  # no activation before it: constants may be folded
    "transposed": lambda width, outputs: nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(width, outputs, 3, padding=1)),
    "prelu": lambda width, outputs: nn.PReLU(width),
    "maps": lambda width, outputs: nn.LayerNorm((8, 8)),
    "scale": lambda width, outputs: nn.Parameter(torch.rand(width, 1, 1) + 0.5),
}
GROUPED: dict[str, Callable[[int, int, int], nn.Module]] = {
    "grouped": lambda width, outputs, groups: nn.Sequential(nn.ReLU(), conv(width, outputs, groups=groups)),
    "group_norm": lambda width, outputs, groups: nn.GroupNorm(groups, width),
    "shuffle": lambda width, outputs, groups: Groups(groups),
    "split": lambda width, outputs, groups: Groups(2),
}
STEPS: dict[str, Callable[[Net, str, Tensor, Tensor], Tensor]] = {
    **dict.fromkeys(("norm", "depthwise", "project", "transposed", "prelu", "maps", "grouped", "group_norm"), own),
    "relu": lambda m, name, a, b: m.relu(a),
    "tanh": lambda m, name, a, b: m.tanh(a),
    "pool": lambda m, name, a, b: m.pool(a),
    "add": lambda m, name, a, b: a + b,
    "mul": lambda m, name, a, b: a * b / 2,
    "cat": lambda m, name, a, b: torch.cat([a, b], 1),
    "gate": lambda m, name, a, b: a * getattr(m, name)(a.mean((2, 3), True)),
    "excite": lambda m, name, a, b: a * torch.sigmoid(b.mean((2, 3), True)),
    "single": lambda m, name, a, b: a + m.relu(getattr(m, name)(a)),  # one channel spread over all
    "scale": lambda m, name, a, b: a * getattr(m, name),
    "shuffle": shuffle,
    "split": lambda m, name, a, b: a.chunk(2, 1)[0] * a.chunk(2, 1)[1].sigmoid(),
    "pad": lambda m, name, a, b: F.pad(a, (1, 1, 1, 1))[:, :, 1:-1, 1:-1],
    "flat": lambda m, name, a, b: a.flatten(2).view(a.shape[0], a.shape[1], a.shape[2], a.shape[3]),
}
