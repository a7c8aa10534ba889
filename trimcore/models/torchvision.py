"""torchvision's eighty classifiers under torchvision's names. torchvision is imported only to build one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from trimcore.models.architecture import Architecture

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # what torchvision's ImageNet weights expect
HALF = ([0.5] * 3, [0.5] * 3)  # what weights ported from TensorFlow expect
NO_AUX_OUTPUTS = {"aux_logits": False, "init_weights": False}  # PyTorch's default init: torchvision's takes minutes


@dataclass(frozen=True)
class Family:
    """`members` lists names, each followed by its parameters in millions for 1000 classes. The builder gets `settings`
    and the keywords that `size_as` returns for the image size. The other fields are those of `Architecture`."""

    line: str
    members: str
    min_size: int = 1
    image_size: int | None = None
    multiple: int = 1
    normalize: tuple[list[float], list[float]] = IMAGENET
    size_as: Callable[[int], dict[str, Any]] = lambda image_size: {}
    settings: tuple[tuple[str, object], ...] = ()


def _vit(patch: int, members: str) -> Family:
    line = f"vision transformer with patches of {patch} pixels: image sizes are multiples of {patch}"
    return Family(line, members, patch, 224, patch, size_as=lambda size: {"image_size": size})


# fmt: off
FAMILIES = [
    Family("VGG, convolutions of 3x3 and a large classifier",
           "vgg16 138.4 vgg11 132.9 vgg13 133.0 vgg19 143.7", 32),
    Family("VGG with BatchNorm", "vgg11_bn 132.9 vgg13_bn 133.1 vgg16_bn 138.4 vgg19_bn 143.7", 32),
    Family("AlexNet, five convolutions and a large classifier", "alexnet 61.1", 63),
    Family("ResNet, residual blocks", "resnet18 11.7 resnet34 21.8 resnet50 25.6 resnet101 44.5 resnet152 60.2"),
    Family("ResNet with wide bottlenecks", "wide_resnet50_2 68.9 wide_resnet101_2 126.9"),
    Family("ResNeXt, residual blocks with grouped convolutions",
           "resnext50_32x4d 25.0 resnext101_32x8d 88.8 resnext101_64x4d 83.5"),
    Family("DenseNet, each layer sees the outputs of all earlier layers",
           "densenet121 8.0 densenet161 28.7 densenet169 14.1 densenet201 20.0", 29),
    Family("SqueezeNet, squeeze and expand convolutions, no linear layer", "squeezenet1_0 1.2", 21),
    Family("SqueezeNet, squeeze and expand convolutions, no linear layer", "squeezenet1_1 1.2", 17),
    Family("GoogLeNet, Inception v1, without its auxiliary outputs", "googlenet 6.6", 15, normalize=HALF,
           settings=(*NO_AUX_OUTPUTS.items(),)),
    Family("Inception v3, without its auxiliary output", "inception_v3 27.2", 75, normalize=HALF,
           settings=(*NO_AUX_OUTPUTS.items(),)),
    Family("MobileNet, inverted residual blocks of depthwise convolutions",
           "mobilenet_v2 3.5 mobilenet_v3_small 2.5 mobilenet_v3_large 5.5"),
    Family("MNASNet, inverted residual blocks found by architecture search",
           "mnasnet0_5 2.2 mnasnet0_75 3.2 mnasnet1_0 4.4 mnasnet1_3 6.3"),
    Family("ShuffleNet v2, channel split and shuffle",
           "shufflenet_v2_x0_5 1.4 shufflenet_v2_x1_0 2.3 shufflenet_v2_x1_5 3.5 shufflenet_v2_x2_0 7.4"),
    Family("EfficientNet, inverted residual blocks with squeeze-excitation",
           "efficientnet_b0 5.3 efficientnet_b1 7.8 efficientnet_b2 9.1 efficientnet_b3 12.2 "
           "efficientnet_b4 19.3 efficientnet_b5 30.4 efficientnet_b6 43.0 efficientnet_b7 66.3"),
    Family("EfficientNet v2, fused inverted residual blocks",
           "efficientnet_v2_s 21.5 efficientnet_v2_m 54.1 efficientnet_v2_l 118.5"),
    Family("RegNet X, residual blocks with grouped convolutions",
           "regnet_x_400mf 5.5 regnet_x_800mf 7.3 regnet_x_1_6gf 9.2 regnet_x_3_2gf 15.3 "
           "regnet_x_8gf 39.6 regnet_x_16gf 54.3 regnet_x_32gf 107.8"),
    Family("RegNet Y, RegNet X with squeeze-excitation",
           "regnet_y_400mf 4.3 regnet_y_800mf 6.4 regnet_y_1_6gf 11.2 regnet_y_3_2gf 19.4 "
           "regnet_y_8gf 39.4 regnet_y_16gf 83.6 regnet_y_32gf 145.0 regnet_y_128gf 644.8"),
    Family("ConvNeXt, depthwise convolutions with LayerNorm and GELU",
           "convnext_tiny 28.6 convnext_small 50.2 convnext_base 88.6 convnext_large 197.8", 32),
    _vit(16, "vit_b_16 86.6 vit_l_16 304.3"),
    _vit(32, "vit_b_32 88.2 vit_l_32 306.5"),
    _vit(14, "vit_h_14 633.5"),
    Family("Swin transformer, attention in windows", "swin_t 28.3 swin_s 49.6 swin_b 87.8", 4),
    Family("Swin transformer v2, attention in windows", "swin_v2_t 28.4 swin_v2_s 49.7 swin_v2_b 87.9", 4),
    Family("MaxViT, convolutions and attention in grids of 7: 224 pixels or a multiple", "maxvit_t 30.9",
           224, 224, 224, size_as=lambda size: {"input_size": (size, size)}),
]
# fmt: on


def _build(name: str, family: Family, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    from torchvision.models import get_model

    settings = {**family.size_as(image_size), **dict(family.settings)}
    network: nn.Module = get_model(name, num_classes=num_classes, **settings)
    return network


def _pretrained(name: str) -> dict[str, Tensor]:
    """ImageNet weights under the network's current names; torchvision itself renames entries of older files."""
    from torchvision.models import get_model, get_model_weights

    weights = get_model_weights(name)
    chosen = weights["IMAGENET1K_SWAG_LINEAR_V1"] if name == "vit_h_14" else weights.DEFAULT  # for 224 pixels
    state = get_model(name, weights=chosen, progress=False).state_dict()
    return {key: tensor for key, tensor in state.items() if not key.startswith("AuxLogits.")}


def _entry(family: Family, name: str, millions: str) -> Architecture:
    return Architecture(
        name,
        f"{family.line}; {millions} million parameters, ImageNet weights available",
        partial(_build, name, family),
        channels=3,
        image_size=family.image_size,
        min_size=family.min_size,
        normalize=family.normalize,
        pretrained=partial(_pretrained, name),
        multiple=family.multiple,
    )


def entries() -> dict[str, Architecture]:
    """All classifiers, by family."""
    found: dict[str, Architecture] = {}
    for family in FAMILIES:
        words = family.members.split()
        found |= {name: _entry(family, name, size) for name, size in zip(words[::2], words[1::2], strict=True)}
    return found
