"""User-defined networks, `package.module:function`: their arguments, and a one-line message for each mistake."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from trimcore import models, runs, spec
from trimcore.cli.main import main
from trimcore.data import load as load_data
from trimcore.errors import SpecError
from trimcore.jobs import control
from trimcore.system import own_code
from trimcore.training.loop import trim

NETS = '''
import functools
from pathlib import Path
import torch
from torch import nn
import trimcore as tc

def tiny(num_classes, in_channels):
    """A small network.

    With more to be said of it."""
    conv = nn.Conv2d(in_channels, 6, 3, stride=2)
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, num_classes))

def seen(**everything):
    network = nn.Linear(1, 1)
    network.seen = everything
    return network

def fixed():
    return nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, 7))

class Net(nn.Sequential):
    def __init__(self, num_classes, *, image_size=8, width=5):
        super().__init__(nn.Flatten(), nn.Linear(3 * image_size**2, width), nn.ReLU(), nn.Linear(width, num_classes))

@tc.register("decorated", "with wishes", channels=3, min_size=20, normalize=([0.5] * 3, [0.25] * 3))
def decorated(num_classes, in_channels, image_size):
    return tiny(num_classes, in_channels)

def raises(num_classes):
    raise KeyError("a key\\nand more")

def none():
    return None

def two(num_classes):
    class Two(nn.Module):
        def forward(self, x):
            return x, x
    return Two()

def runs(num_classes, in_channels, image_size):
    conv = nn.Conv2d(in_channels, 6, 3)
    size = conv(torch.rand(1, in_channels, image_size, image_size)).numel()
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(size, num_classes))

partly = functools.partial(tiny, num_classes=3)
number = 3
'''
COUNTER = "from pathlib import Path\nwith open(Path(__file__).parent / 'imported', 'a') as f: f.write('x')\n"


@pytest.fixture
def nets(tmp_path, monkeypatch, registry) -> Path:
    """The working folder, with the modules my.nets, my.broken and my.ends."""
    monkeypatch.setenv(own_code.FORBIDDEN, "")  # as on the command line, even if a page ran in this process
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "nets.py").write_text(NETS + COUNTER)
    (tmp_path / "my" / "broken.py").write_text("import not_there_at_all\n")
    (tmp_path / "my" / "ends.py").write_text("import sys\nsys.exit('usage: ends')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name == "my" or name.startswith("my.")]:
        del sys.modules[name]


def times_imported(folder: Path) -> int:
    marker = folder / "my" / "imported"
    return len(marker.read_text()) if marker.exists() else 0


@pytest.fixture
def of_mine(make_spec):
    """of_mine("tiny", ...) -> a quick spec of my.nets:tiny."""
    step = [{"layers": ["0"], "rule": "count", "value": 1}]
    return lambda function, **more: make_spec(**{"model": f"my.nets:{function}", "step": step, **more})


# --- arguments ---


def test_a_function_gets_the_arguments_in_its_signature(nets):
    network = models.build("my.nets:tiny", num_classes=5, in_channels=2, image_size=9)
    assert (network[0].in_channels, network[4].out_features) == (2, 5)
    everything = {"num_classes": 5, "in_channels": 2, "image_size": 9}
    assert models.build("my.nets:seen", **everything).seen == everything
    assert models.build("my.nets:fixed", **everything)[1].out_features == 7
    assert models.build("my.nets:Net", num_classes=4, image_size=6)[1].in_features == 3 * 36
    assert models.build("my.nets:partly", num_classes=5, in_channels=2)[4].out_features == 5
    for name in ("tiny", "runs"):
        assert all(tensor.is_meta for tensor in models.empty(f"my.nets:{name}", **everything).state_dict().values())


def test_the_docstring_becomes_the_description(nets):
    assert models.architecture("my.nets:tiny").description == "A small network."
    for name in ("fixed", "Net", "partly"):
        assert models.architecture(f"my.nets:{name}").description == "a network of your own"


def test_a_decorated_function_keeps_its_requirements(nets):
    entry = models.architecture("my.nets:decorated")
    assert (entry.name, entry.description) == ("my.nets:decorated", "with wishes")
    assert (entry.channels, entry.min_size, entry.normalize) == (3, 20, ([0.5] * 3, [0.25] * 3))
    with pytest.raises(SpecError, match="my.nets:decorated needs images of at least 20 pixels, not 16"):
        models.build("my.nets:decorated", image_size=16)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my.broken:net", "cannot import my.broken: ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("my.ends:net", "cannot import my.ends: SystemExit: usage: ends"),
        ("no_such_module_here:net", "cannot import no_such_module_here: ModuleNotFoundError"),
        ("my.nets:tinny", "module my.nets has no 'tinny'"),
        ("my.nets:number", "is of type int, not a function that returns a network"),
        ("my.nets:raises", r"raises(num_classes=10) raised KeyError: 'a key\nand more'"),
        ("my.nets:none", "returned NoneType, not a torch.nn.Module"),
    ],
)
def test_each_mistake_is_one_line_that_names_module_and_function(nets, name, message):
    with pytest.raises(SpecError) as error:
        models.build(name)
    assert f"model {name!r}" in str(error.value)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


# --- in a spec ---


def test_a_spec_is_read_without_importing_anything(nets):
    for name in ("my.nets:tiny", "my.broken:net", "not.there:at_all"):
        assert spec.parse({"model": name}).model == name
    assert times_imported(nets) == 0


@pytest.mark.parametrize(
    "name", ["my.nets:", ":tiny", "my nets:tiny", "my.nets:a:b", "my..nets:tiny", "../my:tiny", "a:b()"]
)
def test_a_malformed_name_is_refused(name):
    with pytest.raises(SpecError, match="does not have the form package.module:function"):
        spec.parse({"model": name})


def test_a_spec_can_set_the_channels():
    assert spec.parse({}).channels == 0
    assert spec.parse({"channels": 3}).channels == 3
    with pytest.raises(SpecError, match="channels = 2"):
        spec.parse({"channels": 2})


# --- a run ---


def shapes(asked) -> tuple:
    """The run's input shape (C, H, W)."""
    return tuple(next(trim(asked)).data["image"])


