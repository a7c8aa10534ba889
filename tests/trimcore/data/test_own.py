"""Data of the user's own: torch data sets and loaders, in order, in parts, and what goes wrong in them."""

import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from trimcore import data
from trimcore.data import Batches, OwnData, own
from trimcore.data.own import open_own, with_example
from trimcore.errors import DataError, SpecError

NUMBERS = TensorDataset(torch.arange(50.0).view(50, 1), torch.arange(50) % 3)


def opened(train=NUMBERS, test=NUMBERS, validation=NUMBERS, **how):
    return open_own("mine", OwnData(train, test, validation, classes=3, **how))


def numbers(batches) -> list[int]:
    return [int(x) for inputs, _ in batches for x in inputs.flatten()]


class Faulty(Dataset):
    """Item `bad` raises, and item `slow` never comes."""

    def __init__(self, bad=None, slow=None):
        self.bad, self.slow = bad, slow

    def __len__(self):
        return 20

    def __getitem__(self, index):
        if index == self.bad:
            raise OSError("the disk\nis gone")
        if index == self.slow:
            time.sleep(600)
        return torch.zeros(1), 0


# ---- order


def test_the_order_depends_on_the_seed_alone():
    found = opened()
    shuffled = [numbers(Batches(found.train, found, 16, "cpu", seed=seed)) for seed in (1, 1, 2)]
    assert shuffled[0] == shuffled[1] != shuffled[2]
    assert sorted(shuffled[2]) == list(range(50))
    assert numbers(Batches(found.train, found, 16, "cpu")) == list(range(50))
    assert len(Batches(found.train, found, 16, "cpu")) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_random_items_repeat_with_the_seed(workers):
    """The random numbers that an item draws in a worker depend on the seed of the epoch."""

    class Noisy(Faulty):
        def __getitem__(self, index):
            return torch.rand(1), 0

    found = opened(Noisy(), workers=workers)

    def epoch(seed):
        torch.manual_seed(seed)  # as an epoch of training does
        return torch.cat([x for x, _ in Batches(found.train, found, 5, "cpu", seed=seed)])

    assert torch.equal(epoch(1), epoch(1))
    assert not torch.equal(epoch(1), epoch(2))


def test_a_subset_is_the_first_examples():
    found = opened()
    assert numbers(Batches(found.train.subset(7), found, 3, "cpu")) == list(range(7))
    assert len(found.train.subset(7)) == 7
    assert found.train.subset(0) is found.train is found.train.subset(50)
    assert found.train.labels.tolist() == [i % 3 for i in range(50)]


# ---- loaders


def test_a_loader_keeps_its_batches():
    loader = DataLoader(NUMBERS, 20)
    found = opened(loader)
    assert [len(x) for x, _ in Batches(found.train, found, 7, "cpu", seed=3)] == [20, 20, 10]
    assert (len(found.train), len(Batches(found.train, found, 7, "cpu"))) == (50, 3)
    assert numbers(Batches(found.train.subset(30), found, 7, "cpu")) == list(range(40))
    with pytest.raises(DataError, match="single examples cannot be taken"):
        found.train.take([0])


def test_a_loader_is_not_shared_by_processes(monkeypatch):
    monkeypatch.setattr("trimcore.compute.distributed.world", lambda: 2)
    found = opened(DataLoader(NUMBERS, 20))
    with pytest.raises(DataError, match="several processes cannot share; give a Dataset"):
        list(Batches(found.train, found, 7, "cpu", shared=True))


def test_a_shuffling_loader_repeats_with_the_seed():
    found = opened(DataLoader(NUMBERS, 20, shuffle=True))

    def epoch(seed):
        torch.manual_seed(99)
        return numbers(Batches(found.train, found, 7, "cpu", seed=seed))

    assert epoch(1) == epoch(1)
    assert sorted(epoch(1)) == list(range(50))


def test_an_iterable_is_counted():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.tensor([float(i)]), i % 3) for i in range(11)])

    found = opened(DataLoader(Stream(), 4))
    assert len(found.train) == 11
    assert [len(x) for x, _ in Batches(found.train, found, 99, "cpu")] == [4, 4, 3]


# ---- what a user may give


def test_a_missing_validation_split_is_held_out_of_train():
    one, two = (opened(validation=None) for _ in range(2))
    assert (len(one.train), len(one.validation)) == (45, 5)
    assert one.notes == ("5 examples of the train split are held out for validation",)
    held = numbers(Batches(one.validation, one, 5, "cpu"))
    assert held == numbers(Batches(two.validation, two, 5, "cpu"))
    assert not set(held) & set(numbers(Batches(one.train, one, 5, "cpu")))
    with pytest.raises(DataError, match="none can be held out of a loader"):
        opened(iter([1]), validation=None)


