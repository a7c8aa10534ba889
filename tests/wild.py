"""Networks that nobody wrote for a pruning tool: what can be trimmed of them, how exactly, and what others make of it.

    python -m tests.zoo --wild [NAME ...] > tests/wild.csv

The smallest member of each of timm's families, small configurations of Hugging Face's transformers, the decoders of
segmentation_models_pytorch, torchvision's networks for segmentation, detection and video, and YOLOs of ultralytics. A
NAME is the beginning of a row's. A network whose package is missing is "absent".

The last two columns of ours allow channels of normalised streams to go as well (`embeddings`). These are left out of
the statistics of norms, so that network is compared with the project's own masked one.

Random weights, one image or clip in float64, 25 % and 50 % of the neurons of every trimmable layer removed at random.
Whether the result is exact is judged by `tests.trimcore.lost`: the pruned network has to compute what the full one does
when the neurons that it lost are dead. The other tools are judged in the same way after removing 25 % of the channels;
"ran" means that it cannot be told what their network lost. Seconds are those of one run: trace and surgery of ours, the
original left as it was, graph and cut of theirs, in place, of a copy made before.
"""

import copy
import csv
import functools
import gc
import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tests import zoo
from tests.trimcore.lost import BOUND, Verdict, computed, difference, distinct, judged
from tests.trimcore.oracle import masked, random_plan
from trimcore.errors import TrimError, first_line
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.summary import free_share, frozen_reasons
from trimcore.graph.tracing import trace
from trimcore.planning.minimum import keep_one_per_layer
from trimcore.surgery.cut import prune

LIMIT, THEIR_LIMIT = 150, 60  # seconds


def kirigami(network: nn.Module, x: Tensor) -> None:
    from torch_kirigami import DependencyGraph
    from torch_kirigami.pruning import Greedy, GroupMagnitude, ParameterBudget, Pruner

    budget = ParameterBudget(max_params=int(parameters(network) / 1.6))  # about a quarter of the channels
    pruner = Pruner(network, graph=DependencyGraph.build(network, args=(x,)))
    pruner.prune(pruner.discover_candidates(), budget=budget, strategy=Greedy(GroupMagnitude(p=2)))


Cut = Callable[[nn.Module, Tensor], None]  # in place
OTHERS: dict[str, Cut] = {"torch_pruning": zoo.theirs, "kirigami": kirigami}
COLUMNS = [
    "network", "parameters", "layers", "share", "outcome", "difference_25", "difference_50", "ratio_25", "seconds",
    "reasons", "embeddings_ratio", "embeddings_difference",
    *(f"{tool}{what}" for tool in OTHERS for what in ("", "_ratio", "_difference", "_seconds")),
]  # fmt: skip