def test_data_are_converted_to_the_networks_input(nets, of_mine):
    grey = {"data": "mnist-5k", "image_size": 0}
    assert shapes(of_mine("tiny", **grey)) == (1, 28, 28)
    assert shapes(of_mine("tiny", **grey, channels=3)) == (3, 28, 28)
    assert shapes(of_mine("decorated", **grey)) == (3, 28, 28)
    assert shapes(of_mine("decorated", image_size=0, data="mnist-5k", channels=3)) == (3, 28, 28)
    with pytest.raises(SpecError, match="my.nets:decorated takes 3 channels, not 1"):
        next(trim(of_mine("decorated", **grey, channels=1)))


def test_images_smaller_than_the_networks_minimum_are_enlarged(make_spec):
    everything = [{"layers": ["all"], "rule": "count", "value": 1}]
    small = make_spec(model="squeezenet1_1", data="mnist-5k", image_size=0, step=everything)
    assert shapes(small) == (3, 28, 28)
    assert shapes(small.model_copy(update={"model": "densenet121"})) == (3, 29, 29)


def test_a_network_must_return_one_score_per_class(nets, of_mine):
    with pytest.raises(SpecError, match=r"my.nets:fixed returns 7 scores per image, but imagefolder:.* has 4 classes"):
        next(trim(of_mine("fixed")))
    with pytest.raises(SpecError, match="my.nets:two returns a tuple, not a tensor with 4 scores per image"):
        next(trim(of_mine("two")))
    with pytest.raises(SpecError, match=r"my.nets:Net cannot take images of shape \(1, 16, 16\)"):
        next(trim(of_mine("Net", channels=1)))


