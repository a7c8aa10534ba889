"""The page Model: choosing a model and data, and launching a first run."""

import pytest
from streamlit.testing.v1 import AppTest
from torch import nn

from tests.dashboard.drafts import unit_draft
from tests.dashboard.pages import choose_model, click, field, metrics, page, texts
from trimcore import models
from trimcore.jobs import control


def test_metrics_of_lenet(no_runs):
    app = page("model")
    numbers = {metric.label: metric.value for metric in app.metric}
    assert numbers == {
        "Parameters": "431,080", "MACs": "2,293,000", "Trimmable neurons": "570", "Frozen neurons": "10",
    }  # fmt: skip
    table = app.dataframe[0].value
    assert list(table.layer) == ["conv1", "conv2", "fc1", "fc2"]
    assert table.note[3] == "it is an output of the network"


def test_one_sentence_says_how_much_can_be_removed(no_runs):
    app = page("model")
    said = "98 % of the neurons can be removed; most of the rest cannot because it is an output of the network."
    assert said in texts(app).replace("\\", "")
    assert not app.warning


def test_little_that_can_be_removed_is_a_warning(no_runs, registry):
    @models.register("narrow", "two hidden neurons", min_size=4)
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        inputs = in_channels * image_size**2
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 2), nn.ReLU(), nn.Linear(2, num_classes))

    app = page("model")
    app.selectbox[0].set_value("narrow").run()
    assert not app.exception
    assert app.warning[0].value.replace("\\", "").startswith("17 % of the neurons can be removed; most of the rest")


