"""The arithmetic on several devices, by hand, and the figures of VGG-16 that it begins with."""

import pytest

from tests.benchmarks import scaling
from tests.benchmarks.scaling import Rates, Work
from trimcore import models
from trimcore.training.prepare import blank

SMALL = Work(train_images=1000, validation_images=100, parameters=250, neurons=10, iterations=2, epochs=3)
RATES = Rates(training=10, evaluation=50)


@pytest.mark.parametrize(("devices", "sent"), [(1, 0), (2, 1000), (4, 1500), (8, 1750)])
def test_a_ring_sends_nearly_twice_the_payload(devices, sent):
    assert scaling.ring_bytes(1000, devices) == sent


def test_a_ring_all_reduce_acted_out():
    """Four devices pass on a quarter each, three times to add up and three times to hand round."""
    devices, chunk, sent = 4, 250, 0
    held = [[{device} for _ in range(devices)] for device in range(devices)]  # held[d][c]: whose parts are in chunk c
    for step in range(2 * (devices - 1)):
        moves = [((d - step) % devices, d) for d in range(devices)]
        given = [(chunk_number, set(held[d][chunk_number])) for chunk_number, d in moves]
        for (number, parts), (_, d) in zip(given, moves, strict=True):
            held[(d + 1) % devices][number] |= parts
        sent += chunk
    assert all(parts == set(range(devices)) for device in held for parts in device)
    assert sent == scaling.ring_bytes(devices * chunk, devices)


def test_an_epoch():
    assert [scaling.steps(1000, 32, devices) for devices in (1, 8)] == [32, 4]  # 31.25 and 3.9
    assert scaling.epoch_seconds(SMALL, RATES, 1) == 100
    assert scaling.epoch_seconds(SMALL, RATES, 8) == 12.5
    # 4 steps, each 2 * 7 / 8 of 250 parameters of 4 bytes, at 500 bytes a second
    assert scaling.exchange_seconds(SMALL, 32, 8, 500) == 4 * 1750 / 500
    assert scaling.exchange_seconds(SMALL, 32, 1, 500) == 0


def test_the_whole_procedure():
    # base: profiled and measured; each iteration: measured, 3 epochs with a look at validation, measured, profiled
    assert scaling.passes(SMALL) == 2 + 2 * (1 + 3 + 1 + 1)
    assert scaling.procedure_seconds(SMALL, RATES, 1, epoch=100) == 2 * 3 * 100 + 14 * 100 / 50
    assert scaling.procedure_seconds(SMALL, RATES, 4, epoch=25) == 2 * 3 * 25 + 14 * 100 / 200


def test_the_network_is_the_papers():
    graph = blank("vgg16", 1000, 3, 224)
    assert sum(p.numel() for p in graph.model.parameters()) == Work.parameters
    assert sum(graph.layers[name].width for name in graph.trimmable()) == Work.neurons
    assert "vgg16" in models.REGISTRY


def test_the_tables_say_what_was_computed():
    computing, exchanging = scaling.tables(Work(), Rates(2500, 7500), batch=32)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in computing.splitlines()]
    # 1,281,167 / 2,500 = 512.5 s; 6 iterations of 5 such epochs and 50 passes over 50,000 images are 4.36 h
    assert rows[2] == ["1", "32", "40,037", "512", "4.36", "0 B", "0 B", "0 B"]
    # 2 * 7 / 8 * 138,357,544 * 4 bytes are 968 MB; in 5,005 steps 4.85 TB; 12,416 counts and sums of 8 bytes 348 kB
    assert rows[3] == ["8", "256", "5,005", "64", "0.55", "969 MB", "4.85 TB", "348 kB"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in exchanging.splitlines()]
    # 968.5 MB at 25 GB/s are 38.7 ms, 5,005 times 193.9 s: more than the 64.1 s of computing
    assert rows[3][:7] == ["8", "PCIe, 25 GB/s", "38.7", "64", "193.9", "194", "258"]
    assert rows[3][8] == "25% to 33%"
