"""The training settings of a plan's run. Each is shown only if it applies."""

import importlib.util
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.plan.metric import is_classification, planned_metric
from dashboard.plan.origin import StartPoint
from dashboard.session import drafts
from dashboard.text import plain
from dashboard.widgets.fields import field
from trimcore import data
from trimcore.data.augmentation import AUGMENTATIONS
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.spec.training import ADAMW_LR, Base, Retrain
from trimcore.tables import Metric
from trimcore.training.batchnorm import has_batchnorm

OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}
RATES = {"sgd": (Retrain().lr, Base().lr), "adamw": (ADAMW_LR, ADAMW_LR)}  # of retraining and of the base network
SHARED = [
    "optimizer", "augment", "label_smoothing", "schedule", "warmup", "mixup", "cutmix", "clip", "accumulate", "ema",
    "keep", "patience", "class_weights",
]  # the base network is trained likewise


def training_settings(draft: dict[str, Any], start: StartPoint | None, graph: ChannelGraph) -> None:
    """Collapsed at first, because its many fields would be redrawn with every click on the page."""
    with st.expander("Training settings", key="settings", on_change="rerun", icon=":material/settings:") as box:
        if box.open:
            _fields(draft, start, graph)


def _fields(draft: dict[str, Any], start: StartPoint | None, graph: ChannelGraph) -> None:
    retrain, base, metric = draft["retrain"], draft["base"], planned_metric(draft, start)
    classes, pictures = is_classification(draft), not data.is_own(draft["data"])
    before = {key: retrain[key] for key in SHARED}
    left, right = st.columns(2)
    field(left.number_input, "Retraining epochs", retrain, "epochs", 0, 1000, group="retrain")
    field(right.number_input, "Learning rate", retrain, "lr", 1e-5, 10.0, format="%g", group="retrain")
    field(left.number_input, "Batch size", retrain, "batch_size", 1, 65_536, group="retrain")
    if classes and pictures:
        field(right.selectbox, "Augmentation", retrain, "augment", list(AUGMENTATIONS),
              group="retrain", help="nudge: each image is shifted by up to 1/28 of its size; shift: by up to 1/14; "
              "flip: mirrored with probability 1/2; affine: slightly rotated, scaled, sheared and shifted; crop: a "
              "random part of it; trivial and rand: TrivialAugment and RandAugment.")  # fmt: skip
    field(left.selectbox, "Optimizer", retrain, "optimizer", list(OPTIMIZERS), format_func=OPTIMIZERS.get,
          group="retrain", help="AdamW suits transformers and ConvNeXt.")  # fmt: skip
    if classes:
        field(right.number_input, "Label smoothing", retrain, "label_smoothing", 0.0, 0.9, step=0.05, group="retrain",
              help="The share of the label that is spread over all classes.")  # fmt: skip
    if start is None and drafts.trains_base(draft):
        field(left.number_input, "Base epochs", base, "epochs", 0, 1000, group="base")
        field(right.number_input, "Base learning rate", base, "lr", 1e-5, 10.0, format="%g",
              group="base")  # fmt: skip
    if st.toggle("More settings", key="more_settings", persist_state="session"):
        _more_fields(retrain, graph, classes, metric)
    base.update({key: retrain[key] for key in SHARED if retrain[key] != before[key]})
    if retrain["optimizer"] != before["optimizer"]:
        retrain["lr"], base["lr"] = RATES[retrain["optimizer"]]
        drafts.replace_draft(draft)  # the fields show the rates
        st.rerun()
    field(st.checkbox, "Keep momentum across cuts", retrain, "keep_momentum", group="retrain",
          help="Retraining continues with the optimizer's momentum of the kept weights. Otherwise it starts without "
          "momentum.")  # fmt: skip
    if classes:
        distill = draft["distill"]
        field(left.number_input, "Distillation weight", distill, "weight", 0.0, 1.0, step=0.1,
              group="distill")  # fmt: skip
        field(right.number_input, "Temperature", distill, "temperature", 0.5, 100.0, step=0.5, group="distill",
              disabled=not distill["weight"])  # fmt: skip
    field(left.number_input, "Seed", draft, "seed", 0, 2**31 - 1)
    field(right.number_input, "Examples to profile", draft["profile"], "examples", 0, 10_000_000,
          help=f"The number of validation {'images' if pictures else 'examples'}; 0 uses all.")  # fmt: skip
    if graph.units:
        field(right.number_input, "Examples for relevance", draft["profile"], "relevance_examples",
              0, 10_000_000, help="The number of training images; 0 uses all.")  # fmt: skip
    _limit(left, draft["stop"], metric, classes)
    field(right.text_input, "Run name", draft, "name", max_chars=80)
    field(st.toggle, "Also train the final widths from scratch", draft["control"], "scratch",
          help="A control that shows whether starting from the kept weights helps.")  # fmt: skip
    if importlib.util.find_spec("tensorboard"):
        field(st.toggle, "Write files for TensorBoard", draft["log"], "tensorboard",
              help="Loss, learning rate and metrics, into the folder tensorboard of the run.")  # fmt: skip


