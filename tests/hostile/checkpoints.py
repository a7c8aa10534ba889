"""Files of weights: code in pickles, bombs, archives and headers that lie, tensors that are not what they seem."""

import collections
import functools
import io
import json
import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from tests.hostile.case import Case
from trimcore import models
from trimcore.files import checkpoint, sandbox

LENET = {"num_classes": 10, "in_channels": 1, "image_size": 28}
PAYLOADS: dict[str, Callable[[str], tuple]] = {
    "os.system": lambda path: ("posix", "system", (f"touch {path}",)),
    "subprocess.call": lambda path: ("subprocess", "call", (["touch", path],)),
    "subprocess.Popen": lambda path: ("subprocess", "Popen", (["touch", path],)),
    "builtins.exec": lambda path: ("builtins", "exec", (f"open({path!r}, 'w')",)),
    "builtins.eval": lambda path: ("builtins", "eval", (f"open({path!r}, 'w')",)),
    "builtins.open": lambda path: ("builtins", "open", (path, "w")),
    "__import__": lambda path: ("builtins", "__import__", ("this",)),
    "getattr": lambda path: ("builtins", "getattr", (path, "upper")),
    "pathlib.touch": lambda path: ("pathlib", "Path", (path,)),
    "io.open": lambda path: ("io", "open", (path, "w")),
    "shutil.copy": lambda path: ("shutil", "copy", ("/etc/hostname", path)),
    "torch.load": lambda path: ("torch", "load", (path,)),
    "torch.hub": lambda path: ("torch.hub", "load", ("a/b", "c")),
    "torch.save": lambda path: ("torch", "save", ([1], path)),
    "numpy.save": lambda path: ("numpy", "save", (path, [1])),
    "runpy": lambda path: ("runpy", "run_path", (path,)),
    "webbrowser": lambda path: ("webbrowser", "open", ("http://127.0.0.1:9",)),
    "pickle.loads": lambda path: ("pickle", "loads", (b"",)),
    "trimcore.loop": lambda path: ("trimcore.jobs.control", "resume", (path, "x")),
}


class Calls:
    """Pickled, it calls a function by name."""

    def __init__(self, module: str, name: str, arguments: tuple):
        self.called = (module, name, arguments)

    def __reduce__(self):
        module, name, arguments = self.called
        return (functools.reduce(getattr, name.split("."), __import__(module, fromlist=["x"])), arguments)


@functools.cache
def good() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return models.build("lenet5", **LENET).state_dict()