TIMM = (  # (family, its smallest member, pixels)
    ("beit", "beit_base_patch16_224", 224), ("byoanet", "halonet_h1", 256), ("byobnet", "test_byobnet", 160),
    ("cait", "cait_xxs24_224", 224), ("coat", "coat_tiny", 224), ("convit", "convit_tiny", 224),
    ("convmixer", "convmixer_768_32", 224), ("convnext", "test_convnext", 160), ("cpubone", "cpubone_nano", 224),
    ("crossvit", "crossvit_tiny_240", 240), ("csatv2", "csatv2", 256), ("cspnet", "cs3darknet_focus_s", 256),
    ("cspnext", "cspnext_tiny", 224), ("davit", "davit_tiny", 224), ("deepseek_vit", "deepseek_vit_412m", 224),
    ("deit", "deit_tiny_patch16_224", 224), ("densenet", "densenet121", 224), ("dla", "dla46x_c", 224),
    ("dpn", "dpn48b", 224), ("edgenext", "edgenext_xx_small", 256), ("efficientformer", "efficientformer_l1", 224),
    ("efficientformer_v2", "efficientformerv2_s0", 224), ("efficientnet", "test_efficientnet", 160),
    ("efficientvim", "efficientvim_m1", 224), ("efficientvit_mit", "efficientvit_b0", 224),
    ("efficientvit_msra", "efficientvit_m0", 224), ("eva", "vit_tiny_patch16_dinov3_qkvb", 256),
    ("fasternet", "fasternet_t0", 224), ("fastvit", "fastvit_t8", 256), ("focalnet", "focalnet_tiny_srf", 224),
    ("gcvit", "gcvit_xxtiny", 224), ("gemma4_vit", "gemma4_vit_167m", 192), ("ghostnet", "ghostnet_050", 224),
    ("hardcorenas", "hardcorenas_b", 224), ("hgnet", "hgnetv2_b0", 224), ("hiera", "hiera_tiny_224", 224),
    ("hieradet_sam2", "sam2_hiera_tiny", 256), ("hrnet", "hrnet_w18_small", 224), ("iformer", "iformer_t", 224),
    ("inception_next", "inception_next_atto", 224), ("inception_resnet_v2", "inception_resnet_v2", 299),
    ("inception_v3", "inception_v3", 299), ("inception_v4", "inception_v4", 299), ("lcnetv2", "lcnetv2_small", 224),
    ("levit", "levit_128s", 224), ("lowformer", "lowformer_b0", 224), ("mambaout", "test_mambaout", 160),
    ("maxxvit", "test_coatnet", 160), ("metaformer", "poolformerv2_s12", 224), ("mlp_mixer", "gmlp_ti16_224", 224),
    ("mobilenetv3", "mobilenetv3_small_050", 224), ("mobilenetv5", "mobilenetv5_base", 256),
    ("mobilevit", "mobilevit_xxs", 256), ("mvitv2", "mvitv2_tiny", 224),
    ("naflexvit", "naflexvit_base_patch16_parfac_gap", 224), ("nasnet", "nasnetalarge", 331),
    ("nest", "nest_tiny", 224), ("nextvit", "nextvit_small", 224), ("nfnet", "test_nfnet", 160),
    ("pit", "pit_ti_224", 224), ("pnasnet", "pnasnet5large", 331), ("pvt_v2", "pvt_v2_b0", 224),
    ("qwen3_vit", "qwen3_vit_88m", 192), ("rdnet", "rdnet_tiny", 224), ("regnet", "regnetx_002", 224),
    ("repghost", "repghostnet_050", 224), ("repvit", "repvit_m1", 224), ("res2net", "res2next50", 224),
    ("resnest", "resnest14d", 224), ("resnet", "test_resnet", 160), ("resnetv2", "resnetv2_18", 224),
    ("rexnet", "rexnet_100", 224), ("selecsls", "selecsls42", 224), ("senet", "legacy_seresnet18", 224),
    ("sequencer", "sequencer2d_s", 224), ("shvit", "shvit_s1", 224), ("sknet", "skresnet18", 224),
    ("starnet", "starnet_s050", 224), ("swiftformer", "swiftformer_xs", 224),
    ("swin_transformer", "swin_tiny_patch4_window7_224", 224),
    ("swin_transformer_v2", "swinv2_tiny_window8_256", 256), ("swin_transformer_v2_cr", "swinv2_cr_tiny_224", 224),
    ("tiny_vit", "tiny_vit_5m_224", 224), ("tnt", "tnt_s_legacy_patch16_224", 224), ("tresnet", "tresnet_m", 224),
    ("twins", "twins_svt_small", 224), ("vgg", "vgg11", 224), ("visformer", "visformer_tiny", 224),
    ("vision_transformer", "test_vit", 160), ("vision_transformer_hybrid", "vit_tiny_r_s16_p8_224", 224),
    ("vision_transformer_relpos", "test_vit_relpos", 160), ("vision_transformer_sam", "samvit_base_patch16_224", 224),
    ("vitamin", "vitamin_small_224", 224), ("volo", "volo_d1_224", 224), ("vovnet", "ese_vovnet19b_slim_dw", 224),
    ("xception", "legacy_xception", 299), ("xception_aligned", "xception41p", 299),
    ("xcit", "xcit_nano_12_p8_224", 224),
)  # fmt: skip

HUGGING_FACE = {  # model: its configuration
    "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "layer_type": "basic"},
    "ViT": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
            "image_size": 64},
    "ConvNext": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]},
    "MobileNetV2": {"depth_multiplier": 0.35, "image_size": 64},
    "Swin": {"image_size": 64, "embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
    "DeiT": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
             "image_size": 64},
    "Segformer": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2],
                  "decoder_hidden_size": 32},
    "RegNet": {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "groups_width": 8},
    "EfficientNet": {"image_size": 64, "width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640},
}  # fmt: skip
TASKS = {"Segformer": "ForSemanticSegmentation"}  # others classify images
DECODERS = [  # (decoder, encoder, pixels)
    *((decoder, "resnet18", 128) for decoder in (
        "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN", "DeepLabV3", "DeepLabV3Plus", "UPerNet",
        "Segformer",
    )),
    ("Unet", "mobilenet_v2", 64),
]  # fmt: skip
SEGMENTATION = ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]
DETECTION = {  # detector: what makes it report boxes of any score
    "retinanet_resnet50_fpn": "score_thresh",
    "fcos_resnet50_fpn": "score_thresh",
    "ssdlite320_mobilenet_v3_large": "score_thresh",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "box_score_thresh",
}
VIDEO = {"r3d_18": 64, "mc3_18": 64, "r2plus1d_18": 64, "s3d": 224}  # pixels
YOLO = {
    "yolov8n.yaml": "DetectionModel",
    "yolo11n.yaml": "DetectionModel",
    "yolov8n-seg.yaml": "SegmentationModel",
    "yolov8n-cls.yaml": "ClassificationModel",
}


