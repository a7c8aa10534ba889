"""The doors of a day's work: sweeps, the queue, links to them, quantised weights, and folders of networks with code in
them."""

import contextlib
import io
import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.hostile.case import Case
from tests.hostile.checkpoints import good, refused, torch_file
from tests.hostile.names import DAMAGED, IDS, a_run
from tests.hostile.pages import linked, opened, said
from tests.hostile.specs import said_by
from tests.trimcore.jobs.waiting_runs import shown, wait_in
from trimcore import models, runs, spec
from trimcore.jobs import reordering, sweeps
from trimcore.runs import sweeps as members

# ---- sweeps

SWEEPS = {
    "no values": "", "an empty table": "[sweep.values]", "three settings": (
        "[sweep.values]\nseed = [0, 1]\n'retrain.lr' = [0.1, 0.2]\n'base.lr' = [0.1, 0.2]"),
    "one run": "[sweep.values]\nseed = [0]", "ten thousand runs": f"[sweep.values]\nseed = {list(range(10_000))}",
    "a value twice": "[sweep.values]\nseed = [0, 0]",
    "a key that leads nowhere": "[sweep.values]\n'no.such' = [1, 2]",
    "a sweep of sweeps": "[sweep.values]\n'sweep.stop_behind' = [0, 1]",
    "tables for values": "[sweep.values]\nseed = [{a = 1}, {b = 2}]",
    "a date": "[sweep.values]\nseed = [2026-01-01, 1]",
    "not numbers": "[sweep.values]\n'retrain.lr' = [nan, inf]",
    "words for numbers": "[sweep.values]\nseed = ['a', 'b']",
    "beyond": "[sweep.values]\nseed = [99999999999999999999999, 1]", "negative": "[sweep.values]\nseed = [-1, -2]",
    "a step that is not there": "[sweep.values]\n'step.99.value' = [1, 2]",
    "a name of a method": "[sweep.values]\n'__class__' = [1, 2]", "dots": "[sweep.values]\n'...' = [1, 2]",
    "a value of a megabyte": f"[sweep.values]\n'retrain.optimizer' = ['{'x' * 10**6}', 'sgd']",
    "behind by nothing": "[sweep]\nstop_behind = nan\n[sweep.values]\nseed = [0, 1]",
    "a target without a size": "[sweep]\ntarget = {accuracy = 0.9}\n[sweep.values]\nseed = [0, 1]",
    "a target of two kinds": (
        "[sweep]\ntarget = {accuracy = 0.9, limit = 1, smaller = 2}\n[sweep.values]\nseed = [0, 1]"),
    "an unknown key": "[sweep]\nfaster = true\n[sweep.values]\nseed = [0, 1]",
}  # fmt: skip


def swept(text: str):
    def act(inside: Path, marker: Path) -> str:
        (inside / "spec.toml").write_text('model = "lenet5"\n[sweep]\n' * (not text.startswith("[sweep]\n")) + text)
        sweeps.create(spec.read(inside / "spec.toml"), inside / "runs")
        return ""

    return act


# of these, each run says what is wrong when it starts
TAKEN = {
    "the model": "[sweep.values]\nmodel = ['lenet5', 'vgg16']", "a parent": "[sweep.values]\n'parent.run' = ['a', 'b']",
    "paths that lead out": "[sweep.values]\n'base.weights' = ['/etc/passwd', '../../x.pt']",
}  # fmt: skip
MEMBER = {"sweep": "sweep-20260101-000000-abcd", "points": 2, "point": 0, "base": None, "settings": {"seed": 0},
          "stop_behind": 0.0, "target": None, "exempt": False}  # fmt: skip
MEMBERS = {
    "markup in a setting": {"settings": {"<b>seed</b>": "<script>alert(1)</script>"}},
    "settings of text": {"settings": "seed"}, "a list of settings": {"settings": ["seed"]},
    "a thousand settings": {"settings": {f"s{number}": number for number in range(1000)}},
    "an id that leads out": {"sweep": "../../outside"}, "an id of a megabyte": {"sweep": "x" * 10**6},
    "a point beyond": {"point": 10**30}, "a point before": {"point": -1}, "points of text": {"points": "many"},
    "behind by nothing": {"stop_behind": float("nan")}, "a target of text": {"target": "soon"},
    "a target beyond": {"target": {"accuracy": 1e308, "smaller": -1}}, "exempt by text": {"exempt": "yes"},
    "a value of a megabyte": {"settings": {"seed": "x" * 10**6}}, "no settings": {"settings": {}},
}  # fmt: skip


