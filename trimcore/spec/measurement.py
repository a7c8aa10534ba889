"""The sections on what a run measures and when it ends: [profile], [verify], [stop], [control]."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trimcore.errors import SpecError
from trimcore.spec.section import Natural, Section

# The share of the root mean square of a site's activations up to which an activation without true zeros counts as
# zero. With 0.1, an activation that counts carries less than a hundredth of the mean power of its site.
DEFAULT_TOLERANCE = 0.1


class ProfileSettings(Section):
    """`examples` of the validation split are profiled; 0 means all. `tolerance`: activations without true zeros count
    as zero up to this share of their root mean square (see `scoring.apoz.profile`). `relevance_examples` of the
    training split show how often each neuron of a maxout unit is its maximum; 0 means all."""

    examples: Natural = 0
    relevance_examples: Natural = 0
    tolerance: Annotated[float, Field(ge=0, le=1)] = DEFAULT_TOLERANCE


def _known_pairs(name: str) -> str:
    kind, _, path = name.partition(":")
    if name not in ("", "test") and (kind != "lfw" or not path):
        raise SpecError(f"unknown pairs {name!r}; there are 'test' and 'lfw:PATH'")
    return name


class Verify(Section):
    """A verification that every iteration reports: do two images show the same person, or class? `pairs`: empty, none;
    "test", pairs of images of the test split; "lfw:PATH", those of Labeled Faces in the Wild (see `data.pairs`)."""

    pairs: Annotated[str, AfterValidator(_known_pairs)] = ""
    distance: Literal["cosine", "euclidean"] = "cosine"


class Stop(Section):
    """The run ends when the validation accuracy after retraining falls below `min_accuracy`; the iteration before is
    then the result. Validation, not test: a limit on the test split would be tuning on it."""

    min_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.0


class Control(Section):
    """`scratch`: also train the final widths from new weights, for as many epochs as the trimmed network had."""

    scratch: bool = False
