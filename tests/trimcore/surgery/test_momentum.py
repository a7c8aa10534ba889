"""Momentum is carried over: a pruned network trains like the masked one."""

import pytest
import torch
from torch import nn

from tests.trimcore.nets import NETS
from tests.trimcore.oracle import gap, images, masked, randomised
from trimcore.errors import TrimError
from trimcore.graph.removal import kept_neurons
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import prune
from trimcore.surgery.momentum import carry_over

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.0, amsgrad=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, momentum=0.5, centered=True),
}
PLANS = {"conv_norm_relu": {"conv1": [0, 5], "conv2": [2]}, "residual": {"stem": [1, 4], "conv1": [0], "conv3": [7]},
         "depthwise": {"conv1": [2, 3]}, "dense": {"conv0": [0], "conv1": [2]}}  # fmt: skip


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> None:
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        dtype = next(network.parameters()).dtype
        network(images(4, 3, 8, 8, seed=seed + step, dtype=dtype)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", PLANS)
def test_the_pruned_network_trains_like_the_masked_one(name, kind):
    torch.manual_seed(0)
    model = randomised(NETS[name]())  # in evaluation mode, so BatchNorm statistics do not change
    x = images(4, 3, 8, 8)
    graph, plan = trace(model, x), PLANS[name]
    held = masked(graph, plan)  # shares the weights of the model; kept weights get the same gradients
    optimizer = OPTIMIZERS[kind](list(model.parameters()))
    train(held, optimizer, 3, seed=0)
    small = prune(model, plan, graph=graph)
    carried = carry_over(optimizer, graph, plan, small)
    dropped = prune(model, plan, graph=graph)
    assert gap(small(x), held(x)) < 1e-11
    train(held, optimizer, 3, seed=9)
    train(small, carried, 3, seed=9)
    train(dropped, OPTIMIZERS[kind](list(dropped.parameters())), 3, seed=9)
    assert gap(small(x), held(x)) < 1e-9
    assert gap(dropped(x), held(x)) > 1e-5  # without momentum, training differs


def test_momentum_is_sliced_like_its_weight():
    torch.manual_seed(0)
    model = NETS["residual"]()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer, 2, seed=0)
    graph = trace(model, images(2, 3, 8, 8, dtype=torch.float32))
    small = prune(model, {"stem": [1, 4]}, graph=graph)
    before = {name: dict(optimizer.state[p]) for name, p in model.named_parameters()}
    carried = carry_over(optimizer, graph, {"stem": [1, 4]}, small)
    kept = kept_neurons(graph, {"stem": [1, 4]})["stem"]
    for p in small.parameters():
        assert carried.state[p]["exp_avg"].shape == p.shape
        assert carried.state[p]["step"] == 2
    assert torch.equal(carried.state[small.conv1.weight]["exp_avg_sq"], before["conv1.weight"]["exp_avg_sq"][:, kept])
    assert torch.equal(carried.state[small.norm2.bias]["exp_avg"], before["norm2.bias"]["exp_avg"][kept])
    assert carried.param_groups[0]["lr"] == 0.01
    assert carried.param_groups[0]["betas"] == optimizer.param_groups[0]["betas"]
    carried.state[small.fc.weight]["exp_avg"].fill_(7)
    for name, p in model.named_parameters():
        assert torch.equal(optimizer.state[p]["exp_avg"], before[name]["exp_avg"])


def test_the_settings_of_another_optimizer_are_kept():
    model, x = NETS["depthwise"](), images(2, 3, 8, 8, dtype=torch.float32)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    model(x).sum().backward()
    optimizer.step()
    graph = trace(model, x)
    small = prune(model, {"conv1": [0]}, graph=graph)
    into = torch.optim.SGD(small.parameters(), lr=0.5, momentum=0.1)
    assert carry_over(optimizer, graph, {"conv1": [0]}, small, into) is into
    assert (into.param_groups[0]["lr"], into.param_groups[0]["momentum"]) == (0.5, 0.1)
    assert into.state[small.conv1.bias]["momentum_buffer"].shape == (5,)


def test_foreign_parameters_and_factored_state_raise():
    model, x = NETS["depthwise"](), images(2, 3, 8, 8, dtype=torch.float32)
    graph, plan = trace(model, x), {"conv1": [0]}
    small = prune(model, plan, graph=graph)
    with pytest.raises(TrimError, match=r"a parameter of shape \(3, 4\) that does not belong to the network"):
        carry_over(torch.optim.SGD([nn.Parameter(torch.zeros(3, 4))]), graph, plan, small)
    factored = torch.optim.Adafactor(model.parameters())
    model(x).sum().backward()
    factored.step()
    with pytest.raises(TrimError, match="row_var of .* cannot be carried over"):
        carry_over(factored, graph, plan, small)
