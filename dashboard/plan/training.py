"""The training settings of a plan's run. Each is shown only if it applies."""

import streamlit as st

from dashboard.plan.origin import StartPoint
from dashboard.session import drafts
from dashboard.widgets.fields import field
from trimcore.data.augmentation import AUGMENTATIONS
from trimcore.graph.channel_graph import ChannelGraph


def training_settings(draft: dict, start: StartPoint | None, graph: ChannelGraph) -> None:
    """Collapsed at first, because its many fields would be redrawn with every click on the page."""
    with st.expander("Training settings", key="settings", on_change="rerun", icon=":material/settings:") as box:
        if box.open:
            _fields(draft, start, graph)


def _fields(draft: dict, start: StartPoint | None, graph: ChannelGraph) -> None:
    retrain, base, augment = draft["retrain"], draft["base"], draft["retrain"]["augment"]
    left, right = st.columns(2)
    field(left.number_input, "Retraining epochs", retrain, "epochs", 0, 1000, group="retrain")
    field(right.number_input, "Learning rate", retrain, "lr", 1e-5, 10.0, format="%g", group="retrain")
    field(left.number_input, "Batch size", retrain, "batch_size", 1, 65_536, group="retrain")
    field(right.selectbox, "Augmentation", retrain, "augment", list(AUGMENTATIONS),
          group="retrain", help="nudge: each image is shifted by up to 1/28 of its size; shift: by up to 1/14; "
          "flip: mirrored with probability 1/2; affine: slightly rotated, scaled, sheared and shifted.")  # fmt: skip
    if start is None and drafts.trains_base(draft):
        field(left.number_input, "Base epochs", base, "epochs", 0, 1000, group="base")
        field(right.number_input, "Base learning rate", base, "lr", 1e-5, 10.0, format="%g",
              group="base")  # fmt: skip
    if retrain["augment"] != augment:
        base["augment"] = retrain["augment"]
    field(st.checkbox, "Keep momentum across cuts", retrain, "keep_momentum", group="retrain",
          help="Retraining continues with the optimizer's momentum of the kept weights. Otherwise it starts without "
          "momentum.")  # fmt: skip
    distill = draft["distill"]
    field(left.number_input, "Distillation weight", distill, "weight", 0.0, 1.0, step=0.1,
          group="distill")  # fmt: skip
    field(right.number_input, "Temperature", distill, "temperature", 0.5, 100.0, step=0.5, group="distill",
          disabled=not distill["weight"])  # fmt: skip
    field(left.number_input, "Seed", draft, "seed", 0, 2**31 - 1)
    field(right.number_input, "Examples to profile", draft["profile"], "examples", 0, 10_000_000,
          help="The number of validation images; 0 uses all.")  # fmt: skip
    if graph.units:
        field(right.number_input, "Examples for relevance", draft["profile"], "relevance_examples",
              0, 10_000_000, help="The number of training images; 0 uses all.")  # fmt: skip
    field(left.number_input, "Minimum accuracy, 0 to 1", draft["stop"], "min_accuracy", 0.0, 1.0, step=0.005,
          format="%.3f", help="The run ends when the validation accuracy after retraining falls below this value. "
          "The result is then the previous iteration.")  # fmt: skip
    field(right.text_input, "Run name", draft, "name", max_chars=80)
    field(st.toggle, "Also train the final widths from scratch", draft["control"], "scratch",
          help="A control that shows whether starting from the kept weights helps.")  # fmt: skip
