"""The spec sections on what a run measures, when it stops and what it writes: [profile], [verify], [stop], [control],
[log]."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trimcore.errors import SpecError
from trimcore.spec.section import Natural, Section

# An activation function without true zeros counts as zero up to this fraction of the RMS of its site's activations.
# With 0.1, an activation counted as zero has at most a hundredth of the site's mean power.
DEFAULT_TOLERANCE = 0.1


class ProfileSettings(Section):
    """`examples`: validation examples to profile. `relevance_examples`: training examples on which to count how often
    each neuron is the maximum of its maxout unit. 0 means all. `tolerance`: activations without true zeros count as
    zero up to this fraction of their root mean square (see `scoring.apoz.profile`)."""

    examples: Natural = 0
    relevance_examples: Natural = 0
    tolerance: Annotated[float, Field(ge=0, le=1)] = DEFAULT_TOLERANCE


def _known_pairs(name: str) -> str:
    kind, _, path = name.partition(":")
    if name not in ("", "test") and (kind != "lfw" or not path):
        raise SpecError(f"unknown pairs {name!r}; expected 'test' or 'lfw:PATH'")
    return name


class Verify(Section):
    """Verification in every iteration: do two images show the same person or class? `pairs`: empty for none, "test" for
    pairs of test images, or "lfw:PATH" for Labeled Faces in the Wild (see `data.pairs`)."""

    pairs: Annotated[str, AfterValidator(_known_pairs)] = ""
    distance: Literal["cosine", "euclidean"] = "cosine"


class Stop(Section):
    """The run stops when validation accuracy after retraining falls below `min_accuracy`, or when the headline metric
    of any task becomes worse than `limit`; the previous iteration is then the result. The limit is on the validation
    split because a limit on the test split would tune on it.
    """

    min_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.0
    limit: float | None = None

    @property
    def worst(self) -> float | None:
        """The worst value of the headline metric that is allowed, or None."""
        return self.limit if self.limit is not None else self.min_accuracy or None


class Control(Section):
    """`scratch`: also train the final widths from new weights, for as many epochs as the trimmed network."""

    scratch: bool = False


class Log(Section):
    """`tensorboard`: also write event files for TensorBoard into the run folder (see `jobs.event_files`)."""

    tensorboard: bool = False
