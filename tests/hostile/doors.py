"""The doors to what people bring: zip files, tables, folders of networks, code of their own, data that misbehave."""

import io
import json
import os
import stat
import sys
import zipfile
from pathlib import Path
from unittest import mock

import torch
from PIL import Image

import trimcore as tc
from tests.hostile.case import Case
from tests.hostile.specs import said_by
from trimcore import data, models, spec
from trimcore.data.archive import unpack_images
from trimcore.data.own import open_own
from trimcore.system import own_code


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    return file.getvalue()


PNG = _png()


# ---- zip files


def zipped(fill):
    def act(inside: Path, marker: Path) -> str:
        with zipfile.ZipFile(inside / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            fill(archive, marker)
        unpack_images(open(inside / "images.zip", "rb"), inside / "unpacked")  # noqa: SIM115 (closed with the test)
        return ""

    return act


def _link(archive: zipfile.ZipFile, marker: Path) -> None:
    entry = zipfile.ZipInfo("cats/link.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, str(marker.parent / "theirs.txt"))


ZIPS = {
    "a path that leads out": lambda archive, marker: archive.writestr(f"../{marker.parent.name}/carried-out", PNG),
    "an absolute path": lambda archive, marker: archive.writestr(str(marker), PNG),
    "an absolute image": lambda archive, marker: archive.writestr(f"{marker}.png", PNG),
    "a path with backslashes": lambda archive, marker: archive.writestr("..\\..\\x.png", PNG),
    "a link to what is outside": _link,
    "no images": lambda archive, marker: archive.writestr("cats/readme.txt", "x"),
    "nothing": lambda archive, marker: None,
    "a name of 5,000 letters": lambda archive, marker: archive.writestr(f"cats/{'x' * 5000}.png", PNG),
    "only code": lambda archive, marker: archive.writestr("cats/sitecustomize.py", f"open({str(marker)!r}, 'w')"),
}  # fmt: skip


def _no_zip(inside: Path, marker: Path) -> str:
    (inside / "images.zip").write_bytes(b"PK\3\4 torn")
    with open(inside / "images.zip", "rb") as file:
        unpack_images(file, inside / "unpacked")
    return ""


# ---- tables

TABLES = {
    "no columns": "1,2\n3,4\n", "no rows": "path,label\n", "an empty label": "path,label\na.png,\n",
    "an unknown split": "path,label,split\na.png,x,tarin\n", "one class": "path,label\na.png,x\nb.png,x\nc.png,x\n",
    "files that are not there": "path,label\na.png,x\nb.png,y\nc.png,x\nd.png,y\n",
    "a file that is no image": "path,label\n" + "/etc/hostname,x\n/etc/passwd,y\n" * 3,
    "a device": "path,label\n" + "/dev/zero,x\n/dev/stdin,y\n" * 3,
    "a quote that never ends": 'path,label\n"a.png,x\n', "bytes": "path,label\n\0\1\2,\3\n",
    "a row of 100,000 cells": "path,label\n" + "x," * 100_000,
}  # fmt: skip


def table(text: str):
    def act(inside: Path, marker: Path) -> str:
        (inside / "table.csv").write_text(text, "utf-8")
        data.load("images:table.csv")
        return ""

    return act


# ---- folders of networks

CONFIGS = {
    "no JSON": "{", "a list": "[]", "no architecture": "{}", "an unknown architecture": '{"model_type": "no-such"}',
    "code in the folder": json.dumps({
        "model_type": "mine", "architectures": ["Net"],
        "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Net"},
    }),
    "a language model": '{"model_type": "gpt2"}',
}  # fmt: skip


def saved(config: str):
    def act(inside: Path, marker: Path) -> str:
        (inside / "config.json").write_text(config)
        (inside / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
        models.build(f"hf:{inside}", num_classes=3, in_channels=3, image_size=32)
        return ""

    return act


# ---- code that a spec names, where that is forbidden, and code that is used

NAMED = {
    "a model": 'model = "evil:thing"', "data": 'data = "evil:thing"', "a task": 'task = "evil:Thing"',
    "all three": 'model = "evil:thing"\ndata = "evil:thing"\ntask = "evil:Thing"',
}  # fmt: skip


def named(text: str):
    """As the page would start it."""

    def act(inside: Path, marker: Path) -> str:
        from trimcore.jobs import control

        (inside / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
        path = [str(inside), *sys.path]
        with mock.patch.dict(os.environ, {own_code.FORBIDDEN: "1"}), mock.patch("sys.path", path):
            control.prepare_run(spec.loads(text), inside / "runs")
        return ""

    return act


USED = {
    "raises": "raise ValueError('a\\nb')", "ends the program": "import sys; sys.exit(0)",
    "no Python": "this is a letter",
    "imports what is not there": "import no_such_module", "calls itself": "def f(): f()\nf()",
    "registers a built-in name": "import trimcore as tc\n@tc.register('lenet5', 'x')\ndef f(): ...",
    "registers a name twice": "import trimcore as tc\n" + "@tc.register_data('x')\ndef f(): ...\n" * 2,
    "registers a path": "import trimcore as tc\n@tc.register_data('a:b')\ndef f(): ...",
}  # fmt: skip


def used(text: str):
    def act(inside: Path, marker: Path) -> str:
        (inside / "used_code.py").write_text(text)
        with (
            mock.patch.dict(os.environ, {own_code.USED: ""}), mock.patch.object(own_code, "_imported", set()),
            mock.patch.object(own_code, "_registered", {}), mock.patch.dict(data.own.REGISTERED),
            mock.patch.dict(data.own.DESCRIPTIONS), mock.patch.dict(data.own.TASKS),
        ):  # fmt: skip
            own_code.use([str(inside / "used_code.py")])
            own_code.load_used()
        return ""

    return act


# ---- data that misbehave


class Odd(torch.utils.data.Dataset):
    def __init__(self, item):
        self.item = item

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int):
        return self.item(index)


def _raise(error: Exception):
    raise error


ITEMS = {
    "an error of 10,000 letters": lambda index: _raise(OSError("x" * 10_000)),
    "an error of many lines": lambda index: _raise(ValueError("a\nb\n" * 100)),
    "an error without words": lambda index: _raise(KeyError()),
    "nothing": lambda index: None,
    "text": lambda index: ("a", "b"), "a set": lambda index: ({1}, 0),
    "shapes that differ": lambda index: (torch.zeros(index + 1), 0),
    "a label out of range": lambda index: (torch.zeros(1, 8, 8), 7),
    "a label below zero": lambda index: (torch.zeros(1, 8, 8), -1),
    "a label that is no number": lambda index: (torch.zeros(1, 8, 8), float("nan")),
}  # fmt: skip


def items(item):
    def act(inside: Path, marker: Path) -> str:
        given = tc.OwnData(Odd(item), Odd(item), Odd(item), classes=3, workers=0)
        layers = torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
        network = torch.nn.Sequential(torch.nn.Flatten(), *layers)
        for _ in tc.trim(spec.parse({"device": "cpu", "base": {"epochs": 1}}), model=network, data=given):
            pass
        return ""

    return act


SPLITS = {
    "a number": 5, "nothing": None, "an empty dict": {}, "a dict of other names": {"a": 1},
    "splits that are numbers": {"train": 1, "validation": 2, "test": 3},
    "empty splits": {"train": [], "validation": [], "test": []},
    "no classes": {"train": [1], "test": [1], "classes": ()},
    "an endless loader": {"train": [1], "test": object()},
}  # fmt: skip

CASES = [
    *(Case("zip", name, zipped(fill)) for name, fill in ZIPS.items()),
    Case("zip", "a torn file", _no_zip),
    *(Case("table", name, table(text)) for name, text in TABLES.items()),
    *(Case("folder of a network", name, saved(config)) for name, config in CONFIGS.items()),
    Case("folder of a network", "no folder", lambda inside, _: str(models.build("hf:/no/such/folder"))),
    Case("timm", "no such name", lambda inside, _: str(models.build("timm:no_such_network"))),
    Case("timm", "a path", lambda inside, _: str(models.build("timm:../../etc/passwd"))),
    *(Case("code in a spec", name, named(text)) for name, text in NAMED.items()),
    *(Case("code in use", name, used(text)) for name, text in USED.items()),
    *(Case("own data", name, items(item)) for name, item in ITEMS.items()),
    *(Case("own data", name, lambda inside, _, given=given: str(open_own("mine", given)) and "")
      for name, given in SPLITS.items()),
    Case("command line", "data of a module that is not there", lambda inside, _: said_by(
        ["profile", "--model", "lenet5", "--data", "no_such_module:f"])),
]  # fmt: skip
