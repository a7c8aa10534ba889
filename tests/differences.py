"""How far a pruned network is from the masked one, in the precision that people use: a table, on standard output.

    python -m tests.differences
"""

import torch
import torchvision

from tests.trimcore.oracle import images, masked, random_plan, randomised
from trimcore import models
from trimcore.surgery import prune
from trimcore.tracing import trace

NETWORKS = {
    "lenet5": (lambda: models.build("lenet5"), (4, 1, 28, 28)),
    "vgg16": (lambda: models.build("vgg16", num_classes=1000), (2, 3, 64, 64)),
    "vgg16-small": (lambda: models.build("vgg16-small"), (4, 1, 28, 28)),
    "resnet18 (residual)": (torchvision.models.resnet18, (2, 3, 64, 64)),
    "densenet121 (concatenating)": (torchvision.models.densenet121, (2, 3, 64, 64)),
}


def main() -> None:
    print("network                       removed   pruned against masked, float32   float64 (relative to the output)")
    for name, (build, shape) in NETWORKS.items():
        torch.manual_seed(0)
        whole = randomised(build())
        worst = []
        for dtype in (torch.float32, torch.float64):
            model, x = whole.to(dtype), images(*shape).to(dtype)
            graph = trace(model, x)
            plan = random_plan(graph, 0.3, seed=0)
            with torch.no_grad():
                wanted, got = masked(graph, plan)(x), prune(model, plan, graph=graph)(x)
            worst.append(float((wanted - got).abs().max() / wanted.abs().max()))
        print(f"{name:30}{sum(map(len, plan.values())):6}{worst[0]:24.1e}{worst[1]:24.1e}")


if __name__ == "__main__":
    main()
