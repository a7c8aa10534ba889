"""One explanation for every number and term on the pages: pure data, and functions to look it up.

Each text is written once and shown wherever the number appears: as the help of a metric, a column or a widget, and in
the pop-overs that explain the concepts of a page.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """A few sentences in Markdown, and an optional formula in LaTeX."""

    text: str
    formula: str = ""


_APOZ = r"APoZ_c = \frac{1}{N M}\sum_{k=1}^{N}\sum_{j=1}^{M} f\left(O_{c,j}(k) = 0\right)"
_RULE = r"APoZ_c > \mathrm{mean} + x \cdot \mathrm{std}"
_COMPRESSION = r"\frac{\mathrm{parameters\ of\ the\ base}}{\mathrm{parameters\ now}}"
_LATENCY = r"\frac{\mathrm{time\ of\ the\ base}}{\mathrm{time\ now}}"
_SPARSITY = r"s_i = s\,\left(1 - (1 - i/n)^3\right)"
_ERROR = r"s / \sqrt{10}"
_NEAR = "Activations without exact zeros (GELU, SiLU, ...) count as zero up to a fraction of the root mean square "
_NEAR += "(RMS) of all activations at the same point in the network."

TERMS = {
    # profile
    "APoZ": Entry(
        "The average percentage of zeros: how often a neuron is exactly zero after its activation, over all N examples "
        "and all M positions of its output. f is 1 for a zero and 0 otherwise. At 100 %, the neuron is always zero "
        "and does nothing. At 0 %, it is never zero. (Hu et al. 2016, eq. 1)", _APOZ),
    "APoZ (near zero)": Entry(f"APoZ, the average percentage of zeros, including near zeros. {_NEAR}", _APOZ),
    "mean APoZ": Entry(
        "The mean APoZ over the neurons. APoZ is the average percentage of zeros: how often a neuron is exactly zero "
        "after its activation, over all N examples and M positions. 100 %: always zero. (Hu et al. 2016)", _APOZ),
    "mean APoZ (near zero)": Entry(f"The mean APoZ over the neurons, including near zeros. {_NEAR}", _APOZ),
    "std APoZ": Entry("The population standard deviation of APoZ over the neurons of the layer."),
    "std APoZ (near zero)": Entry("The population standard deviation of APoZ over the neurons of the layer."),
    "min APoZ": Entry("The lowest APoZ of any neuron in the layer."),
    "min APoZ (near zero)": Entry("The lowest APoZ of any neuron in the layer."),
    "max APoZ": Entry("The highest APoZ of any neuron in the layer."),
    "max APoZ (near zero)": Entry("The highest APoZ of any neuron in the layer."),
    "counted as zero": Entry(f"What counted as zero in this layer. {_NEAR} ReLU counts exact zeros."),
    "neurons above 90 %": Entry("Neurons that are zero for more than 90 % of examples and positions. They are the "
                                "first candidates for removal."),
    "examples profiled": Entry("The number of validation images on which zeros were counted. The test split never "
                               "influences a decision."),
    "profiling time": Entry("How long counting took. One pass over the images counts the zeros of all layers."),
    "relevance": Entry(
        "How often the neuron is the maximum of its maxout unit, over the training examples and positions. In "
        "each unit, the relevances add up to 100 %; ties are shared equally. A neuron near 0 % can be removed without "
        "loss. (Rueda et al. 2017)",
        r"\frac{\mathrm{maxima\ of\ the\ neuron}}{\mathrm{maxima\ of\ its\ unit}}"),
    "neurons per unit (k)": Entry("The number of neurons in each maxout unit. Only the largest activation is passed "
                                  "on. With k = 1, the layer is an ordinary layer."),
    # the network
    "parameters": Entry("All learned values of the network or layer: weights, biases and normalisation parameters. "
                        "Zeros are included."),
    "of parameters": Entry("The layer's share of all parameters of the network."),
    "MACs": Entry("Multiply-accumulate operations for one example, in convolution and linear layers: the compute "
                  "cost of a forward pass."),
    "milliseconds": Entry("The measured time of one pass over the batch, median, on this device."),
    "examples per second": Entry("The batch size divided by the measured time."),
    "slowest layer": Entry("The largest share of the time that a layer takes together with what follows it."),
    "ms": Entry("The measured milliseconds of the layer itself."),
    "ms after it": Entry("The measured milliseconds of what follows the layer up to the next one: norms, activations, "
                         "pooling."),
    "smaller": Entry("The parameters of the starting network divided by those that are left."),
    "fewer MACs": Entry("The MACs of the starting network divided by those that are left."),
    "faster": Entry("The milliseconds of the starting network divided by those of the cut network, on this device."),
    "of MACs": Entry("The layer's share of all MACs of the network."),
    "MACs ratio": Entry("The MACs of the base network divided by the MACs of this network.",
                        r"\frac{\mathrm{MACs\ of\ the\ base}}{\mathrm{MACs\ now}}"),
    "trimmable neurons": Entry(
        "Channels of convolutions and outputs of linear layers that can be removed, because everything that depends on "
        "them can be cut with them. Layers that are cut together count once."),
    "frozen neurons": Entry(
        "Neurons that cannot be removed: the outputs of the network, and channels that cannot be tracked through an "
        "operation. The table gives the reason for each layer."),
    "layer": Entry("The name of the layer in the network."),
    "kind": Entry("The type of the layer: convolution, linear, or another part with weights."),
    "weights": Entry("The shape of the layer's weights without biases: outputs first, then inputs, then the window. A "
                     "recurrent layer has several."),
    "output": Entry("The shape of the layer's result for one example: channels first, then height and width."),
    "neurons A": Entry("The number of neurons in the layer, in result A."),
    "neurons B": Entry("The number of neurons in the layer, in result B."),
    "mean A": Entry("The mean APoZ of the layer's neurons, in result A."),
    "mean B": Entry("The mean APoZ of the layer's neurons, in result B."),
    "width": Entry("The number of neurons in the layer: channels of a convolution, outputs of a linear layer."),
    "note": Entry("Why the layer is frozen, or which layer it is cut together with."),
    "configuration": Entry("The widths of the layers from input to output, in the paper's notation."),
    "neuron": Entry("The index of the neuron in the current network, starting at 0."),
    "original": Entry("The index of the neuron in the base network. It stays the same through all cuts."),
    "unit": Entry("The index of the neuron's maxout unit, starting at 0."),
    "tensor": Entry("The name of the weight tensor, as in a checkpoint."),
    "weights removed": Entry("How many weights of the tensor are removed with the neuron."),
    # rules and criteria
    "mean+std": Entry(
        "Removes neurons whose APoZ is above the layer's mean plus x standard deviations. The paper uses x = 1; a "
        "smaller x removes more. (Hu et al. 2016)", _RULE),
    "absolute": Entry("Removes neurons whose APoZ is above x. All layers have the same threshold.",
                      r"APoZ_c > x"),
    "fraction": Entry("Removes this share of the neurons of each layer, highest APoZ first."),
    "count": Entry("Removes this number of neurons from each layer, highest APoZ first."),
    "keep": Entry("Keeps this number of neurons in each layer: those with the lowest APoZ."),
    "least relevant per unit": Entry("Removes this number of neurons from each maxout unit: those that are least often "
                                     "its maximum. Each unit keeps at least one. (Rueda et al. 2017)"),
    "shrink factor": Entry(
        "Each iteration divides the number of parameters of the network by this factor. The neurons of all layers are "
        "ranked together, by how far their score is above the mean of their layer and by how many parameters they "
        "save."),
    "remove": Entry("Whether the rule above would remove the neuron."),
    "to remove": Entry("How many neurons of the layer the rule above would remove."),
    "sparsity": Entry("The share of weights that is set to zero, smallest first. Over n iterations, it rises to s on a "
                      "cubic schedule. (Zhu and Gupta 2017)", _SPARSITY),
    "sparsity per layer": Entry("The share of the weights of each layer that is set to zero, smallest first. Over n "
                                "iterations, it rises to s. (Zhu and Gupta 2017)", _SPARSITY),
    "overall sparsity": Entry("The share of the weights of all chosen layers together that is set to zero, smallest "
                              "first. Over n iterations, it rises to s. (Zhu and Gupta 2017)", _SPARSITY),
    "quality × std": Entry(
        "Sets a weight to zero if its magnitude is at most value × the standard deviation of the layer's non-zero "
        "weights. (Han et al. 2015)", r"|w| \le \mathrm{value} \cdot \mathrm{std}"),
    "criterion": Entry("The score that ranks the neurons: APoZ, relevance, or another score to compare them with."),
    "L1": Entry("The sum of the absolute incoming weights of a neuron. The smallest are removed first. "
                "(Li et al. 2017)", r"\sum_i |w_i|"),
    "L2": Entry("The Euclidean norm of the incoming weights of a neuron. The smallest are removed first.",
                r"\sqrt{\sum_i w_i^2}"),
    "mean activation": Entry("The mean activation of a neuron over examples and positions. The lowest are removed "
                             "first."),
    "Taylor": Entry("A first-order estimate, from activation and gradient, of how much the loss would change without "
                    "the neuron. The smallest are removed first. (Molchanov et al. 2017)",
                    r"\frac{1}{N}\sum_{k=1}^{N} \left|\,\sum a\,\frac{\partial L}{\partial a}\,\right|"),
    "random": Entry("A random order, determined by the seed. A useful criterion must beat this control."),
    "iteration": Entry("One round of profiling, cutting, retraining and measuring. Iteration 0 is the starting "
                       "network, before any cut."),
    "iterations": Entry("The number of rounds of profiling, cutting, retraining and measuring. Each round counts the "
                        "zeros again."),
    "step": Entry("The step of the plan that the iteration belongs to."),
    "removed": Entry("What the iteration removes: neurons by layer, or weights that are set to zero."),
    # size and speed
    "compression": Entry("Parameters of the base network divided by the parameters of this one. 2× means half as many.",
                         _COMPRESSION),
    "non-zero parameters": Entry("All parameters except the weights that are set to zero. The network still computes "
                                 "with the zeros; a sparse file leaves them out."),
    "non-zero": Entry("All parameters except the weights that are set to zero."),
    "compression, non-zero": Entry("Parameters of the base network divided by the non-zero parameters of this one.",
                                   r"\frac{\mathrm{parameters\ of\ the\ base}}{\mathrm{non\ zero\ parameters\ now}}"),
    "bytes dense": Entry("The size of a safetensors file that stores every weight."),
    "bytes sparse": Entry("The size of a file that stores only the non-zero weights and the gaps between them, at one "
                          "byte per gap. (Han et al. 2016)"),
    "numbers": Entry("How the network computes: with 32-bit floating-point numbers, or with 8-bit integers (INT8)."),
    "bytes": Entry("The size of the ONNX file."),
    "ms, 1 image": Entry("The median time of a forward pass over one image, by ONNX Runtime on the CPU."),
    "ms, 16 images": Entry("The median time of a forward pass over 16 images, by ONNX Runtime on the CPU."),
    "accuracy": Entry("The share of test images that are classified correctly."),
    "network": Entry("The base network is that of iteration 0; the trimmed one is that of the chosen iteration."),
    "latency": Entry("The median time of a forward pass over one training batch, on the run's device."),
    "latency ratio": Entry("The latency of the base architecture divided by the latency of this network, for one "
                           "training batch. The two are timed alternately.", _LATENCY),
    "latency ratio, batch 1": Entry("The latency of the base architecture divided by the latency of this network, for "
                                    "one example. The two are timed alternately.", _LATENCY),
    # what changed
    "Answers changed": Entry("The images to which the trimmed network gives another answer than the base, which is the "
                             "network of iteration 0. An answer is the most probable class."),
    "Right to wrong": Entry("The base answers these images correctly, the trimmed network does not."),
    "Wrong to right": Entry("The trimmed network answers these images correctly, the base does not."),
    "Wrong to other wrong": Entry("Both networks answer these images wrongly, but differently."),
    "corruption": Entry("What was done to the pixels before they were normalised: Gaussian noise, blur, or less "
                        "contrast. (Hendrycks and Dietterich 2019)"),
    "strength": Entry("Noise: its standard deviation, as a share of the range of pixels. Blur: the standard deviation "
                      "of the Gaussian, as a share of the image's side. Contrast: the share that is lost."),
    "change, points": Entry("The accuracy of the trimmed network minus that of the base, in percentage points."),
    "mean confidence": Entry("The mean probability that the network gives to its answers, right or wrong."),
    "calibration error": Entry(
        "How far confidence and accuracy are apart. The images are sorted into 15 bins of confidence; in each, the "
        "accuracy is compared with the mean confidence. 0: of the answers that are 90 % sure, 90 % are right. "
        "(Guo et al. 2017)", r"\sum_b \frac{n_b}{N} \left|\mathrm{acc}_b - \mathrm{conf}_b\right|"),
    "Base": Entry("The answer of the base, the network of iteration 0: its most probable class."),
    "Trimmed": Entry("The answer of the trimmed network: its most probable class."),
    "Time of the base": Entry("The median time of a forward pass over this one image, on the CPU of this server. Both "
                              "networks are timed in turns."),
    "Time of the trimmed network": Entry("The median time of a forward pass over this one image, on the CPU of this "
                                         "server. Both networks are timed in turns."),
    # the headline metric
    "headline metric": Entry("The number that a run is judged by: accuracy for a classification, mIoU for a "
                             "segmentation, an error for a regression. A run records its name and whether higher or "
                             "lower is better. What is said of accuracy here applies to it."),
    "test metric": Entry("The headline metric of the run on the test split after retraining. The test split is only "
                         "used for evaluation; every decision uses the validation split."),
    "validation metric": Entry("The headline metric of the run on the validation split. Every decision uses this "
                               "split; the test split is only used for evaluation."),
    "initial metric": Entry("The headline metric on the test split right after the cut, before any retraining. The "
                            "base network has none."),
    "final metric": Entry("The headline metric on the test split after retraining; for the base network, after its "
                          "training."),
    "initial accuracy": Entry("Accuracy right after the cut, before any retraining: the immediate cost of the cut."),
    "final accuracy": Entry("Accuracy after retraining: the net effect of the cut."),
    "initial accuracy %": Entry("Test accuracy right after the cut, before any retraining. The base network has none."),
    "final accuracy %": Entry("Test accuracy after retraining; for the base network, after its training."),
    "test accuracy": Entry("The share of test images that are classified correctly after retraining. The test split is "
                           "only used for evaluation; every decision uses the validation split."),
    "validation accuracy": Entry("The share of validation images that are classified correctly. Every decision uses "
                                 "this split; the test split is only used for evaluation."),
    "control": Entry("A network with the final widths, trained from scratch for the same number of epochs. It shows "
                     "whether starting from the kept weights helps."),
    "frontier": Entry("Each point is an iteration. Points further to the right are smaller networks. Higher points "
                      "are more accurate, unless the axis says that lower is better. A run is better than another "
                      "where its line lies further to the right at an equally good value."),
    "sensitivity": Entry("The validation accuracy when the highest-APoZ neurons of one layer are set to zero and all "
                         "other layers are intact, before retraining. A layer with a flat curve can lose many neurons. "
                         "(Li et al. 2017)"),
    "accuracy at 50 %": Entry("Validation accuracy with half of this layer's neurons set to zero, before retraining."),
    "can lose": Entry("The largest cut of this layer that costs less than 1 point of accuracy. All smaller measured "
                      "cuts also cost less than 1 point."),
    "verification": Entry(
        "Do two images show the same person or class? The mean accuracy over ten folds, each with a threshold chosen "
        "on the other nine, ± its standard error. s is the standard deviation over the folds.", _ERROR),
    "verification %": Entry("Verification accuracy: the mean over ten folds ± its standard error.", _ERROR),
    "AUC": Entry("The area under the ROC curve: the probability that a matching pair is closer than a non-matching "
                 "pair. 1 is perfect, 0.5 is chance."),
    # runs
    "run": Entry("The run's name, if it has one, its network and its start time."),
    "state": Entry("Whether the run is queued or running, or how it ended."),
    "order": Entry("Runs on one device wait for each other, first come, first served, unless somebody moves them. A "
                   "run on several devices waits until all of them are free, and those behind it wait for it."),
    "held": Entry("A held run waits until somebody releases it. Others pass it, and it keeps its place."),
    "expected start": Entry(
        "When the working runs ahead end at their present pace. It is not known for a run behind another waiting one: "
        "how long that one will take is not known before it has started."),
    "model": Entry("The network that the run started with."),
    "data": Entry("The data set on which the run was trained and measured."),
    "seed": Entry("The seed of all random choices. The same seed gives the same result on the same machine."),
    "tags": Entry("The tags of the run."),
    "branched from": Entry("The run and iteration that a branch started from."),
    "measure": Entry("The quantity that was measured on the result of each run."),
    "seeds": Entry("How many runs have this measure, among runs that differ only in their seed."),
    "mean": Entry("The mean over the seeds."),
    "std": Entry("The sample standard deviation over the seeds (n - 1)."),
    "min": Entry("The smallest value over the seeds."),
    "max": Entry("The largest value over the seeds."),
    # training
    "retraining epochs": Entry("The number of passes over the training images after each cut."),
    "retraining epochs, this step": Entry("Retraining epochs after each cut of this step, for example more in the last "
                                          "step. If empty, the value in the training settings applies."),
    "round widths to multiples of": Entry(
        "Rounds the remaining width of each layer up to a multiple of this number by keeping the neurons closest to "
        "the threshold. Some kernels take as long for 49 neurons as for 64. With 1, nothing is rounded. The preview "
        "shows the cost in parameters; the run measures the gain in time."),
    "distillation weight": Entry(
        "The share of the retraining loss that compares the scores with the scores of the starting network instead of "
        "with the labels. 0 turns distillation off. (Hinton et al. 2015)",
        r"(1 - w) \, \mathrm{CE} + w \, T^2 \, \mathrm{KL}"),
    "temperature": Entry("The scores of both networks are divided by T before they are compared. A higher T gives less "
                         "likely classes more weight. (Hinton et al. 2015)"),
    "base epochs": Entry("The number of passes over the training images before the first cut."),
    "learning rate": Entry("The step size of retraining. If it is too small, the network does not recover in time; if "
                           "it is too large, the network gets worse."),
    "base learning rate": Entry("The step size when training the base network."),
    "batch size": Entry("The number of images per training step. Latency is timed with the same batch size."),
    "run name": Entry("The name shown in lists. You can change it later."),
    "device": Entry("The device that the run uses. Runs on the same device are executed one after another."),
    # classes and files
    "class": Entry("The true class of the images."),
    "predicted as": Entry("The class that the network predicts instead."),
    "problem": Entry("Why the tensor does not fit."),
    "in the file": Entry("The shape of the tensor in the file."),
    "in the model": Entry("The shape that the architecture expects."),
}  # fmt: skip

# The concept of each page: the question on its pop-over, and the terms that answer it.
CONCEPTS = {
    "model": ("What is trimmable?", ["trimmable neurons", "frozen neurons", "MACs"]),
    "profile": ("What is APoZ?", ["APoZ"]),
    "plan": ("How does a rule work?", ["mean+std", "quality × std", "sparsity"]),
    "run": ("What do initial and final mean?", ["initial accuracy", "final accuracy", "validation accuracy",
                                                "headline metric", "control"]),
    "queue": ("Who goes first?", ["order", "held", "expected start"]),
    "compare": ("What is a frontier?", ["frontier", "compression", "test accuracy", "headline metric"]),
    "report": ("What is compression?", ["compression", "MACs ratio", "latency ratio"]),
}  # fmt: skip

_BY_TERM = {term.casefold(): entry for term, entry in TERMS.items()}


def about(term: str) -> str:
    """The explanation of a term as Markdown, with its formula, for `help=`. "" for an unknown term. Case is ignored.
    `test mIoU` and the like are explained by `test metric`, because a metric can have any name."""
    when, _, name = term.casefold().partition(" ")
    entry = _BY_TERM.get(term.casefold()) or (_BY_TERM.get(f"{when} metric") if name else None) or Entry("")
    return f"{entry.text} ${entry.formula}$" if entry.formula else entry.text


def bullets(*terms: str) -> str:
    """Several terms as a Markdown list without formulas, for the help of a choice between them."""
    return "\n".join(f"- **{term}**: {TERMS[term].text}" for term in terms)
