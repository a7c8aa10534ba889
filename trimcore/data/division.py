"""From the splits that a data set comes with to the three that a run needs."""

from collections.abc import Mapping
from typing import NamedTuple

from trimcore.data.splits import ImageSplit, partition
from trimcore.errors import DataError

HELD_OUT = 5_000  # maximum size of a validation split taken from an official training set


class Parts(NamedTuple):
    """A data set in three parts. `notes` say how they were found: one sentence each, the sizes first."""

    classes: tuple[str, ...]
    splits: list[ImageSplit]  # train, validation, test
    notes: tuple[str, ...] = ()


def divide(splits: Mapping[str, ImageSplit], names: Mapping[str, str]) -> tuple[list[ImageSplit], str]:
    """The train, validation and test splits, and a sentence with their sizes. `splits` has "train", and "validation"
    and "test" if the data set comes with them; `names` are their names for the user.

    A missing test split is replaced by the validation split. A missing validation split is held out of the train
    split: a tenth, at most 5,000 examples. Without both, each of them is a tenth. All parts are stratified by class.
    Raises DataError if there are too few examples.
    """
    whole, train = splits["train"], names["train"]
    if len(whole) < 3:
        raise DataError(f"{train} contains only {len(whole)} images: three splits need at least 3")
    tenth = max(1, len(whole) // 10)
    if len(splits) == 1:
        test, validation, rest = partition(whole, tenth, tenth)
        held_out = f"{tenth:,} for validation and {tenth:,} as the test, both held out of {train}"
        return [rest, validation, test], f"{len(rest):,} to train, {held_out}"
    tested = "test" if "test" in splits else "validation"
    (test,) = partition(splits[tested])
    as_test = f"{len(test):,} from {names[tested]} as the test"
    if len(splits) == 2:
        validation, rest = partition(whole, min(HELD_OUT, tenth))
        return [rest, validation, test], f"{len(rest):,} to train, {len(validation):,} held out of {train}, {as_test}"
    (rest,), (validation,) = partition(whole), partition(splits["validation"])
    from_own = f"{len(validation):,} from {names['validation']} for validation"
    return [rest, validation, test], f"{len(rest):,} to train, {from_own}, {as_test}"
