"""NNI's APoZ pass over plain inference, in an environment of its own: knows nothing of trimcore, prints JSON lines.

    python nni_pass.py ROUNDS FOLDER THREADS      # networks as FOLDER/NAME.pt: the traced module and a batch

Its user brings the loop over the batches, which is inference here; its hooks add what is measured.
"""

import copy
import json
import statistics
import sys
import time
from pathlib import Path

import nni
import torch
from nni.compression.pytorch.pruning import ActivationAPoZRankPruner

EVERY_BATCH = 10**9


def main(rounds: int, folder: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    for file in sorted(folder.glob("*.pt")):
        model, x = torch.load(file, weights_only=False)
        untouched = copy.deepcopy(model.eval())

        def inference(network, *_, x=x) -> None:
            with torch.no_grad():
                network(x)

        optimizer = nni.trace(torch.optim.SGD)(model.parameters(), lr=0.1)
        pruner = ActivationAPoZRankPruner(
            model, [{"op_types": ["Conv2d", "Linear"], "sparsity": 0.1}], inference, optimizer,
            torch.nn.functional.cross_entropy, EVERY_BATCH,
        )  # fmt: skip
        pruner.reset_tools()
        hooked, plain = [], []
        for _ in range(1 + rounds):
            hooked.append(seconds(pruner.data_collector.collect))
            plain.append(seconds(lambda: inference(untouched)))  # noqa: B023
        medians = {"plain": statistics.median(plain[1:]), "pass": statistics.median(hooked[1:])}
        print(json.dumps({"name": file.stem, **medians, "torch": torch.__version__, "nni": nni.__version__}))


def seconds(action) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