def torch_file(content, **how) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def refused(make: Callable[[Path, Path], bytes], ending: str = "pt") -> Callable[[Path, Path], str]:
    """Reads what `make` gives as weights of LeNet-5."""

    def act(inside: Path, marker: Path) -> str:
        path = inside / f"weights.{ending}"
        path.write_bytes(make(inside, marker))
        found = checkpoint.load_weights(path, "lenet5", LENET)
        assert found.build()(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
        return ""

    return act


def cases() -> list[Case]:
    found = [*_pickles(), *_archives(), *_headers(), *_tensors(), *_entries(), *_mutations(), *_apart()]
    return [Case("checkpoint", name, act, must_refuse=must) for name, act, must in found]


CASES: list[Case] = []


def _pickles():
    wraps = {
        "a file": lambda bomb: torch_file(bomb),
        "a state dict": lambda bomb: torch_file({**good(), "conv1.bias": bomb}),
        "an entry of ours": lambda bomb: torch_file({"format": 1, "state": good(), "model": bomb}),
        "a plain pickle": lambda bomb: pickle.dumps({"a": bomb}, protocol=2),
        "an old torch file": lambda bomb: torch_file([bomb], _use_new_zipfile_serialization=False),
    }
    for payload, call in PAYLOADS.items():
        for wrap, pack in wraps.items():
            def make(inside, marker, call=call, pack=pack):
                return pack(Calls(*call(str(marker))))

            yield f"{payload} in {wrap}", refused(make), True
    for protocol in range(6):
        yield (f"os.system, protocol {protocol}",
               refused(lambda _, marker, p=protocol: pickle.dumps(Calls(*PAYLOADS["os.system"](str(marker))), p)), True)
    for name, code in {
        "an endless memo": b"\x80\x02" + b"}q\x00" * 1000, "nothing on the stack": b"\x80\x02.", "a stop": b".",
        "deep lists": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", "a persistent id": b"\x80\x02Pstorage\n.",
        "an unknown opcode": b"\x80\x02\xfe.",
        "protocol 255": b"\x80\xff.",
        "a huge frame": b"\x80\x04\x95" + b"\xff" * 8,
        "a huge string": b"\x80\x02X\xff\xff\xff\x7fx.", "ext registry": b"\x80\x02\x82\x01.",
        "a reduce of a string": b"\x80\x02X\x01\x00\x00\x00a)R.", "a build of an int": b"\x80\x02K\x01}b.",
    }.items():  # fmt: skip
        yield f"pickle: {name}", refused(lambda *_, c=code: c), True


def _archives():
    def rebuilt(change, method=zipfile.ZIP_STORED):
        def make(inside, marker):
            whole, file = zipfile.ZipFile(io.BytesIO(torch_file(good()))), io.BytesIO()
            with zipfile.ZipFile(file, "w", method) as out:
                for entry in whole.infolist():
                    for name, content in change(entry.filename, whole.read(entry)):
                        out.writestr(name, content)
            return file.getvalue()

        return make

    def only(name, content):
        return lambda own, had: [(own, content if own.endswith(name) else had)]

    yield "deflated members", refused(rebuilt(lambda n, c: [(n, c)], zipfile.ZIP_DEFLATED)), False
    yield "no pickle in it", refused(rebuilt(lambda n, c: [] if n.endswith("data.pkl") else [(n, c)])), True
    yield "no storages in it", refused(rebuilt(lambda n, c: [] if "/data/" in n else [(n, c)])), True
    yield "a storage that is short", refused(rebuilt(only("data/0", b"short"))), True
    yield "a storage that is empty", refused(rebuilt(only("data/2", b""))), True
    yield "a pickle that is none", refused(rebuilt(only("data.pkl", b"\x80\x02K\x01."))), True
    yield "a member that leads out", refused(rebuilt(lambda n, c: [(n, c), ("../../outside/x", b"x")])), False
    yield "an absolute member", refused(rebuilt(lambda n, c: [(n, c), ("/tmp/hostile-x", b"x")])), False
    yield "a member twice", refused(rebuilt(lambda n, c: [(n, c), (n, c)])), False
    yield "a thousand members", refused(rebuilt(lambda n, c: [(n, c), *((f"{n}{i}", b"") for i in range(120))])), False
    yield "another byte order", refused(rebuilt(only("byteorder", b"big"))), False
    yield "an unknown byte order", refused(rebuilt(only("byteorder", b"middle"))), False
    yield "another version", refused(rebuilt(only("version", b"999999999999999999999"))), False
    yield "only a zip", refused(lambda *_: zip_of({"a.txt": b"text"})), True
    script = {"x/constants.pkl": b"\x80\x02).", "x/code/__torch__.py": b"import os", "x/data.pkl": b"."}
    yield "a script that calls itself TorchScript", refused(lambda *_: zip_of(script)), True
    whole = torch_file(good())
    for share in (0, 1, 4, 30, 100, 1000, len(whole) // 2, len(whole) - 1):
        yield f"cut off after {share} bytes", refused(lambda *_, n=share: whole[:n]), True
    yield "something before it", refused(lambda *_: b"MZ" + whole), False
    yield "something behind it", refused(lambda *_: whole + b"\0" * 1000), False


def zip_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, content in members.items():
            out.writestr(name, content)
    return file.getvalue()


def _headers():
    """Of safetensors: eight bytes of length, a JSON header, then the data."""
    whole = save(good())
    length = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]

    def changed(**entries):
        return with_header({**header, **entries}, data)

    first, other = header["conv1.bias"], header["conv2.bias"]["data_offsets"]
    for name, content in {
        "a length beyond the file": struct.pack("<Q", 1 << 20) + whole[8:], "a length of 2^63": b"\xff" * 7 + b"\x7f{",
        "no header": struct.pack("<Q", 0), "a header that is no JSON": struct.pack("<Q", 5) + b"{{{{{",
        "a list as header": with_header([], b""), "deep nesting": struct.pack("<Q", 20_000) + b'{"a":' * 4000,
        "nothing in it": with_header({}, b""), "a number as entry": changed(**{"conv1.bias": 5}),
        "no dtype": changed(**{"conv1.bias": {k: first[k] for k in ("shape", "data_offsets")}}),
        "an unknown dtype": changed(**{"conv1.bias": {**first, "dtype": "F7"}}),
        "a dtype of another size": changed(**{"conv1.bias": {**first, "dtype": "F64"}}),
        "a negative shape": changed(**{"conv1.bias": {**first, "shape": [-20]}}),
        "a shape of 2^62": changed(**{"conv1.bias": {**first, "shape": [1 << 62, 4]}}),
        "a shape of floats": changed(**{"conv1.bias": {**first, "shape": [20.0]}}),
        "offsets beyond the file": changed(**{"conv1.bias": {**first, "data_offsets": [0, 1 << 40]}}),
        "offsets the wrong way round": changed(**{"conv1.bias": {**first, "data_offsets": [80, 0]}}),
        "offsets that overlap": changed(**{"conv1.bias": {**first, "data_offsets": other}}),
        "metadata that are numbers": changed(__metadata__={"format": 1}),
        "no data": with_header(header, b""), "half of the data": with_header(header, data[: len(data) // 2]),
        "a name that leads out": changed(**{"../../outside/x": first}),
        "a name of a megabyte": changed(**{"x" * 10**6: first}),
        "an empty name": changed(**{"": first}), "a name with line breaks": changed(**{"a\nb\x1b[31m": first}),
    }.items():  # fmt: skip
        yield f"safetensors: {name}", refused(lambda *_, c=content: c, "safetensors"), True
    longer = with_header(header, data + b"x" * 99)
    yield "safetensors: more data than it tells", refused(lambda *_: longer, "safetensors"), True
    ours = {"format": "1", "model": '"lenet5"', "widths": "{}"}
    for name, more in {
        "ours without arguments": {}, "ours with endless numbers": {"arguments": "1" * 5000},
        "ours with deep lists": {"arguments": "[" * 10_000},
        "ours of another size": {"arguments": json.dumps(LENET | {"image_size": 10**9})},
        "sparse shapes that lie": {"sparse_shapes": '{"conv1.weight": [99999999, 99999999]}'},
        "sparse shapes that are none": {"sparse_shapes": '[1]'},
        "sparse shapes of nothing": {"sparse_shapes": '{"a": [1]}'},
    }.items():  # fmt: skip
        content = changed(__metadata__={**ours, **more})
        yield f"safetensors: {name}", refused(lambda *_, c=content: c, "safetensors"), True


def with_header(header, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensors():
    def state(**changed):
        return {**good(), **{name.replace("__", "."): value for name, value in changed.items()}}

    odd = {
        "not numbers": good()["conv1.bias"] * float("nan"), "infinite": good()["conv1.bias"] + float("inf"),
        "whole numbers": torch.zeros(20, dtype=torch.int32), "truth values": torch.zeros(20, dtype=torch.bool),
        "complex": torch.zeros(20, dtype=torch.complex64), "bytes": torch.zeros(20, dtype=torch.uint8),
        "sparse": torch.zeros(20).to_sparse(), "on no device": torch.zeros(20, device="meta"),
        "a scalar": torch.tensor(0.0),
        "of another shape": torch.zeros(2, 10), "empty": torch.zeros(0), "too long": torch.zeros(21),
        "a terabyte of one number": torch.zeros(1).expand(1 << 38),
        "a list": [0.0] * 20,
        "text": "weights",
        "nothing": None,
        "a dict": {"a": torch.zeros(20)}, "a number": 1.0,
    }  # fmt: skip
    if hasattr(torch, "quantize_per_tensor"):  # it goes in a future version, and says so
        with warnings.catch_warnings(action="ignore"):
            odd["quantised"] = torch.quantize_per_tensor(torch.zeros(20), 0.1, 0, torch.qint8)
    for name, value in odd.items():
        yield f"tensor: {name}", refused(lambda *_, v=value: torch_file(state(conv1__bias=v))), True
    yield "tensor: of half precision", refused(lambda *_: torch_file(state(conv1__bias=torch.zeros(20).half()))), False
    for name in good():
        rest = {other: tensor for other, tensor in good().items() if other != name}
        yield f"without {name}", refused(lambda *_, rest=rest: torch_file(rest)), True
        yield f"{name} turned", refused(
            lambda *_, n=name: torch_file({**good(), n: good()[n].unsqueeze(0)})), True
    for name, extra in {
        "an unknown name": "conv9.weight",
        "a name that leads out": "../../outside/x",
        "a name with a line break": "a\nb",
        "a name with a colour": "\x1b[31mred",
        "a name of a megabyte": "x" * 10**6,
        "markup in a name": "<script>alert(1)</script>",
        "an empty name": "",
    }.items():  # fmt: skip
        yield f"names: {name}", refused(lambda *_, n=extra: torch_file({**good(), n: torch.zeros(1)})), True
    yield "names: numbers", refused(lambda *_: torch_file({1: torch.zeros(1)})), True
    yield "names: of a parallel network", refused(
        lambda *_: torch_file({f"module.{name}": tensor for name, tensor in good().items()})), False
    yield "names: a dict that holds itself", refused(lambda *_: torch_file(_endless())), True


def _endless() -> dict:
    endless: dict = {"a": torch.zeros(1)}
    endless["model"] = endless
    return endless


def _entries():
    widths = {"conv1": 20, "conv2": 50, "fc1": 500, "fc2": 10}
    content = {"format": 1, "model": "lenet5", "arguments": LENET, "widths": widths, "state": good()}
    for name, entry in {
        "a format to come": {"format": 2},
        "a format of text": {"format": "1"},
        "a format that is true": {"format": True},
        "a model that leads out": {"model": "../../outside"}, "a model that is code": {"model": "os:system"},
        "a model that is a list": {"model": ["lenet5"]}, "no arguments": {"arguments": {}},
        "endless classes": {"arguments": LENET | {"num_classes": 10**12}},
        "negative classes": {"arguments": LENET | {"num_classes": -1}},
        "classes of text": {"arguments": LENET | {"num_classes": "10"}},
        "arguments of another name": {"arguments": LENET | {"x": 1}},
        "widths beyond": {"widths": widths | {"conv1": 10**9}}, "negative widths": {"widths": widths | {"conv1": -1}},
        "widths of text": {"widths": widths | {"conv1": "20"}}, "widths of a stranger": {"widths": {"x": 1}},
        "origins of a stranger": {"origins": {"conv1": ["x"]}}, "endless origins": {"origins": {"conv1": [1 << 70]}},
        "a surplus entry": {"__class__": "x"}, "state that is a list": {"state": []}, "no state": {"state": {}},
        "units of nothing": {"units": {"fc1": 10**6}}, "sparse of numbers": {"sparse": [1, 2]},
        "an iteration of text": {"iteration": "first"}, "a negative iteration": {"iteration": -5},
        "an activation that is code": {"activations": "__import__('os')"},
        "a checksum that is another's": {"checksum": "0" * 64},
    }.items():  # fmt: skip
        yield f"ours: {name}", refused(lambda *_, e=entry: torch_file({**content, **e})), True
    yield "ours: in an ordered dict", refused(lambda *_: torch_file(collections.OrderedDict(content))), False


def _mutations(count: int = 30):
    """A valid file with some bytes changed, anywhere in what is read first: refused, or as good as before."""
    for kind, whole in (("pt", torch_file(good())), ("safetensors", save(good()))):
        chance = random.Random(kind)
        for number in range(count):
            content = bytearray(whole)
            for _ in range(chance.randrange(1, 6)):
                content[chance.randrange(min(len(content), 3000))] = chance.randrange(256)
            yield f"{kind} with changed bytes, {number}", refused(lambda *_, c=bytes(content): c, kind), False


def _apart():
    """What only a process of its own can end: by its memory, by its time."""

    def apart(make, seconds: float = 60.0, memory: int = 0):
        def act(inside: Path, marker: Path) -> str:
            path = inside / "weights.pt"
            path.write_bytes(make(inside, marker))
            sandbox.check_weights(path, "lenet5", LENET, seconds, memory)
            return ""

        return act

    yield "apart: an archive that becomes a thousand times as large", apart(_bomb, memory=200 << 20), True
    busy = apart(lambda *_: b"\x80\x02" + b")0" * 30_000_000 + b").", 2.0)
    yield "apart: a pickle that keeps its reader busy", busy, True
    yield "apart: os.system", apart(lambda _, marker: pickle.dumps(Calls(*PAYLOADS["os.system"](str(marker))), 2)), True


def _bomb(inside: Path, marker: Path) -> bytes:
    """400 MB of zeros in less than one."""
    whole, file = zipfile.ZipFile(io.BytesIO(torch_file({"a": torch.zeros(100_000_000)}))), io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for entry in whole.infolist():
            out.writestr(entry.filename, whole.read(entry))
    return file.getvalue()


CASES += cases()
