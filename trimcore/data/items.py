"""A split of the user's own: a torch Dataset or a loader of anything, iterated in batches on a device."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, default_collate, get_worker_info

from trimcore.compute import distributed
from trimcore.compute.inputs import examples, moved
from trimcore.errors import DataError, first_line
from trimcore.system.own_code import describe


@dataclass(frozen=True)
class Failure:
    """An item that raised an error in a worker: its index and the error as text."""

    index: int
    reason: str


class _Guarded(Dataset[Any]):
    """Loads items, notes which one each worker is loading, and turns an error into a Failure: an error raised in a
    worker would arrive as a page of text."""

    def __init__(self, source: Any, workers: int):
        self.source = source
        self.loading = torch.full((max(workers, 1),), -1, dtype=torch.int64)
        self.loading.share_memory_()  # type: ignore[no-untyped-call]

    def __getitem__(self, index: int) -> Any:
        worker = get_worker_info()
        place = worker.id if worker else 0
        self.loading[place] = index
        try:
            return self.source[index]
        except Exception as error:  # noqa: BLE001 (a user's data set may raise anything)
            return Failure(index, describe(error))
        finally:
            self.loading[place] = -1


@dataclass(frozen=True)
class _Collate:
    """Makes a batch of a list of items, unless one of them failed."""

    own: Callable[[list[Any]], Any] | None

    def __call__(self, items: list[Any]) -> Any:
        failed = next((item for item in items if isinstance(item, Failure)), None)
        if failed is not None:
            return failed
        try:
            return (self.own or default_collate)(items)
        except Exception as error:  # noqa: BLE001 (so may a user's collate function)
            return Failure(-1, describe(error))


@dataclass(frozen=True, eq=False)
class Items:
    """A split of anything. `data` and `part` name it in messages. `check` looks at each batch while it is on the CPU.

    A loader (anything without `__getitem__`, and a DataLoader) decides itself about batches, order and processes.
    """

    source: Any
    data: str
    part: str
    collate: Callable[[list[Any]], Any] | None = None
    timeout: float = 60.0
    workers: int | None = None
    check: Callable[[Any], None] | None = None
    limit: int = 0  # examples, for loaders; 0: all

    def __post_init__(self) -> None:
        if not hasattr(self.source, "__len__") and not hasattr(self.source, "__iter__"):
            kind = type(self.source).__name__
            raise DataError(f"{self._where} is a {kind}, not a torch Dataset with a length, or a loader")
        if isinstance(self.source, Iterator):
            raise DataError(
                f"{self._where} is an iterator, which is used up after one epoch; give a Dataset or a loader"
            )

    @property
    def _where(self) -> str:
        return f"data {self.data!r}: its {self.part} split"

    @cached_property
    def is_loader(self) -> bool:
        return isinstance(self.source, DataLoader) or not hasattr(self.source, "__getitem__")

    @cached_property
    def _length(self) -> int:
        if not self.is_loader:
            return len(self.source)
        dataset = getattr(self.source, "dataset", None)
        if dataset is not None and hasattr(dataset, "__len__") and getattr(self.source, "drop_last", None) is False:
            return len(dataset)
        return sum(examples(batch) for batch in self._from_loader(None))

    @cached_property
    def _loader_steps(self) -> int:
        try:
            return len(self.source)
        except TypeError:  # a stream
            return sum(1 for _ in self._from_loader(None))

    def __len__(self) -> int:
        return min(self.limit, self._length) if self.limit else self._length

    @cached_property
    def labels(self) -> Tensor:
        """The targets of all items, if they are single numbers. (N,) int64. Loads every item."""
        found = [batch[1] for batch in self.batches(500, "cpu")]
        return torch.cat(found).long()

    def take(self, which: Tensor | list[int]) -> "Items":
        """These items. Raises DataError for a loader."""
        if self.is_loader:
            raise DataError(f"{self._where} is a loader: single examples cannot be taken out of it")
        return replace(self, source=Subset(self.source, torch.as_tensor(which).tolist()))

    def subset(self, n: int) -> "Items":
        """The first n examples, or of a loader the first batches with at least n. All of them if n is 0."""
        if not 0 < n < len(self):
            return self
        return replace(self, limit=n) if self.is_loader else self.take(list(range(n)))

    def steps(self, batch_size: int, shared: bool = False) -> int:
        """The number of batches."""
        if self.is_loader:
            return sum(1 for _ in self._limited(self._from_loader(None))) if self.limit else self._loader_steps
        return len(self._parts(torch.arange(len(self)), batch_size, shared))

    def _parts(self, order: Tensor, batch_size: int, shared: bool) -> list[Tensor]:
        part, of = (distributed.rank(), distributed.world()) if shared else (0, 1)
        return distributed.parts(order, batch_size, part, of)

    def batches(
        self, batch_size: int, device: torch.device | str, *, seed: int | None = None, shared: bool = False
    ) -> Iterator[Any]:
        """The batches on the device. `seed` fixes the order and the random numbers of the workers; None keeps the
        split's order. Raises DataError for an item that raises an error, that takes longer than the time limit, or that
        `check` refuses."""
        if self.is_loader and shared and distributed.world() > 1:
            raise DataError(f"{self._where} is a loader, which several processes cannot share; give a Dataset")
        device = torch.empty(0, device=device).device
        for number, batch in enumerate(self._limited(self._loader(batch_size, seed, shared))):
            if isinstance(batch, Failure):
                where = f"item {batch.index} of its {self.part} split" if batch.index >= 0 else f"batch {number}"
                raise DataError(f"data {self.data!r}: {where} cannot be loaded: {batch.reason}")
            if self.check:
                try:
                    self.check(batch)
                except DataError as error:
                    raise DataError(f"{self._where}, batch {number}: {error}") from None
            yield moved(batch, device)

    def _loader(self, batch_size: int, seed: int | None, shared: bool) -> Iterator[Any]:
        if self.is_loader:
            yield from self._from_loader(seed)
            return
        generator = torch.Generator().manual_seed(seed or 0)
        length = len(self.source)
        order = torch.arange(length) if seed is None else torch.randperm(length, generator=generator)
        workers = self._workers()
        guarded = _Guarded(self.source, workers)
        loader: DataLoader[Any] = DataLoader(
            guarded, batch_sampler=[part.tolist() for part in self._parts(order, batch_size, shared)],
            num_workers=workers, collate_fn=_Collate(self.collate), generator=generator,
            timeout=self.timeout if workers else 0,
        )  # fmt: skip
        batches = iter(loader)
        try:
            yield from batches
        except RuntimeError as error:
            if "timed out" in str(error):
                for process in getattr(batches, "_workers", ()):  # the loader would wait for them, and not reap them
                    process.kill()
                    process.join()
                busy = ", ".join(str(i) for i in guarded.loading.tolist() if i >= 0) or "unknown"
                raise DataError(
                    f"data {self.data!r}: item {busy} of its {self.part} split did not load within {self.timeout:g} s"
                ) from None
            if has_lost_worker(error):
                raise DataError(f"{self._where}: a process that loads items died ({first_line(error)})") from None
            raise

    def _workers(self) -> int:
        if self.workers is not None:
            return self.workers
        inner = self.source
        while isinstance(inner, Subset):
            inner = inner.dataset
        return 0 if isinstance(inner, TensorDataset) else min(8, os.cpu_count() or 1)

    def _from_loader(self, seed: int | None) -> Iterator[Any]:
        """The user's loader. Random samplers of torch draw their seed from the global random numbers."""
        try:
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(seed or 0)
                for generator in _generators(self.source):
                    generator.manual_seed(seed or 0)
                batches = iter(self.source)
                first = next(batches, None)
            if first is None:
                return
            yield first
            yield from batches
        except DataError:
            raise
        except Exception as error:  # a user's loader may raise anything
            raise DataError(f"{self._where} raised {describe(error)}") from error

    def _limited(self, batches: Any) -> Iterator[Any]:
        seen = 0
        for batch in batches:
            yield batch
            seen += examples(batch)
            if self.limit and seen >= self.limit:
                return


def has_lost_worker(error: BaseException) -> bool:
    """Whether an error says that a process that loads items died. torch raises it wherever the training is just then,
    even between two batches."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker")


def _generators(loader: Any) -> Iterator[torch.Generator]:
    """The random number generators of a DataLoader's own, which would go on where the last epoch stopped."""
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    for owner in (loader, getattr(loader, "sampler", None), sampler):
        if isinstance(generator := getattr(owner, "generator", None), torch.Generator):
            yield generator