def member(content: bytes, on_page: bool = False):
    """A run of somebody else that says it is part of a sweep."""

    def act(inside: Path, marker: Path) -> str:
        run = a_run(inside)
        (run / "sweep.json").write_bytes(content)
        for sweep_id in members.all_members(inside / "runs"):
            assert members.is_sweep_id(sweep_id), "an id that is none is shown"
            sweeps.table(inside / "runs", sweep_id)
            sweeps.is_complete(inside / "runs", sweep_id)
        return said(opened("compare", run.name)) if on_page else ""

    return act


def kept(content: bytes):
    """The spec of a sweep in the runs folder is damaged; completing it is refused, or starts nothing."""

    def act(inside: Path, marker: Path) -> str:
        folder = inside / "runs" / ".sweeps"
        folder.mkdir(parents=True)
        (folder / f"{MEMBER['sweep']}.toml").write_bytes(content)
        sweeps.complete(inside / "runs", MEMBER["sweep"])
        assert not runs.list_runs(inside / "runs"), "runs were started"
        return ""

    return act


# ---- the queue

SWEEP_ACTIONS: dict[str, Callable[[Path, str], object]] = {
    "complete": sweeps.complete, "stop": sweeps.stop, "table": sweeps.table,
}  # fmt: skip
QUEUE_ACTIONS: dict[str, Callable[[Path, str], object]] = {
    "hold": reordering.hold, "release": reordering.release, "take out": reordering.take_out,
    "first": lambda folder, run_id: reordering.move(folder, run_id, "first"),
}  # fmt: skip
OF_QUEUE = ("empty", "out", "absolute", "a null byte", "a line break", "an option", "locks", "a megabyte", "markup",
            "dots inside", "a template", "a right-to-left mark")  # fmt: skip


def with_waiting(act: Callable[[Path, str], object], run_id: str):
    """The order of the runs that wait is what it was."""

    def case(inside: Path, marker: Path) -> str:
        folder = inside / "runs"
        waiting = [wait_in(folder, time.time() + number).name for number in range(2)]
        try:
            act(folder, run_id)
        finally:
            assert shown(folder) == waiting, "the queue has changed"
        return ""

    return case


PLACES = {
    "a rank of text": {"rank": "first", "held": False}, "no number": {"rank": float("nan"), "held": False},
    "before all": {"rank": -1e308, "held": False}, "held by text": {"rank": 1.0, "held": "yes"},
    "endless": {"rank": float("inf"), "held": True}, "a list": {"rank": [1], "held": False},
    "more keys": {"rank": 1.0, "held": False, "__class__": "x"}, "nothing": {},
}  # fmt: skip


def placed(content: bytes, command: bool = False):
    """A damaged place: the queue is listed, and its run can be moved."""

    def act(inside: Path, marker: Path) -> str:
        folder = inside / "runs"
        first, second = (wait_in(folder, time.time() + number) for number in range(2))
        (second / "queue.json").write_bytes(content)
        assert sorted(shown(folder)) == sorted([first.name, second.name])
        if command:
            said_by(["queue", "--last", second.name, "--runs", str(folder)])
        elif shown(folder)[-1] != second.name:
            reordering.move(folder, second.name, "last")
        assert shown(folder) == [first.name, second.name]
        return ""

    return act


# ---- links

LINKS = {
    "a sweep that is not there": ("compare", {"sweep": MEMBER["sweep"]}), "a sweep that leads out": (
        "compare", {"sweep": "../../etc/passwd"}), "markup for a sweep": ("compare", {"sweep": "<script>x</script>"}),
    "a pair of text": ("report", {"pair": "cat"}), "a pair beyond": ("report", {"pair": "9999~-1"}),
    "a pair of markup": ("report", {"pair": "<b>~</b>"}), "a split that is not there": ("report", {"images": "train"}),
    "a page of the queue": ("queue", {"run": "../x", "device": "cuda:99"}),
    "a factor that is none": ("plan", {"factor": "nan", "goal": "faster"}),
    "a goal that is none": ("plan", {"goal": "__class__", "factor": "-1"}),
}  # fmt: skip

# ---- quantised weights


