"""Specs: wrong types, values out of range, odd text, and files that are no specs. Also on the command line."""

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tests.hostile.case import Case
from trimcore import spec

STEP = '[[step]]\nlayers = ["conv2"]\n'
TEXTS = {
    # no TOML
    "not TOML": "this is a letter", "an open bracket": "[base", "an open text": 'name = "',
    "a key twice": "seed = 1\nseed = 2",
    "a section twice": "[base]\n[base]", "a null byte": "seed = 1\0", "a control character": 'name = "\x07"',
    "a number of 10,000 digits": f"seed = {'9' * 10_000}",
    "a byte order mark in the middle": "seed = 1\n\ufeffdata = 1",
    "a date": "seed = 2020-01-01", "deep lists": "a = " + "[" * 50_000, "deep tables": "a = " + "{b=" * 20_000,
    "a deep name": "[" + ".".join(["a"] * 2000) + "]", "10 MB of a list": "a = [" + "1," * 5_000_000 + "]",
    "10 MB of keys": "".join(f"key{i} = 1\n" for i in range(700_000)),
    "10 MB of text": 'name = "' + "x" * 10_000_000 + '"',
    "10 MB of comments": "# x\n" * 2_500_000 + "x = 1",
    # types
    "a seed of text": 'seed = "0"', "a seed that is half": "seed = 0.5", "a seed that is true": "seed = true",
    "a seed that is a list": "seed = [0]", "a model that is a number": "model = 5",
    "a model that is a table": "[model]",
    "data that are a list": 'data = ["mnist-5k"]', "a step that is a table": "[step]\nlayers = ['all']",
    "layers that are text": '[[step]]\nlayers = "conv2"', "layers of numbers": "[[step]]\nlayers = [1, 2]",
    "a value of text": STEP + 'value = "1.0"', "iterations that are half": STEP + "iterations = 1.5",
    "options of text": '[options]\nk = "4"', "epochs that are false": "[base]\nepochs = false",
    # out of range
    "a negative seed": "seed = -1", "a seed beyond": "seed = 2147483648",
    "an image of a kilometre": "image_size = 1000000",
    "five channels": "channels = 5", "no batch": "[base]\nbatch_size = 0",
    "a batch of everything": "[retrain]\nbatch_size = 65537",
    "a negative rate": "[base]\nlr = -0.1", "an endless rate": "[base]\nlr = inf",
    "a rate that is no number": "[base]\nlr = nan",
    "momentum of one": "[base]\nmomentum = 1.0", "epochs without end": "[base]\nepochs = 100000000000",
    "a tolerance of two": "[profile]\ntolerance = 2.0", "negative examples": "[profile]\nexamples = -5",
    "accuracy of 98": "[stop]\nmin_accuracy = 98.0", "no iterations": STEP + "iterations = 0",
    "too many": STEP + "iterations = 1001",
    "a fraction of three": STEP + 'rule = "fraction"\nvalue = 3.0',
    "half a neuron": STEP + 'rule = "count"\nvalue = 0.5',
    "an endless value": STEP + "value = inf", "a value that is no number": STEP + "value = nan",
    "a thousand processes and more": "[devices]\ncount = 100000", "no process": "[devices]\ncount = 0",
    "a negative neuron": STEP + "also_cut = { conv2 = [-1] }",
    "a temperature of zero": "[distill]\nweight = 0.5\ntemperature = 0.0",
    "1,001 steps": STEP * 1001, "a name of 81 letters": f'name = "{"x" * 81}"',
    # unknown, or unfit
    "an unknown key": "sed = 1", "an unknown section": "[bse]\nepochs = 1", "a key with a dot": '"base.epochs" = 1',
    "an unknown model": 'model = "lenet6"', "an unknown data set": 'data = "mnist-6k"',
    "an unknown rule": STEP + 'rule = "best"',
    "an unknown criterion": STEP + 'criterion = "magic"', "an unknown device": 'device = "tpu"',
    "a device of many": 'device = "cuda:a"',
    "no layers": "[[step]]\nlayers = []", "an empty step": "[[step]]",
    "a step within a step": STEP + "[[step.step]]\nx = 1",
    "an unknown augmentation": '[base]\naugment = "mixup"', "options of a model without": "[options]\nk = 4",
    "a unit of one": '[convert]\nto = "maxout"\nk = 1', "pairs of nowhere": '[verify]\npairs = "lfw:"',
    "a folder without a name": 'data = "imagefolder:"', "data of a scheme": 'data = "http://127.0.0.1/x"',
    "an empty model": 'model = ""', "a model that leads out": 'model = "../../etc/passwd"',
    "a model of spaces": 'model = "   "',
    "a model with a line break": 'model = "lenet5\\nx"', "a model in markup": 'model = "<b>lenet5</b>"',
    "a model of other letters": 'model = "lеnet5"', "a model with a colour": 'model = "\\u001b[31mlenet5"',
    "a rule with a line break": STEP + 'rule = "mean\\nstd"',
    "a layer with a line break": '[[step]]\nlayers = ["a\\nb"]\nrule = "x"',
    "a key with a line break": '"a\\nb" = 1', "a key of a megabyte": f'"{"k" * 900_000}" = 1',
    "a value of a megabyte": f'device = "{"d" * 900_000}"',
    "a layer of a megabyte": f'[[step]]\nlayers = ["{"l" * 900_000}"]\nrule = "x"',
}  # fmt: skip
# On the command line a model may be code of the user's own: a module that is not there is a line, not a traceback.
COMMANDS = {
    "a model of a module that is not there": ["run", 'model = "no_such_module:f"'],
    "a model of a function that is not there": ["run", 'model = "os:no_such_function"'],
    "a model that is no network": ["run", 'model = "os:getcwd"'],
    "a model that is no function": ["run", 'model = "os:sep"'],
    "a checkpoint that is not there": ["run", '[base]\nweights = "no/such/file.pt"'],
    "a checkpoint that is a folder": ["run", '[base]\nweights = "/"'],
    "a folder that is not there": ["run", 'data = "imagefolder:/no/such"'],
    "a folder that is a file": ["run", 'data = "imagefolder:/etc/hostname"'],
    "a layer that is not there": ["run", '[base]\nepochs = 0\n[[step]]\nlayers = ["conv9"]'],
    "a neuron that is not there": ["run", "[base]\nepochs = 0\n" + STEP + "also_cut = { conv2 = [50] }"],
    "a parent that is not there": ["launch", '[parent]\nrun = "no-such-run"'],
    "a parent that leads out": ["launch", '[parent]\nrun = "../../etc"'],
    "a device that is not there": ["launch", 'device = "cuda:99"'],
}  # fmt: skip