def test_scores_per_pixel_are_refused(monkeypatch, make_spec, registry):
    models.register("pixels", "for a test")(lambda num_classes, in_channels, image_size: nn.Conv2d(in_channels, 4, 1))
    with pytest.raises(SpecError, match=r"pixels returns scores of shape \(4, 16, 16\) per image"):
        next(trim(make_spec(model="pixels")))


def test_a_background_run_of_a_user_defined_network_resumes(nets, of_mine, runs_folder, eventually, monkeypatch):
    """Launched here and resumed from another folder: the trainer runs in the folder where the run was started."""

    def ended(run_id: str) -> runs.Status:
        return eventually(lambda: None if (s := runs.state_of(runs_folder / run_id)).active else s)

    run_id = control.launch(of_mine("tiny"), runs_folder)
    assert times_imported(nets) == 1  # in this process, before anything was started
    status = ended(run_id)
    assert (status.state, status.reason) == ("finished", "all steps are done")
    assert times_imported(nets) == 2
    (runs_folder / run_id / "exit.json").write_text('{"state": "stopped", "reason": "by a test", "code": 0}')
    monkeypatch.chdir("/")
    control.resume(runs_folder, run_id)
    status = ended(run_id)
    assert (status.state, status.reason) == ("finished", "all steps are done")
    assert times_imported(nets) == 3


def test_a_mistake_is_reported_before_anything_is_launched(nets, of_mine, runs_folder, monkeypatch, capsys):
    (nets / "spec.toml").write_text(spec.dumps(of_mine("tinny")))
    for command in (["launch", "spec.toml"], ["run", "spec.toml"]):
        monkeypatch.setattr(sys, "argv", ["trimcore", *command])
        assert main() == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", "trimcore: model 'my.nets:tinny': module my.nets has no 'tinny'\n")
    assert not runs_folder.exists()


def test_a_user_defined_network_can_be_profiled_on_the_command_line(nets, pictures, monkeypatch, capsys):
    arguments = ["profile", "--model", "my.nets:tiny", "--data", f"imagefolder:{pictures}", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["trimcore", *arguments])
    assert main() == 0
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[2:]] == [["0", "conv", "6"]]


def test_a_user_defined_network_can_be_renewed(nets):
    model = models.build("my.nets:tiny", num_classes=3, in_channels=1)
    before = [p.clone() for p in model.parameters()]
    models.renew("my.nets:tiny", model, num_classes=3, in_channels=1, image_size=16)
    assert not any((old == new).any() for old, new in zip(before, model.parameters(), strict=True))


# --- imports forbidden ---


def test_a_process_that_must_not_import_user_code_refuses(nets, of_mine, runs_folder, monkeypatch):
    own_code.forbid_imports()
    asked = of_mine("tiny")
    for look in (models.architecture, models.build, models.empty):
        with pytest.raises(SpecError, match="is a network of your own, and the dashboard does not import user code"):
            look("my.nets:tiny")
    with pytest.raises(SpecError, match="on the command line"):
        control.launch(asked, runs_folder)
    assert not runs_folder.exists()
    monkeypatch.setenv(own_code.FORBIDDEN, "")
    folder = control.prepare_run(asked, runs_folder)
    runs.write_exit(folder, "stopped", "by a test")
    own_code.forbid_imports()
    with pytest.raises(SpecError, match="on the command line"):
        control.resume(runs_folder, folder.name)
    assert runs.state_of(folder).state == "stopped"
    assert times_imported(nets) == 1
    assert models.architecture("resnet18").name == "resnet18"


def test_the_image_size_can_be_a_function_of_the_data_size():
    assert load_data("mnist-5k", image_size=lambda own: own + 4).image_size == 32
    assert torch.equal(
        load_data("mnist-5k", image_size=lambda own: own).train.labels, load_data("mnist-5k").train.labels
    )
