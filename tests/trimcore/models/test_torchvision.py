"""torchvision's classifiers: the table checked against torchvision, empty networks, and reinitialisation."""

import pytest
import torch
import torchvision.models
from torch import nn
from torchvision.models import get_model_weights, list_models
from torchvision.models._api import WeightsEnum

from trimcore import models
from trimcore.errors import SpecError
from trimcore.models import REGISTRY, architecture, build, empty, renew
from trimcore.models import torchvision as zoo
from trimcore.surgery.cut import prune

NAMES = list_models(module=torchvision.models)
# One small network for each kind of builder, because working on real weights takes memory and time.
SMALL = [
    "resnet18", "densenet121", "squeezenet1_1", "googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_small",
    "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "swin_t", "swin_v2_t",
    "maxvit_t", "vit_b_32",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Tests must not download anything."""
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *a, **k: pytest.fail("a download"))


def test_the_table_lists_every_torchvision_classifier_with_its_size():
    assert len(NAMES) == 80
    assert sorted(zoo.entries()) == NAMES
    ours = ["lenet5", "lenet5-maxout", "vgg16", "vgg16-maxout", "vgg16-small", "vgg16-small-maxout"]
    assert set(REGISTRY) == {*NAMES, *ours}
    assert list(REGISTRY)[:6] == ours
    for name, entry in zoo.entries().items():
        parameters = get_model_weights(name).DEFAULT.meta["num_params"]
        assert f"; {parameters / 1e6:.1f} million parameters" in entry.description, name


@pytest.mark.parametrize("name", NAMES)
def test_the_minimum_image_size_is_the_smallest_that_works(name):
    entry = architecture(name)
    size = entry.min_size
    network = empty(name, num_classes=7, image_size=size)
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    for training in (True, False):
        assert network.train(training)(torch.zeros(2, 3, size, size, device="meta")).shape == (2, 7)
    with pytest.raises(SpecError, match=f"{name} needs images of at least {size} pixels, not {size - 1}"):
        build(name, image_size=size - 1)
    if size > 1 and entry.multiple == 1:
        with pytest.raises(RuntimeError):
            network.eval()(torch.zeros(2, 3, size - 1, size - 1, device="meta"))


@pytest.mark.parametrize("name", SMALL)
def test_a_real_network_matches_the_empty_one_and_returns_scores(name):
    entry = architecture(name)
    size = entry.min_size if entry.multiple > 1 else max(28, entry.min_size)
    network = build(name, num_classes=7, image_size=size)
    shapes = {key: tensor.shape for key, tensor in empty(name, num_classes=7, image_size=size).state_dict().items()}
    assert {key: tensor.shape for key, tensor in network.state_dict().items()} == shapes
    with torch.no_grad():
        scores = network.eval()(torch.randn(1, 3, size, size))
    assert scores.shape == (1, 7)
    assert scores.isfinite().all()


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("vit_b_16", 40, "a multiple of 16 pixels, such as 32 or 48, not 40"),
        ("vit_h_14", 224 + 1, "a multiple of 14 pixels, such as 224 or 238, not 225"),
        ("maxvit_t", 256, "a multiple of 224 pixels, such as 224 or 448, not 256"),
    ],
)
def test_images_that_do_not_divide_into_patches_are_refused(name, size, words):
    with pytest.raises(SpecError, match=f"{name} needs images of {words}"):
        empty(name, image_size=size)


def test_transformers_have_a_preferred_size_and_accept_others():
    assert architecture("vit_b_16").size_for(28) == 224
    assert empty("vit_b_16", image_size=32).encoder.pos_embedding.shape == (1, 2 * 2 + 1, 768)
    assert architecture("maxvit_t").size_for(28) == 224
    assert empty("maxvit_t", image_size=448)
    assert architecture("swin_t").size_for(28) == 28
    assert architecture("resnet18").size_for(28) == 28
    assert architecture("densenet121").size_for(28) == 29
    assert architecture("inception_v3").size_for(32) == 75


# --- new weights ---


@pytest.mark.parametrize("name", SMALL)
def test_renew_changes_all_weights_except_constants(name):
    arguments = {"num_classes": 7, "image_size": architecture(name).min_size}
    torch.manual_seed(0)
    model = build(name, **arguments)
    fresh = build(name, **arguments).state_dict()
    constant = {key for key, tensor in model.state_dict().items() if torch.equal(tensor, fresh[key])}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.125)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    renew(name, model, **arguments)
    for key, tensor in model.state_dict().items():
        if key in constant:
            assert torch.equal(tensor, fresh[key]), key
        else:
            same = (tensor == before[key]).double().mean().item()
            assert same < 0.01, f"{key}: {same:.1%} of it unchanged"
            if tensor.numel() > 10_000:
                assert tensor.std().item() == pytest.approx(fresh[key].std().item(), rel=0.05), key


def test_renew_uses_the_remaining_widths():
    x = torch.zeros(1, 3, 32, 32)
    model = build("resnet18")
    small = renew("resnet18", prune(model, {"layer2.0.conv1": range(64)}, x))
    assert small.layer2[0].conv1.weight.shape == (64, 64, 3, 3)
    assert small.layer2[0].conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)  # fan out
    assert small.layer2[0].conv2.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.03)
    assert small.layer2[0].bn1.weight.eq(1).all()
    assert small.layer2[0].bn1.running_mean.shape == (64,)


def test_renew_resets_batchnorm_statistics():
    model = build("resnet18")
    model.bn1.running_mean.fill_(3)
    model.bn1.num_batches_tracked.fill_(9)
    renew("resnet18", model)
    assert not model.bn1.running_mean.any()
    assert model.bn1.num_batches_tracked == 0


# --- pretrained ---


def full_state(name: str) -> dict[str, torch.Tensor]:
    """What an older torchvision weights file may contain: auxiliary outputs, and no num_batches_tracked."""
    side = {"aux_logits": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    state = torchvision.models.get_model(name, **side).state_dict()
    return {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet", "inception_v3", "vit_b_32"])
def test_pretrained_weights_come_from_torchvision_and_fit(name, monkeypatch):
    state, asked = full_state(name), []
    files = state
    if name == "densenet121":  # its file has names from before torch 0.4: denselayer1.norm.1.weight
        files = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for key, value in state.items()}
        assert files.keys() != state.keys()

    def fake(weights, *arguments, **settings):
        asked.append((weights, settings))
        return dict(files)

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fake)
    found = architecture(name).pretrained()
    assert asked == [(get_model_weights(name).DEFAULT, {"progress": False, "check_hash": True})]
    wanted = empty(name, num_classes=1000).state_dict()
    assert {key: tensor.shape for key, tensor in found.items()} == {key: tensor.shape for key, tensor in wanted.items()}
    assert all(torch.equal(found[key], tensor) for key, tensor in state.items() if key in wanted)


def test_vit_h_14_uses_the_weights_for_its_preferred_size(monkeypatch):
    asked = []

    def stop(weights, **settings):
        asked.append(weights)
        raise OSError("no network")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", stop)
    monkeypatch.setattr(torchvision.models.vision_transformer, "VisionTransformer", lambda **settings: nn.Identity())
    with pytest.raises(OSError, match="no network"):
        architecture("vit_h_14").pretrained()
    assert asked[0].meta["min_size"] == (224, 224) == (architecture("vit_h_14").image_size,) * 2


def test_inceptions_normalisation_matches_its_weights():
    """torchvision's network converts ImageNet's normalisation to its own; here the data are normalised that way."""
    pixels = torch.rand(2, 3, 4, 4)
    imagenet, own = (
        (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        for mean, std in (zoo.IMAGENET, architecture("inception_v3").normalize)
    )
    network = torchvision.models.inception_v3(init_weights=False, transform_input=True)
    torch.testing.assert_close(network._transform_input(imagenet), own)
    assert architecture("googlenet").normalize == architecture("inception_v3").normalize
    assert not build("googlenet", image_size=32).transform_input
    assert models.architecture("resnet18").normalize == zoo.IMAGENET