def parsed(text: str):
    def act(inside: Path, marker: Path) -> str:
        path = inside / "spec.toml"
        path.write_text(text, "utf-8", newline="")
        spec.load(path)
        return ""

    return act


def written(content: bytes):
    def act(inside: Path, marker: Path) -> str:
        (inside / "spec.toml").write_bytes(content)
        spec.load(inside / "spec.toml")
        return ""

    return act


def command(name: str, text: str):
    """What the command line prints; exit code 2."""

    def act(inside: Path, marker: Path) -> str:
        path = inside / "spec.toml"
        path.write_text(text, "utf-8")
        return said_by([name, str(path), "--runs", str(inside / "runs")])

    return act


def said_by(arguments: list[str]) -> str:
    """The line of an error, or "" where there is none."""
    import click

    from trimcore.cli.main import cli

    out, err = io.StringIO(), io.StringIO()
    before = dict(os.environ)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.main(args=arguments, prog_name="trimcore", standalone_mode=False)
    except click.ClickException as error:
        return " ".join(error.format_message().split())
    finally:
        os.environ.clear()
        os.environ.update(before)
    return ""


def _pipe(inside: Path, marker: Path) -> str:
    os.mkfifo(inside / "spec.toml")
    spec.load(inside / "spec.toml")
    return ""


CASES = [
    *(Case("spec", name, parsed(text)) for name, text in TEXTS.items()),
    Case("spec", "no UTF-8", written(b"name = \"\xff\xfe\"")),
    Case("spec", "UTF-16", written("seed = 1".encode("utf-16"))),
    Case("spec", "a PNG", written(b"\x89PNG\r\n\x1a\n")), Case("spec", "bytes", written(bytes(range(256)))),
    Case("spec", "a folder", lambda inside, _: spec.load(inside) and ""), Case("spec", "a pipe", _pipe),
    Case("spec", "a file that is not there", lambda inside, _: spec.load(inside / "x") and ""),
    Case("spec", "a device", lambda *_: spec.load("/dev/zero") and ""),
    *(Case("command line", name, command(*asked)) for name, asked in COMMANDS.items()),
]  # fmt: skip