class Case(NamedTuple):
    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of the input

    def ready(self) -> tuple[nn.Module, Tensor]:
        """The network with distinct weights, and an input for it."""
        torch.manual_seed(0)
        return distinct(self.make()), torch.randn(self.shape, dtype=torch.float64)


def cases() -> Iterator[Case]:
    yield from timm_cases()
    yield from hugging_face_cases()
    yield from segmentation_cases()
    yield from torchvision_cases()
    yield from yolo_cases()


def timm_cases() -> Iterator[Case]:
    for family, name, pixels in TIMM:
        yield Case(f"timm/{family}/{name}", _maker("timm", "create_model", name), (1, 3, pixels, pixels))


def hugging_face_cases() -> Iterator[Case]:
    for model, configuration in HUGGING_FACE.items():
        name = model + TASKS.get(model, "ForImageClassification")
        yield Case(f"hf/{name}", functools.partial(_configured, model, name, configuration), (1, 3, 64, 64))


def segmentation_cases() -> Iterator[Case]:
    for decoder, encoder, pixels in DECODERS:
        make = _maker("segmentation_models_pytorch", decoder, encoder, encoder_weights=None, classes=3)
        yield Case(f"smp/{decoder}-{encoder}", make, (1, 3, pixels, pixels))


def torchvision_cases() -> Iterator[Case]:
    get = functools.partial(_maker, "torchvision.models", "get_model", weights=None)
    for name in SEGMENTATION:
        yield Case(f"tv/{name}", get(name, weights_backbone=None, num_classes=5), (1, 3, 64, 64))
    for name, threshold in DETECTION.items():
        make = get(name, weights_backbone=None, num_classes=5, **{threshold: -1.0})
        yield Case(f"tv/{name}", make, (1, 3, 128, 128))
    for name, pixels in VIDEO.items():
        yield Case(f"tv/{name}", get(name), (1, 3, 16, pixels, pixels))


def yolo_cases() -> Iterator[Case]:
    for file, model in YOLO.items():
        yield Case(f"yolo/{file}", _maker("ultralytics.nn.tasks", model, file, verbose=False), (1, 3, 64, 64))


def _maker(package: str, function: str, *args, **kwargs) -> Callable[[], nn.Module]:
    """Imports the package only when the network is made."""
    return lambda: getattr(importlib.import_module(package), function)(*args, **kwargs)


def _configured(model: str, name: str, configuration: dict) -> nn.Module:
    import transformers

    return getattr(transformers, name)(getattr(transformers, f"{model}Config")(**configuration))


def row(case: Case) -> dict[str, str]:
    """What is known of the network: ours first, then that of the other tools, if it can be made at all."""
    values = dict.fromkeys(COLUMNS, "") | {"network": case.name}
    try:
        with zoo.Patience(LIMIT):
            network, x = case.ready()
            whole = computed(network, x)  # detectors store what they make of the size of their first input
    except ImportError:
        return values | {"outcome": "absent"}
    except Exception as error:  # noqa: BLE001 (a network that cannot be made has a row too)
        return values | {"outcome": outcome_of(error)}
    values["parameters"] = str(parameters(network))
    try:
        with zoo.Patience(LIMIT):
            ours(network, x, whole, values)
    except Exception as error:  # noqa: BLE001 (whatever it raises is its result)
        values["outcome"] = outcome_of(error)
    if values["ratio_25"]:
        try:
            with zoo.Patience(LIMIT):
                values |= with_embeddings(network, x)
        except Exception as error:  # noqa: BLE001
            values["embeddings_difference"] = outcome_of(error)
    for tool, cut in OTHERS.items():
        values |= {f"{tool}{what}": text for what, text in theirs(cut, network, x, whole).items()}
    return values