class Rows(nn.Module):
    """Attention of four heads over the rows of an image, with a norm before it. The stream has 8 channels."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int):
        super().__init__()
        self.rows, self.norm = nn.Linear(in_channels * image_size, 8), nn.LayerNorm(8)
        self.head = nn.Linear(8, num_classes)
        self.attention = nn.MultiheadAttention(8, 4, batch_first=True)

    def forward(self, x):
        x = self.rows(x.movedim(2, 1).flatten(2))
        y = self.norm(x)
        return self.head(self.norm(x + self.attention(y, y, y)[0]).mean(1))


def test_heads_and_streams_are_offered_where_they_make_a_difference(no_runs, registry):
    models.register("rows", "attention over rows", min_size=4)(Rows)
    app = page("model")
    assert not app.toggle
    app.selectbox[0].set_value("rows").run()
    assert [toggle.label for toggle in app.toggle] == ["Remove only whole heads", "Trim normalised streams"]
    assert metrics(app)["Trimmable neurons"] == "0"
    app.toggle[0].set_value(True).run()
    assert metrics(app)["Trimmable neurons"] == "24"
    app.toggle[1].set_value(True).run()
    assert not app.exception
    assert metrics(app)["Trimmable neurons"] == "32"
    notes = app.dataframe[0].value.set_index("layer").note
    assert notes["attention"] == "4 heads; no activation"
    assert notes["attention.out_proj"] == "cut together with rows; no activation"


def test_metrics_of_vgg16(no_runs):
    app = page("model")
    app.selectbox[0].set_value("vgg16").run()
    assert not app.exception
    assert {m.label: m.value for m in app.metric}["Parameters"] == "134,301,514"  # with ten classes


def test_missing_data_is_a_one_line_error(no_runs, tmp_path, monkeypatch):
    app = page("model")
    app.selectbox[1].set_value("imagefolder:PATH").run()
    app.text_input[0].set_value(str(tmp_path / "nowhere")).run()
    assert not app.exception
    assert "nowhere" in app.error[0].value


def test_trimming_with_the_defaults_ignores_the_plan(run, monkeypatch):
    launched = []
    monkeypatch.setattr(control, "launch", lambda asked, folder: launched.append(asked) or run.name)
    app = page("plan", run=run.name)
    field(app, "Iterations").set_value(9).run()
    app.switch_page("model/page.py").run()
    next(b for b in app.button if b.label == "Trim it now with the defaults").click().run()
    assert launched[0].step[0].iterations == 4


def test_architecture_options_can_be_changed(launched):
    app = page("model")
    assert not any(number.label.startswith("k:") for number in app.number_input)
    app.selectbox[0].set_value("lenet5-maxout").run()
    k, width = (next(n for n in app.number_input if n.label.startswith(f"{name}:")) for name in ("k", "width"))
    assert (k.value, width.value) == (4, 500)
    assert app.session_state.draft["options"] == {}
    width.set_value(64).run()
    assert app.session_state.draft["options"] == {"width": 64}
    assert metrics(app)["Parameters"] == f"{520 + 25_050 + 801 * 64 + 17 * 10:,}"
    click(app, "Profile this network")
    click(app.switch_page("model/page.py").run(), "Trim it now")
    assert [run.options for run in launched] == [{"width": 64}] * 2


def test_inconsistent_options_are_a_one_line_error():
    app = page("model", draft=unit_draft([]))
    next(n for n in app.number_input if n.label.startswith("k:")).set_value(3).run()
    assert "64" in app.error[0].value
    assert "multiple" in app.error[0].value


@pytest.mark.parametrize("kind", ["imagefolder", "lfw"])
def test_user_data_needs_a_folder(kind, tmp_path):
    app = page("model")
    app.selectbox[1].set_value(f"{kind}:PATH").run()
    app.text_input[0].set_value(str(tmp_path / "nowhere")).run()
    assert not app.exception
    assert app.session_state.draft["data"] == f"{kind}:{tmp_path / 'nowhere'}"
    assert "nowhere" in app.error[0].value
    assert app.selectbox[1].value == f"{kind}:PATH"


def size_fields(app: AppTest) -> list[tuple]:
    return [(n.value, n.min, n.step) for n in app.number_input if n.label == "Image size, pixels"]


def test_all_models_are_offered_built_in_ones_first():
    app = page("model")
    assert app.selectbox[0].options == [*models.offered(), "hf:FOLDER"]
    ours = [f"{name}{ending}" for name in ("lenet5", "vgg16", "vgg16-small") for ending in ("", "-maxout")]
    assert app.selectbox[0].options[:7] == [*ours, "vgg11"]
    assert [name for name in app.selectbox[0].options if ":" not in name] == list(models.listed())


def test_the_chosen_model_has_a_description_and_a_size():
    app = choose_model(page("model"), "resnet18")
    assert "ResNet, residual blocks; 11.7 million parameters" in texts(app)
    head, tail = 512 * 1000 + 1000, 512 * 10 + 10  # the classifier, for ImageNet and for ten digits
    assert {m.label: m.value for m in app.metric}["Parameters"] == f"{11_689_512 - head + tail:,}"


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("resnet34", (28, 1, 4)),
        ("resnet18", (32, 1, 4)),  # its preset has its own size
        ("squeezenet1_1", (28, 17, 4)),
        ("densenet121", (29, 29, 4)),
        ("vit_b_32", (224, 32, 32)),
    ],
)
def test_image_sizes_are_limited_to_those_the_network_accepts(model, field):
    assert size_fields(choose_model(page("model"), model)) == [field]


def test_an_invalid_image_size_is_a_one_line_error():
    app = choose_model(page("model"), "vit_b_32")
    app.number_input[0].set_value(64).run()
    assert not app.error
    assert app.session_state.draft["image_size"] == 64
    app.number_input[0].set_value(65).run()
    assert "multiple of 32 pixels, such as 64 or 96, not 65" in app.error[0].value


@pytest.mark.parametrize("model", ["resnet34", "mobilenet_v3_small", "vit_b_32"])
def test_the_default_run_of_every_model(model, monkeypatch):
    launched = []
    monkeypatch.setattr(control, "launch", lambda asked, folder: launched.append(asked) or "")
    app = choose_model(page("model"), model)
    next(b for b in app.button if b.label == "Trim it now with the defaults").click().run()
    asked = launched[0]
    assert (asked.model, asked.data, asked.image_size, asked.channels) == (model, "mnist-5k", 0, 0)
    assert [(s.layers, s.rule, s.value, s.iterations) for s in asked.step] == [(["all"], "mean+std", 1.0, 3)]
    assert (asked.base.epochs, asked.base.lr, asked.base.batch_size) == (6, 0.02, 128)
    assert (asked.retrain.epochs, asked.retrain.lr, asked.retrain.batch_size) == (2, 0.01, 128)


def test_a_new_head_is_offered_for_files_only(no_runs, tmp_path):
    app = page("model")
    assert not app.toggle
    field(app, "Weights").set_value("checkpoint file").run()
    field(app, "New head").set_value(True).run()
    assert not app.exception
    assert app.session_state.draft["base"]["head"] == "", "there is no file yet"
    app.session_state.draft["base"]["weights"] = str(tmp_path / "weights.pt")
    app.run()
    assert app.session_state.draft["base"]["head"] == "new"
    field(app, "Weights").set_value("train from scratch").run()
    assert app.session_state.draft["base"] == {**app.session_state.draft["base"], "weights": "", "head": ""}
