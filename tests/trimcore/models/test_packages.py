"""Networks of timm and of transformers, by name."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.trimcore.oracle import check, images, random_plan, randomised
from tests.trimcore.training.runs import carry_out, of_kind, step
from trimcore import models, spec
from trimcore.compute.outputs import scores_of
from trimcore.errors import SpecError, TrimError
from trimcore.files import checkpoint
from trimcore.graph.tracing import trace
from trimcore.models import timm as from_timm

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> str:
    """A small vision transformer for 16-pixel images and four classes, in a folder."""
    folder = tmp_path_factory.mktemp("saved") / "vit"
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=4,
        num_labels=4,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}')
    return f"hf:{folder}"


def test_timm_networks_are_built_as_timm_builds_them():
    torch.manual_seed(3)
    ours = models.build("timm:resnet18", num_classes=7, in_channels=3, image_size=32)
    torch.manual_seed(3)
    theirs = timm.create_model("resnet18", num_classes=7)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    entry = models.architecture("timm:resnet18")
    assert (entry.channels, entry.image_size, entry.normalize[0]) == (3, None, [0.485, 0.456, 0.406])


def test_networks_of_a_fixed_size_take_another_one(monkeypatch):
    entry = models.architecture("timm:vit_tiny_patch16_224")
    assert entry.image_size == 224
    empty = models.empty("timm:vit_tiny_patch16_224", num_classes=5, in_channels=3, image_size=64)
    assert empty.pos_embed.shape == (1, 1 + 4 * 4, 192)
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    monkeypatch.setattr(timm, "create_model", lambda *names, **settings: 1 / 0)
    with pytest.raises(SpecError, match="timm:vit_tiny_patch16_224 cannot be built for images of 30 pixels: division"):
        models.build("timm:vit_tiny_patch16_224", num_classes=5, in_channels=3, image_size=30)


def test_all_names_of_timm_are_offered():
    offered = models.offered()
    assert len(from_timm.names()) > 1000
    assert list(offered)[: len(models.listed())] == list(models.listed())
    assert "timm:efficientnet_b0" in offered


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("timm:resnet81", "unknown model 'timm:resnet81'; timm .* has timm:resnet18"),
        ("hf:/no/such/folder", "there is no config.json in '/no/such/folder'"),
    ],
)
def test_unknown_networks_are_refused_in_one_line(name, complaint):
    models.check_name(name)  # a spec that names it stays readable, and nothing is imported to read it
    with pytest.raises(SpecError, match=complaint) as error:
        models.architecture(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["timm:", "hf:"])
def test_a_name_without_its_end_is_refused(name):
    with pytest.raises(SpecError, match="timm:NAME or hf:FOLDER"):
        models.check_name(name)


@pytest.mark.parametrize(("name", "package"), [("timm:resnet18", "timm"), ("hf:/some/where", "transformers")])
def test_without_the_package_the_way_to_get_it_is_named(monkeypatch, tmp_path, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SpecError, match=f"pip install {package}"):
        models.architecture(name.replace("/some/where", str(tmp_path)))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model_type": "none"}', '{"model_type": "bert"}',
                                     '{"auto_map": {"AutoConfig": "evil.Config"}, "model_type": "evil"}'])  # fmt: skip
def test_a_folder_that_holds_something_else_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    with pytest.raises(SpecError):
        models.build(f"hf:{tmp_path}", num_classes=3, in_channels=3, image_size=32)
    assert not (tmp_path / "marker").exists()


def test_a_saved_network_has_the_size_and_normalisation_of_its_files(saved):
    entry = models.architecture(saved)
    assert (entry.channels, entry.image_size, entry.normalize) == (3, 16, ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))
    network = models.build(saved, num_classes=9, in_channels=3, image_size=32)
    assert network.classifier.weight.shape == (9, 16)
    assert network.vit.embeddings.position_embeddings.shape == (1, 65, 16)
    (Path(saved[3:]) / "preprocessor_config.json").rename(Path(saved[3:]) / "elsewhere.json")
    assert models.architecture(saved).normalize == ([0.5] * 3, [0.5] * 3)
    (Path(saved[3:]) / "elsewhere.json").rename(Path(saved[3:]) / "preprocessor_config.json")


def test_a_run_starts_from_the_weights_in_the_folder_and_ends_in_a_checkpoint(saved, make_spec):
    asked = make_spec(model=saved, base={"weights": "pretrained", "epochs": 0}, retrain={"epochs": 1},
                      step=[step("vit.layers.0.mlp.fc1", rule="fraction", value=0.5, criterion="l1")])  # fmt: skip
    names = trace(models.build(saved, 4, 3, 16), torch.zeros(1, 3, 16, 16)).trimmable()
    inner = next(name for name in names if name.endswith(("fc1", "intermediate.dense")))
    asked = asked.model_copy(update={"step": [asked.step[0].model_copy(update={"layers": [inner]})]})
    events, _, made = carry_out(asked)
    kept = transformers.ViTForImageClassification.from_pretrained(saved[3:]).state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in made[0].state.items())
    assert [row["layers_trimmed"] for row in of_kind(events, "iteration")] == [[], [inner]]
    assert made[1].widths[inner] == 16
    assert made[1].build()(torch.zeros(1, 3, 16, 16)).logits.shape == (1, 4)


class Scores(nn.Module):
    """Only the scores of a network that returns an object."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scores_of(self.network(x))


def test_networks_of_both_are_cut_exactly(saved):
    for name, size in ((saved, 16), ("timm:resnet10t", 32)):
        network = randomised(Scores(models.build(name, num_classes=4, in_channels=3, image_size=size)))
        graph = trace(network, x := images(2, 3, size, size))
        check(network, random_plan(graph, 0.3, 0), x, graph)


def test_the_page_may_use_the_packages_but_no_code_of_the_user(monkeypatch, saved):
    monkeypatch.setenv("TRIMCORE_FORBID_IMPORTS", "1")
    assert models.architecture("timm:resnet18").name == "timm:resnet18"
    assert models.architecture(saved).name == saved
    with pytest.raises(SpecError, match="the dashboard does not import user code"):
        models.architecture("timm.models:resnet18")


def test_weights_from_a_file_fit_the_network_of_timm(tmp_path):
    torch.save(timm.create_model("resnet10t", num_classes=10).state_dict(), tmp_path / "a.pt")
    arguments = models.architecture("timm:resnet10t").arguments_for(10, 3, 32)
    assert checkpoint.load_weights(tmp_path / "a.pt", "timm:resnet10t", arguments).model == "timm:resnet10t"


def test_weights_that_cannot_be_had_are_one_line(make_spec, monkeypatch):
    def fail(*arguments, **settings):
        raise OSError("no network\nat all")

    asked = make_spec(model="timm:resnet10t", image_size=32, base={"weights": "pretrained"}, step=[])
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(TrimError) as error:
        carry_out(asked)
    assert "\n" not in str(error.value)
    assert spec.parse({"model": "timm:resnet10t"}).model == "timm:resnet10t"