def ours(network: nn.Module, x: Tensor, whole: list[Tensor], values: dict[str, str]) -> None:
    """Write down what trimcore makes of the network, so far as it comes within the time."""
    before, start = state_of(network), time.perf_counter()
    graph = trace(network, x)
    traced = time.perf_counter() - start
    values |= {
        "layers": str(len(graph.layers)),
        "share": f"{free_share(graph):.3f}",
        "reasons": "; ".join(f"{reason} ({neurons:,})" for reason, neurons, _ in frozen_reasons(graph)),
    }
    verdicts = []
    for percent in (25, 50):
        plan = plan_of(graph, percent / 100, seed=percent)
        if not any(plan.values()):
            values["outcome"] = "nothing"
            return
        start = time.perf_counter()
        small = prune(network, plan, graph=graph)
        if percent == 25:
            values["seconds"] = f"{traced + time.perf_counter() - start:.3f}"
            values["ratio_25"] = f"{parameters(network) / parameters(small):.3f}"
        verdicts.append(judged(network, small, x, whole))
        if verdicts[-1].word == "WRONG" and agrees_with_masked(graph, plan, small, x):
            verdicts[-1].word = "unchecked"
        values[f"difference_{percent}"] = f"{verdicts[-1].difference:.1e}"
    values["outcome"] = worst(verdicts)
    assert state_of(network) == before, "the original changed"


def with_embeddings(network: nn.Module, x: Tensor) -> dict[str, str]:
    """The ratio of parameters at 25 % if channels of normalised streams can go, and the difference to the masked
    network."""
    graph = trace(network, x, embeddings=True)
    plan = plan_of(graph, 0.25, seed=25)
    small = prune(network, plan, graph=graph)
    gap = difference(computed(small, x), computed(masked(graph, plan), x))
    ratio = parameters(network) / parameters(small)
    return {"embeddings_ratio": f"{ratio:.3f}", "embeddings_difference": f"{gap:.1e}"}


def plan_of(graph: ChannelGraph, ratio: float, seed: int) -> dict[str, list[int]]:
    """The random plan. Where layers share their neurons, the choices may add up to all of them: then one is kept."""
    return keep_one_per_layer(graph, random_plan(graph, ratio, seed), lambda layer, neuron: neuron)


def agrees_with_masked(graph: ChannelGraph, plan: dict[str, list[int]], small: nn.Module, x: Tensor) -> bool:
    """Whether the project's own masked network agrees. It knows which constants were folded into a bias; these are no
    longer zero in the pruned network, so that `judged` cannot tell."""
    return bool(graph.folds) and difference(computed(small, x), computed(masked(graph, plan), x)) < BOUND


def worst(verdicts: list[Verdict]) -> str:
    words = {verdict.word for verdict in verdicts}
    return next(word for word in ("WRONG", "unchecked", "exact") if word in words)


def outcome_of(error: Exception) -> str:
    if isinstance(error, TimeoutError) or f"not within {LIMIT} s" in str(error):
        return f"over {LIMIT} s"
    word = "refused" if isinstance(error, TrimError) else f"failed: {type(error).__name__}"
    return f"{word}: {first_line(error)}"


def theirs(cut: Cut, network: nn.Module, x: Tensor, whole: list[Tensor]) -> dict[str, str]:
    """The verdict on the network that `cut` makes of a copy, how much smaller it is, and how long that took."""
    found: dict[str, str] = {}
    try:
        victim = copy.deepcopy(network)
        with zoo.Patience(THEIR_LIMIT):
            start = time.perf_counter()
            cut(victim, x)
            found["_seconds"] = f"{time.perf_counter() - start:.3f}"
        if parameters(victim) == parameters(network):
            return found | {"": "pruned nothing"}
        with zoo.Patience(LIMIT):
            found["_ratio"] = f"{parameters(network) / parameters(victim):.3f}"
            verdict = judged(network, victim.eval(), x, whole)
    except ImportError:
        return {"": "absent"}
    except Exception as error:  # noqa: BLE001 (whatever it raises is its result)
        return found | {"": f"{type(error).__name__}: {first_line(error)}"[:60]}
    word = "ran" if verdict.word == "unchecked" else verdict.word
    return found | {"": word, "_difference": f"{verdict.difference:.1e}"}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def state_of(network: nn.Module) -> list[tuple[str, float]]:
    """A sum for each tensor of the network: another list is another network."""
    return [(name, tensor.double().sum().item()) for name, tensor in network.state_dict().items()]


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    table = csv.DictWriter(sys.stdout, COLUMNS)
    table.writeheader()
    for case in cases():
        if not names or case.name.startswith(tuple(names)):
            table.writerow(row(case))
            sys.stdout.flush()
            gc.collect()