def _quantized(inside: Path, marker: Path) -> bytes:
    state = dict(good())
    name = next(iter(state))
    return torch_file(state | {name: torch.quantize_per_tensor(state[name], 0.1, 0, torch.qint8)})


def _onnx(inside: Path, marker: Path) -> bytes:
    return b"\x08\x08\x12\x07pytorch:" + bytes(500)


def _integers(inside: Path, marker: Path) -> bytes:
    return torch_file({name: (value * 100).to(torch.int8) for name, value in good().items()})


def _halves(inside: Path, marker: Path) -> bytes:
    return torch_file({name: value.half() for name, value in good().items()})


QUANTIZED = {
    "a quantised tensor": _quantized, "an ONNX file": _onnx, "whole numbers": _integers, "half precision": _halves,
}  # fmt: skip

# ---- folders of networks with code in them

VIT = {
    "model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 8, "image_size": 8, "patch_size": 4, "num_channels": 3,
}  # fmt: skip
CODE = {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Net", "AutoModel": "evil.Net"}
FOLDERS = {
    "code for a known network": VIT | {"auto_map": CODE},
    "a wish to be trusted": VIT | {"auto_map": CODE, "trust_remote_code": True},
    "code elsewhere": VIT | {"auto_map": {name: f"someone/else--{where}" for name, where in CODE.items()}},
    "a kernel of its own": VIT | {"_attn_implementation": "someone/else:evil"},
    "a path for a name": VIT | {"_name_or_path": "../../evil"},
    "a network of no size": VIT | {"hidden_size": 0}, "a network beyond": VIT | {"hidden_size": 10**12},
    "text for sizes": VIT | {"num_hidden_layers": "many"}, "text for channels": VIT | {"num_channels": "many"},
    "no channels": VIT | {"num_channels": 0}, "a list for the image size": VIT | {"image_size": [8, "x"]},
    "a patch that does not fit": VIT | {"patch_size": 0}, "text for labels": VIT | {"id2label": "cats"},
}  # fmt: skip


def _payload(marker: Path) -> bytes:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    return pickle.dumps(Evil())


def with_code(config: dict):
    """The folder has code, weights that are a payload, and every name under which code is looked for."""

    def act(inside: Path, marker: Path) -> str:
        (inside / "config.json").write_text(json.dumps(config))
        for name in ("evil.py", "modeling_vit.py", "configuration_vit.py", "sitecustomize.py", "__init__.py"):
            (inside / name).write_text(f"open({str(marker)!r}, 'w')")
        (inside / "pytorch_model.bin").write_bytes(_payload(marker))
        with contextlib.redirect_stderr(io.StringIO()):
            models.build(f"hf:{inside}", num_classes=3, in_channels=3, image_size=8)
        return ""

    return act


def _texts(values: dict) -> bytes:
    return json.dumps(values).encode()


CASES = [
    *(Case("sweep", name, swept(text)) for name, text in SWEEPS.items()),
    *(Case("sweep", name, swept(text), must_refuse=False) for name, text in TAKEN.items()),
    *(Case("sweep", f"a run with {name}", member(_texts(MEMBER | change), place % 3 == 0), must_refuse=False)
      for place, (name, change) in enumerate(MEMBERS.items())),
    *(Case("sweep", f"sweep.json: {name}", member(content), must_refuse=False) for name, content in DAMAGED.items()),
    *(Case("sweep", f"its spec: {name}", kept(content)) for name, content in DAMAGED.items()),
    *(Case("sweep", f"{name}: {what}", with_waiting(act, sweep_id))
      for name, act in SWEEP_ACTIONS.items() for what, sweep_id in IDS.items() if what in OF_QUEUE),
    *(Case("queue", f"{name}: {what}", with_waiting(act, run_id))
      for name, act in QUEUE_ACTIONS.items() for what, run_id in IDS.items() if what in OF_QUEUE),
    *(Case("queue", f"queue.json: {name}", placed(content, command=name in ("no JSON", "deep")), must_refuse=False)
      for name, content in {**DAMAGED, **{name: _texts(place) for name, place in PLACES.items()}}.items()),
    *(Case("link", f"{name}: {what}", linked(name, query), must_refuse=False)
      for what, (name, query) in LINKS.items()),
    *(Case("checkpoint", name, refused(make), must_refuse=name != "half precision")
      for name, make in QUANTIZED.items()),
    *(Case("folder of a network", name, with_code(config), must_refuse=False) for name, config in FOLDERS.items()),
]  # fmt: skip