def _limit(place: DeltaGenerator, stop: dict[str, Any], metric: Metric, classes: bool) -> None:
    """When the run ends early: below a minimum accuracy, or at a worse value of another metric than the limit."""
    if classes:
        field(place.number_input, "Minimum accuracy, 0 to 1", stop, "min_accuracy", 0.0, 1.0, step=0.005,
              format="%.3f", help="The run ends when the validation accuracy after retraining falls below this value. "
              "The result is then the previous iteration.")  # fmt: skip
        return
    stop.setdefault("limit", None)
    name, worse = plain(metric.name), "below" if metric.higher_is_better else "above"
    field(place.number_input, f"Limit of {name}{', 0 to 1' if metric.percent else ''}", stop, "limit", value=None,
          step=0.005 if metric.percent else 0.01, format="%g", placeholder="no limit", group="stop",
          help=f"The run ends when the validation {name} after retraining is worse than this, that is, {worse} it. The "
          "result is then the previous iteration. If empty, there is no limit.")  # fmt: skip


def _more_fields(retrain: dict[str, Any], graph: ChannelGraph, classes: bool, metric: Metric) -> None:
    left, right = st.columns(2)
    field(left.selectbox, "Learning rate schedule", retrain, "schedule", ["cosine", "constant"], group="retrain",
          help="cosine: the rate falls to zero at the end; constant: it stays.")  # fmt: skip
    field(right.number_input, "Warm-up", retrain, "warmup", 0.0, 1.0, step=0.05, group="retrain",
          help="The share of all steps in which the learning rate rises.")  # fmt: skip
    if classes:
        field(left.number_input, "MixUp", retrain, "mixup", 0.0, 10.0, step=0.1, group="retrain",
              help="Blends pairs of images. Alpha of the Beta distribution of their shares; 0 is off, 0.2 is "
              "usual.")  # fmt: skip
        field(right.number_input, "CutMix", retrain, "cutmix", 0.0, 10.0, step=0.1, group="retrain",
              help="Pastes a rectangle of another image. Alpha of the Beta distribution of its area; 0 is off, 1 is "
              "usual.")  # fmt: skip
    field(left.number_input, "Gradient clipping", retrain, "clip", 0.0, 1e6, step=0.5, group="retrain",
          help="The largest norm of the gradients; 0 is off.")  # fmt: skip
    field(right.number_input, "Batches per step", retrain, "accumulate", 1, 10_000, group="retrain",
          help="The gradients of this many batches are averaged before the weights change, as with a larger batch.",
          )  # fmt: skip
    field(left.number_input, "Average of the weights (EMA)", retrain, "ema", 0.0, 0.9999, step=0.1, format="%g",
          group="retrain", help="The decay of an average of the weights, which is measured and kept in their place; 0 "
          "is off, 0.99 to 0.9999 is usual.")  # fmt: skip
    field(right.selectbox, "Keep the weights of", retrain, "keep", ["last", "best"], group="retrain",
          format_func={"last": "the last epoch", "best": "the best epoch"}.get,
          help=f"The best by validation {plain(metric.name)}.")  # fmt: skip
    field(left.number_input, "Patience, epochs", retrain, "patience", 0, 1000, group="retrain",
          help=f"Training ends after this many epochs without a better validation {plain(metric.name)}; 0 is off.",
          )  # fmt: skip
    if classes:
        field(right.selectbox, "Class weights", retrain, "class_weights", ["none", "balanced"], group="retrain",
              help="balanced: all classes count alike in the loss, however many images they have.")  # fmt: skip
    if has_batchnorm(graph.model):
        field(left.number_input, "Images to estimate BatchNorm again", retrain, "batchnorm_examples", 0, 1_000_000,
              step=500, group="retrain", help="After each cut, the statistics of BatchNorm are estimated from this "
              "many training images. The metric is measured before and after it. 0 is off.")  # fmt: skip