@pytest.mark.parametrize(("given", "message"), [
    (5, "is a int, not a trimcore.OwnData or a dict"), ({"train": NUMBERS, "tset": NUMBERS}, "expected train"),
    ({"train": NUMBERS, "test": 5}, "its test split is a int"),
    ({"train": NUMBERS, "test": TensorDataset(torch.zeros(0, 1))}, "its test split is empty"),
    ({"train": NUMBERS, "test": NUMBERS, "classes": []}, "has no classes"),
])  # fmt: skip
def test_other_things_are_refused_in_one_line(given, message):
    with pytest.raises(DataError) as error:
        open_own("mine", given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_example_has_the_shape_of_the_inputs():
    images = TensorDataset(torch.zeros(9, 3, 8, 8), torch.zeros(9, dtype=torch.long))
    found = with_example(opened(images), lambda batch: batch[0])
    assert (found.example.shape, found.channels, found.image_size) == ((1, 3, 8, 8), 3, 8)
    several = with_example(opened(images), lambda batch: (batch[0], batch[0]))
    assert [part.shape for part in several.example] == [(1, 3, 8, 8)] * 2
    with pytest.raises(DataError, match="cannot take the inputs out of a batch"):
        with_example(opened(images), lambda batch: batch["pixels"])


# ---- what goes wrong


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_raises_is_named(workers):
    found = opened(Faulty(bad=13), workers=workers)
    with pytest.raises(DataError) as error:
        list(Batches(found.train, found, 4, "cpu"))
    assert str(error.value) == "data 'mine': item 13 of its train split cannot be loaded: OSError: the disk"


def test_an_item_that_never_comes_is_named():
    found = opened(Faulty(slow=6), workers=1, timeout=0.5)
    with pytest.raises(DataError) as error:
        list(Batches(found.train, found, 4, "cpu"))
    assert str(error.value) == "data 'mine': item 6 of its train split did not load within 0.5 s"


def test_items_that_make_no_batch_are_named():
    ragged = [(torch.zeros(1), 0), (torch.zeros(2), 0)]
    found = opened(ragged)
    with pytest.raises(DataError, match=r"batch 0 cannot be loaded: RuntimeError: stack expects each tensor"):
        list(Batches(found.train, found, 4, "cpu"))


# ---- names


def test_a_registered_name_is_loaded_with_what_it_takes(registry):
    asked = []

    @own.register_data("weather", "rain or not", task="regression")
    def weather(seed):
        asked.append(seed)
        return {"train": NUMBERS, "test": NUMBERS, "classes": ["dry", "rain"]}

    assert data.datasets()["weather"] == "rain or not"
    assert data.task_of("weather") == "regression"
    found = data.load("weather", seed=7)
    assert (asked, found.classes, found.is_own) == ([7], ("dry", "rain"), True)
    with pytest.raises(DataError, match="leave out the colon"):
        own.register_data("a:b")


@pytest.mark.parametrize(("name", "message"), [
    ("no_such_module:f", "cannot import no_such_module"), ("math:pi", "is a float"), ("math:nothing", "has no"),
])  # fmt: skip
def test_a_function_that_is_not_there_is_refused_in_one_line(name, message):
    with pytest.raises((DataError, SpecError)) as error:
        data.load(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_stream_and_an_iterator():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.tensor([float(i)]), i % 3) for i in range(11)])

    found = opened(DataLoader(Stream(), 4))
    assert len(Batches(found.train, found, 99, "cpu")) == 3
    with pytest.raises(DataError, match="is an iterator, which is used up after one epoch"):
        opened(iter([(torch.zeros(2, 1), torch.zeros(2))]))


def test_a_loader_with_a_generator_of_its_own_repeats_with_the_seed():
    found = opened(DataLoader(NUMBERS, 20, shuffle=True, generator=torch.Generator()))
    epochs = [numbers(Batches(found.train, found, 7, "cpu", seed=seed)) for seed in (1, 1, 2)]
    assert epochs[0] == epochs[1] != epochs[2]


def test_a_loader_that_raises_is_named():
    class Broken:
        def __iter__(self):
            raise OSError("the disk\nis gone")

    with pytest.raises(DataError, match="its train split raised OSError: the disk$"):
        opened(Broken())
