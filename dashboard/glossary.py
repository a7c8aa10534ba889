"""Every number of the pages, explained once. Pure data, and what gives it out.

A text stands here in one place and is shown wherever the number stands: as the help of a metric, of a column or of a
widget, and in the pop-overs that explain the idea of a page.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """One or two sentences in Markdown, and where there is one a formula in LaTeX."""

    text: str
    formula: str = ""


_APOZ = r"APoZ_c = \frac{1}{N M}\sum_{k=1}^{N}\sum_{j=1}^{M} f\left(O_{c,j}(k) = 0\right)"
_RULE = r"APoZ_c > \mathrm{mean} + x \cdot \mathrm{std}"
_COMPRESSION = r"\frac{\mathrm{parameters\ of\ the\ base}}{\mathrm{parameters\ now}}"
_SPARSITY = r"s_i = s\,\left(1 - (1 - i/n)^3\right)"
_ERROR = r"s / \sqrt{10}"
_NEAR = "An activation without true zeros (GELU, SiLU, ...) counts as zero up to a share of the root mean square (RMS) "
_NEAR += "of all activations at its place."

TERMS = {
    # what is counted
    "APoZ": Entry(
        "The average percentage of zeros: how often a neuron is exactly zero after its activation, over all N examples "
        "and all M positions of its output (f is 1 where it is zero, else 0). 100 %: always zero, so it does nothing. "
        "0 %: never zero. (Hu et al. 2016, eq. 1)", _APOZ),
    "APoZ (near zero)": Entry(f"APoZ, the average percentage of zeros, with near zeros counted too. {_NEAR}", _APOZ),
    "mean APoZ": Entry(
        "The mean over neurons of their APoZ, the average percentage of zeros: how often a neuron is exactly zero "
        "after its activation, over all N examples and M positions. 100 %: always zero. (Hu et al. 2016)", _APOZ),
    "mean APoZ (near zero)": Entry(f"The mean over neurons of their APoZ, near zeros counted too. {_NEAR}", _APOZ),
    "std APoZ": Entry("The standard deviation of APoZ over the neurons of the layer (of the population)."),
    "std APoZ (near zero)": Entry("The standard deviation of APoZ over the neurons of the layer (of the population)."),
    "min APoZ": Entry("The APoZ of the neuron of the layer that is least often zero."),
    "min APoZ (near zero)": Entry("The APoZ of the neuron of the layer that is least often zero."),
    "max APoZ": Entry("The APoZ of the neuron of the layer that is most often zero."),
    "max APoZ (near zero)": Entry("The APoZ of the neuron of the layer that is most often zero."),
    "zero is": Entry(f"What counted as zero in this layer. {_NEAR} ReLU counts exact zeros."),
    "neurons above 90 %": Entry("Neurons that are zero on more than nine of ten examples and positions: first to go."),
    "examples seen": Entry("How many images of the validation split the zeros were counted on. The test split is never "
                           "used to choose."),
    "pass took": Entry("How long counting took: all layers in the same pass over the images."),
    "relevance": Entry(
        "How often a neuron is the maximum of its maxout unit, over the training examples (and positions); 100 % in "
        "each unit together, a tie is shared equally. Near 0 %: nothing is lost when it goes. (Rueda et al. 2017)",
        r"\frac{\mathrm{maxima\ of\ the\ neuron}}{\mathrm{maxima\ of\ its\ unit}}"),
    "neurons a unit (k)": Entry("How many neurons each maxout unit has; only the largest goes on. 1: no maximum is "
                                "left, a plain layer."),
    # the network
    "parameters": Entry("Numbers that the network, or the layer, has learned: weights, biases and those of "
                        "normalisation. Zeros are counted too."),
    "of parameters": Entry("The layer's share of all parameters of the network."),
    "MACs": Entry("Multiply-accumulates of one example, in convolution and linear layers: the work of a forward pass."),
    "of MACs": Entry("The layer's share of all multiply-accumulates of the network."),
    "MACs ratio": Entry("Multiply-accumulates of the base over those of this network: how much less is computed.",
                        r"\frac{\mathrm{MACs\ of\ the\ base}}{\mathrm{MACs\ now}}"),
    "trimmable neurons": Entry(
        "Channels of convolutions and outputs of linear layers that may go, because all that hangs on them can be cut "
        "with them. Neurons that only go together, in several layers, count once."),
    "frozen neurons": Entry(
        "Neurons that must stay: the outputs of the network, and channels that an operation holds which cannot be "
        "followed. The table tells why, layer by layer."),
    "layer": Entry("The name of the layer in the network."),
    "kind": Entry("What the layer is: a convolution, a linear layer, or something with weights of another kind."),
    "neurons A": Entry("The layer's number of neurons in A."),
    "neurons B": Entry("The layer's number of neurons in B."),
    "mean A": Entry("The mean APoZ of the layer's neurons in A."),
    "mean B": Entry("The mean APoZ of the layer's neurons in B."),
    "width": Entry("The layer's number of neurons: channels of a convolution, outputs of a linear layer."),
    "why it is frozen, or what it goes with": Entry("Why no neuron of the layer can go, or the layer whose neurons "
                                                    "take its own along."),
    "configuration": Entry("The widths of the layers, from input to output, as the paper writes them."),
    "neuron": Entry("The neuron's number in the network as it is now, from 0."),
    "original": Entry("The neuron's number in the base model, so that it can be followed through the run."),
    "unit": Entry("The number of the neuron's maxout unit, from 0."),
    "tensor": Entry("The name of a weight tensor, as in a weight file."),
    "weights that go": Entry("How many numbers of the tensor go with the neuron."),
    # choosing
    "mean+std": Entry(
        "Removes the neurons whose APoZ is larger than the layer's mean plus x times its standard deviation. The paper "
        "takes x = 1; a smaller x removes more. (Hu et al. 2016)", _RULE),
    "absolute": Entry("Removes the neurons whose APoZ is larger than this, the same for all layers.",
                      r"APoZ_c > x"),
    "fraction": Entry("Removes this share of the neurons of each layer: those with the highest APoZ."),
    "count": Entry("Removes so many neurons of each layer: those with the highest APoZ."),
    "keep": Entry("So many neurons of each layer stay: those with the lowest APoZ."),
    "least of each unit": Entry("Removes so many neurons of each maxout unit, those that are least often its maximum; "
                                "a unit keeps at least one. (Rueda et al. 2017)"),
    "times smaller": Entry(
        "Makes the whole network so many times smaller in parameters, in each iteration. Layers are compared by how "
        "far a neuron's score stands out in its layer, and by the parameters that it saves."),
    "goes": Entry("Whether the rule above would remove the neuron."),
    "would go": Entry("How many neurons of the layer the rule above would remove."),
    "sparsity": Entry("The share of weights that are held at zero, the smallest ones. Over n iterations it rises to s "
                      "along a cubic schedule. (Zhu and Gupta 2017)", _SPARSITY),
    "sparsity of each layer": Entry("The share of the weights of each layer that is held at zero, the smallest ones. "
                                    "Over n iterations it rises to s. (Zhu and Gupta 2017)", _SPARSITY),
    "sparsity overall": Entry("The share of the weights of all these layers together that is held at zero, the "
                              "smallest ones. Over n iterations it rises to s. (Zhu and Gupta 2017)", _SPARSITY),
    "quality × std": Entry(
        "Holds the weights at zero that are not larger than value × the standard deviation of the layer's weights "
        "that are not zero yet. (Han et al. 2015)", r"|w| \le \mathrm{value} \cdot \mathrm{std}"),
    "criterion": Entry("What ranks the neurons: APoZ, relevance, or a control that they must beat."),
    "L1": Entry("The sum of the absolute incoming weights of a neuron; the smallest go. (Li et al. 2017)",
                r"\sum_i |w_i|"),
    "L2": Entry("The Euclidean norm of the incoming weights of a neuron; the smallest go.", r"\sqrt{\sum_i w_i^2}"),
    "mean activation": Entry("The mean of a neuron's activation over examples and positions; the lowest go."),
    "Taylor": Entry("How much the loss would change without the neuron, to first order, from activation and gradient; "
                    "the least go. (Molchanov et al. 2017)",
                    r"\frac{1}{N}\sum_{k=1}^{N} \left|\,\sum a\,\frac{\partial L}{\partial a}\,\right|"),
    "random": Entry("Any neurons, drawn by the seed: the control that another criterion must beat."),
    "iteration": Entry("One round of count, cut, retrain and measure. Iteration 0 is the base, before any cut."),
    "iterations": Entry("How many rounds of count, cut, retrain and measure. After each the neurons are counted anew."),
    "step": Entry("The step of the plan that the iteration belongs to."),
    "removed": Entry("What the iteration takes: neurons by layer, or weights that are held at zero."),
    "cut": Entry("What the iteration took: neurons by layer, or weights that are held at zero."),
    # what is left
    "compression": Entry("How many times fewer parameters than the base has: 2× is half of them.", _COMPRESSION),
    "not zero": Entry("Parameters without the weights that are held at zero. The network still computes with them; a "
                      "sparse file leaves them out."),
    "non-zero parameters": Entry("Parameters without the weights that are held at zero."),
    "compression, non-zero": Entry("Parameters of the base over those that are not zero.",
                                   r"\frac{\mathrm{parameters\ of\ the\ base}}{\mathrm{non\ zero\ parameters\ now}}"),
    "bytes dense": Entry("The size of a safetensors file with every weight."),
    "bytes sparse": Entry("The size of a file that stores only the weights that are not zero, and the gaps between "
                          "them as one byte each. (Han et al. 2016)"),
    "latency": Entry("The median time of a forward pass of one training batch, on the run's device."),
    "measured": Entry("Latency ratio: how many times as long the base architecture takes for a training batch, both "
                      "timed in turns.", r"\frac{\mathrm{time\ of\ the\ base}}{\mathrm{time\ now}}"),
    "measured, batch 1": Entry("Latency ratio for one example: how many times as long the base architecture takes, "
                               "both timed in turns.", r"\frac{\mathrm{time\ of\ the\ base}}{\mathrm{time\ now}}"),
    # accuracy
    "initial accuracy": Entry("Accuracy right after the cut, before any retraining: what the cut costs at once."),
    "final accuracy": Entry("Accuracy after retraining: what is left of the loss, or gained."),
    "initial accuracy %": Entry("Test accuracy right after the cut, before any retraining. The base has none."),
    "final accuracy %": Entry("Test accuracy after retraining; for the base, after its training."),
    "test accuracy": Entry("The share of test images that are recognised, after retraining. The test split is only "
                           "ever measured; everything is chosen on the validation split."),
    "validation accuracy": Entry("The share of validation images that are recognised. Everything is chosen on this "
                                 "split; the test split is only ever measured."),
    "control": Entry("The final widths trained from new weights, for as many epochs: does starting from the kept "
                     "weights help at all?"),
    "frontier": Entry("Each point is an iteration: the further right the smaller, the higher the more accurate. A run "
                      "is better than another where its line lies above and to the right."),
    "sensitivity": Entry("The validation accuracy with the highest-APoZ neurons of one layer held at zero, all others "
                         "whole, before retraining. A flat curve can give much. (Li et al. 2017)"),
    "accuracy at 50 %": Entry("Validation accuracy with half of this layer's neurons held at zero, before retraining."),
    "bears losing": Entry("The largest cut measured that costs less than 1 point of accuracy, as do all smaller ones."),
    "verification": Entry(
        "Are two images of the same? The mean accuracy over ten folds, each with a threshold that was chosen on the "
        "other nine, ± its standard error: the standard deviation s of the folds over the root of their number.",
        _ERROR),
    "verification %": Entry("Verification accuracy, the mean over ten folds, ± its standard error.", _ERROR),
    "AUC": Entry("The area under the ROC curve: the chance that a pair of the same is nearer than a pair of different. "
                 "1 is perfect, 0.5 is chance."),
    # runs
    "run": Entry("The run's own name if it has one, then what it is, and when it began."),
    "state": Entry("Whether the run waits, runs, or how it ended."),
    "model": Entry("The network that the run began with."),
    "data": Entry("The images that it was trained and measured on."),
    "seed": Entry("What all chance comes from: the same seed gives the same result on the same machine."),
    "tags": Entry("Words that somebody put on the run."),
    "began at": Entry("The run and the iteration that a branch went on from."),
    "measure": Entry("What was measured on the result of each run."),
    "seeds": Entry("How many runs, which differ only in their seed, have this measure."),
    "mean": Entry("The mean over the seeds."),
    "std": Entry("The standard deviation over the seeds (of the sample, n - 1)."),
    "least": Entry("The smallest value of any seed."),
    "most": Entry("The largest value of any seed."),
    # training
    "epochs after each cut": Entry("How many times all training images are seen while the network recovers."),
    "epochs after its cuts": Entry("Retraining of this step alone, such as a long one after the last cut; empty: as "
                                   "long as that of the others."),
    "widths in multiples of": Entry(
        "What a cut leaves of each layer is rounded up to such a multiple, and the neurons that are nearest to staying "
        "come back. Some kernels take as long for 49 neurons as for 64; 1 leaves the widths alone. The figures below "
        "show what it costs in parameters, the measured time of the run what it brings."),
    "share that the first network teaches": Entry(
        "While retraining, how much of the loss is the distance to the scores of the network that the run began with, "
        "instead of to the labels; 0 is none. (Hinton et al. 2015)",
        r"(1 - w) \, \mathrm{CE} + w \, T^2 \, \mathrm{KL}"),
    "temperature": Entry("The T by which both scores are divided first: the higher, the more the less likely classes "
                         "count. (Hinton et al. 2015)"),
    "epochs of the base network": Entry("How many times all training images are seen before the first cut."),
    "learning rate": Entry("How large the steps of retraining are. Too small, and accuracy does not come back in time; "
                           "too large, and it falls."),
    "learning rate of the base": Entry("How large the steps of training the base are."),
    "batch size": Entry("How many images make one step of training; latency is timed with as many."),
    "name of the run": Entry("What lists call it; it can be changed later."),
    "device": Entry("Where the run computes. Runs on one device wait for each other."),
    # classes and files
    "class": Entry("What the images truly show."),
    "taken for": Entry("The class that the network sees in them instead."),
    "problem": Entry("Why the tensor does not fit."),
    "in the file": Entry("The shape of the tensor in the file."),
    "in the model": Entry("The shape that the architecture has."),
}  # fmt: skip

# The idea of each page: the question on its pop-over, and the terms that answer it.
IDEAS = {
    "model": ("What is trimmable?", ["trimmable neurons", "frozen neurons", "MACs"]),
    "profile": ("What is APoZ?", ["APoZ"]),
    "plan": ("How does a rule choose?", ["mean+std", "quality × std", "sparsity"]),
    "run": ("What are initial and final?", ["initial accuracy", "final accuracy", "validation accuracy", "control"]),
    "compare": ("What is a frontier?", ["frontier", "compression", "test accuracy"]),
    "report": ("What is compression?", ["compression", "MACs ratio", "measured"]),
}

_FOUND = {term.casefold(): entry for term, entry in TERMS.items()}


def about(term: str) -> str:
    """The explanation of a term as Markdown, with its formula, for `help=`; "" for a word that is not explained here.
    Upper and lower case are the same."""
    entry = _FOUND.get(term.casefold(), Entry(""))
    return f"{entry.text} ${entry.formula}$" if entry.formula else entry.text


def listed(*terms: str) -> str:
    """Several terms as a list in Markdown, for the help of a choice between them; without formulas."""
    return "\n".join(f"- **{term}**: {TERMS[term].text}" for term in terms)
