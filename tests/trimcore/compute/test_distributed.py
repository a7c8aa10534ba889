"""Distributed runs: parts of batches, sums and gradients compared with one process, and runs that stop together."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock, Timeout

from tests.trimcore.compute.in_processes import in_float32, measured
from trimcore import runs, spec
from trimcore.compute import distributed, torchrun
from trimcore.data.batches import Batches
from trimcore.data.splits import Folder, Resident
from trimcore.errors import DataError, SpecError
from trimcore.jobs import control, queue, supervisor, worker
from trimcore.jobs.locks import lock_path
from trimcore.system import processes
from trimcore.system.files import read_json
from trimcore.training import devices as devices_module
from trimcore.training.devices import check_shares, devices_of

ROOT = Path(__file__).resolve().parents[3]


# --- parts of batches ---


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("count", [14, 28, 42, 43, 45, 56, 61, 69, 70, 71, 127, 128])
def test_every_example_is_in_one_part_of_one_batch(count, processes):
    order, batch_size = torch.randperm(count, generator=torch.Generator().manual_seed(count)), 28
    parts = [distributed.parts(order, batch_size, part, processes) for part in range(processes)]
    assert sorted(torch.cat([torch.cat(part) for part in parts]).tolist()) == list(range(count))
    steps = {len(part) for part in parts}
    assert len(steps) == 1  # otherwise some would wait for a batch that others do not have
    for step in range(steps.pop()):
        sizes = [len(part[step]) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= min(processes, 2)  # with a single process, a batch of one is possible
        whole = set(torch.cat([part[step] for part in parts]).tolist())
        assert whole >= set(order[step * batch_size : (step + 1) * batch_size].tolist())


def test_a_small_remainder_joins_the_previous_batch():
    order = torch.arange(11)
    assert [len(batch) for batch in distributed.parts(order, 4, 0, 1)] == [4, 4, 3]
    assert [batch.tolist() for batch in distributed.parts(order, 4, 0, 2)] == [[0, 2], [4, 6, 8, 10]]
    assert [batch.tolist() for batch in distributed.parts(order, 4, 1, 2)] == [[1, 3], [5, 7, 9]]


@pytest.fixture
def as_process(monkeypatch):
    """as_process(2, of=3): pretend to be the third of three processes, without a process group."""

    def become(rank: int, of: int) -> None:
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world", lambda: of)

    return become


class Grey:
    mean, std = (0.5,), (0.25,)


def numbered(count: int) -> Resident:
    return Resident(torch.zeros(count, 1, 14, 14, dtype=torch.uint8) + 9, torch.arange(count), 14, 1)


@pytest.mark.parametrize("processes", [2, 3, 7])
@pytest.mark.parametrize("count", [30, 59, 101])
def test_the_processes_together_visit_each_example_once(as_process, count, processes):
    single = [y.tolist() for _, y in Batches(numbered(count), Grey, 14, "cpu", seed=4)]
    shares = []
    for rank in range(processes):
        as_process(rank, of=processes)
        source = Batches(numbered(count), Grey, 14, "cpu", seed=4, augment="shift", shared=True)
        shares.append([y.tolist() for _, y in source])
        assert len(source) == len(shares[-1])
    merged = [sorted(sum(batches, [])) for batches in zip(*shares, strict=True)]
    assert sorted(sum(merged, [])) == list(range(count))
    assert merged[: len(merged) - 1] == [sorted(batch) for batch in single[: len(merged) - 1]]


def test_processes_augment_differently(as_process):
    one = torch.randint(0, 256, (1, 1, 28, 28), dtype=torch.uint8)
    split = Resident(one.repeat(40, 1, 1, 1), torch.arange(40), 28, 1)
    images = []
    for rank in (0, 1):
        as_process(rank, of=2)
        source = Batches(split, Grey, 40, "cpu", seed=4, augment="shift", shared=True)
        images.append(torch.cat([x for x, _ in source]))
    assert not torch.equal(*images)


def test_a_process_without_a_readable_image_in_a_batch_fails(as_process, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for file in files:
        file.write_bytes(b"not an image")
    as_process(1, of=2)
    source = Batches(Folder(tmp_path, tuple(files), torch.zeros(4).long(), 8, 1), Grey, 4, "cpu", shared=True)
    with pytest.raises(DataError, match=r"1\.png and all other images of its batch are unreadable"):
        list(source)


# --- devices in a spec ---


def test_a_single_process_is_the_default_and_needs_no_communication():
    assert spec.loads("").devices.count == 1
    tensor, network = torch.ones(3), torch.nn.Linear(2, 2)
    distributed.sum_(tensor)
    assert tensor.tolist() == [1, 1, 1]
    assert (distributed.world(), distributed.is_first()) == (1, True)
    assert (distributed.totals([3]), distributed.broadcast(4), distributed.gather(5)) == ([3], 4, [5])
    assert distributed.weighted(tensor, 3) is tensor
    with distributed.data_parallel(network, torch.device("cpu")) as same:
        assert same is network


@pytest.mark.parametrize(
    ("devices", "text", "message"),
    [(0, "[devices]\ncount = 2", "devices.count = 2: this machine has 0 CUDA devices"),
     (1, "[devices]\ncount = 2", "devices.count = 2: this machine has 1 CUDA device"),
     (8, "[devices]\ncount = 9", "devices.count = 9: this machine has 8 CUDA devices"),
     (8, "[devices]\ncount = 8\n[retrain]\nbatch_size = 15",
      "retrain.batch_size = 15: 8 devices split a batch and need 16")],
)  # fmt: skip
def test_too_many_devices_or_too_small_batches_are_refused(monkeypatch, devices, text, message):
    monkeypatch.setattr(devices_module, "resolve", lambda name: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    with pytest.raises(SpecError) as error:
        devices_of(spec.loads(text))
    assert str(error.value) == message


def test_a_run_gets_one_gpu_per_process_or_the_cpu(monkeypatch):
    assert devices_of(spec.loads('device = "cpu"\n[devices]\ncount = 3')) == ["cpu"]
    monkeypatch.setattr(devices_module, "resolve", lambda name: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert devices_of(spec.loads("[devices]\ncount = 3")) == ["cuda:0", "cuda:1", "cuda:2"]


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_a_single_device_cannot_run_several_processes(device):
    with pytest.raises(SpecError, match=f"'{device}' is a single device; devices.count = 2 needs auto, cuda or cpu"):
        spec.loads(f'device = "{device}"\n[devices]\ncount = 2')


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"base": {"batch_size": 5}}, "base.batch_size = 5: 3 devices split a batch and need 6"),
     ({"profile": {"examples": 4}}, "profile.examples: 4 examples are too few for 3 processes; use at least 6")],
)  # fmt: skip
def test_too_few_examples_for_all_processes_are_refused(as_process, make_spec, changes, message):
    as_process(0, of=3)

    class Enough:
        train = validation = test = range(6)

    check_shares(make_spec(), Enough)
    with pytest.raises(SpecError) as error:
        check_shares(make_spec(**changes), Enough)
    assert str(error.value) == message
    Enough.test = range(5)
    with pytest.raises(SpecError, match="the test split: 5 examples are too few for 3 processes; use at least 6"):
        check_shares(make_spec(), Enough)


def test_on_cuda_batchnorm_is_synchronised_during_training(as_process, monkeypatch):
    """Checks the module's type and tensors only: the computation of SyncBatchNorm is PyTorch's."""
    as_process(1, of=2)
    monkeypatch.setattr(distributed, "DistributedDataParallel", lambda network, device_ids: network)
    norm = torch.nn.BatchNorm2d(3, eps=0.25, momentum=0.5)
    network = torch.nn.Sequential(torch.nn.Sequential(norm, torch.nn.ReLU()), norm).eval()
    names = list(network.state_dict())
    with distributed.data_parallel(network, torch.device("cuda", 0)) as parallel:
        parallel.train()
        synced = network[1]
        assert type(synced) is torch.nn.SyncBatchNorm
        assert (synced is network[0][0], synced.eps, synced.momentum) == (True, 0.25, 0.5)
        assert synced.weight is norm.weight
        assert synced.running_var is norm.running_var
        assert list(network.state_dict()) == names
    assert network[0][0] is network[1] is norm
    assert norm.training


class Failure:
    def __init__(self, exitcode: int, message: str = ""):
        self.exitcode, self.message, self.error_file_data = exitcode, message, {"message": message}

    def signal_name(self) -> str:
        return signal.Signals(-self.exitcode).name


@pytest.mark.parametrize(
    ("failures", "reason"),
    [({0: Failure(1, torchrun.LOST), 1: Failure(-9)}, "process 1 of 2 was killed by SIGKILL: out of memory?"),
     ({0: Failure(-15), 1: Failure(1, "no such file")}, "no such file"),
     ({0: Failure(1, "no such layer"), 1: Failure(1, "no such layer")}, "no such layer"),
     ({1: Failure(3)}, "process 1 of 2 exited with code 3 without a message; see the log")],
)  # fmt: skip
def test_the_reason_comes_from_the_process_that_caused_the_failure(failures, reason):
    assert torchrun._first_reason(failures, 2) == reason


# --- two processes on one CPU ---


@pytest.fixture(scope="module")
def two(make_spec, tmp_path_factory) -> tuple[list[dict], Path, Path]:
    """The results of each of two torchrun processes, and the two runs that they executed."""
    out = tmp_path_factory.mktemp("two")
    asked = make_spec(devices={"count": 2})
    whole, stopped = (control.prepare_run(asked, out / "runs") for _ in range(2))
    here = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    script = [str(ROOT / "tests/trimcore/compute/in_processes.py"), str(out), str(whole), str(stopped)]
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *here, *script], cwd=ROOT, capture_output=True, text=True,
        timeout=200, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": torchrun.LOOPBACK},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return [torch.load(out / f"{rank}.pt", weights_only=False) for rank in (0, 1)], whole, stopped


@pytest.fixture(scope="module")
def single() -> dict:
    with in_float32():
        return measured()


@pytest.mark.parametrize("key", ["zeros", "totals", "near", "examples", "relevance", "correct", "per class"])
def test_counts_equal_those_of_a_single_process(two, single, key):
    for found in two[0]:
        assert str(found[key]) == str(single[key])
        for mine, other in zip(found[key], single[key], strict=True):
            assert not isinstance(mine, torch.Tensor) or torch.equal(mine, other)
    assert single["examples"] == [67, 67]
    assert single["relevance"][0][1] == 101


def test_sums_and_weights_equal_those_of_a_single_process_up_to_rounding(two, single):
    """Two epochs of four steps in float32, without dropout and BatchNorm. Both add the same numbers in another order,
    which costs a few units of the 24th bit per step. A wrong weight for a part would change the third digit."""
    for found in two[0]:
        for key in ("means", "taylor", "weights"):
            for mine, other in zip(found[key], single[key], strict=True):
                torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
        assert found["loss"] == pytest.approx(single["loss"], rel=1e-5)
        for (steps, loss, accuracy), own in zip(found["epochs"], single["epochs"], strict=True):
            assert (steps, accuracy) == (own[0], own[2])
            assert loss == pytest.approx(own[1], rel=1e-4)
    assert single["epochs"][0][0] == 4


def test_both_processes_are_bit_identical(two):
    first, second = two[0]
    for key in ("means", "taylor", "weights"):
        assert all(torch.equal(*pair) for pair in zip(first[key], second[key], strict=True))
    assert (first["loss"], first["epochs"]) == (second["loss"], second["epochs"])


def test_processes_exchange_values(two):
    for found in two[0]:
        assert (found["sum"], found["ints"], found["first"]) == ([3, 20], [1, 14], 40)
        assert found["all"] == ["process 0", "process 1"]
        assert found["diverged"] == "the weights of the 2 processes have diverged; the run cannot continue"
        assert (found["norm"], found["local batchnorm"]) == ("BatchNorm2d", True)


def test_only_the_first_process_writes_the_run(two):
    found, whole, _ = two
    events = list(runs.read_events(whole))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["kind"] for event in events]
    after = ["epoch", "profiled", "iteration"]
    assert kinds == ["started", "epoch", *after, *["pruned", "initial", *after] * 2, "ended"]
    assert events[0]["device"].endswith("2 processes")
    assert [e["examples"] for e in events if e["kind"] == "profiled"] == [20] * 3
    status = read_json(whole / "status.json")
    assert status["outcome"] == {"state": "finished", "reason": "all steps are done"}
    assert len({process["pid"] for process in status["processes"]}) == 2
    assert found[0]["outcomes"] == found[1]["outcomes"]


def test_a_stop_request_ends_both_processes_and_the_run_resumes_exactly(two, csvs_of):
    found, whole, stopped = two
    assert [outcome["state"] for outcome in found[1]["outcomes"]] == ["finished", "stopped", "finished"]
    assert (found[0]["shown"] > 0, found[1]["shown"]) == (True, 0)
    numbers = [event["seq"] for event in runs.read_events(stopped)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert csvs_of(stopped) == csvs_of(whole)


# --- under a supervisor ---


@pytest.fixture
def on_two_devices(runs_folder) -> Path:
    """The folder of a run that uses two devices."""
    folder = runs.create(runs_folder, "lenet5", "")
    runs.update_status(folder, device_key="cuda:0", more_devices=["cuda:1"], queued_at=1.0)
    return folder


def is_free(runs_folder: Path, device: str, role: str) -> bool:
    try:
        with FileLock(lock_path(runs_folder, device, role)).acquire(timeout=0):
            return True
    except Timeout:
        return False


def test_a_run_holds_all_its_devices(on_two_devices, runs_folder):
    places = [(device, "trainer") for device in ("cuda:0", "cuda:1", "cuda:2")]
    with worker._device_locks(on_two_devices):
        assert [is_free(runs_folder, *place) for place in places] == [False, False, True]
    assert all(is_free(runs_folder, *place) for place in places)


def test_a_run_holds_no_device_while_it_waits_for_another(on_two_devices, runs_folder, monkeypatch):
    free = []

    def wait(seconds: float) -> None:
        free.append(is_free(runs_folder, "cuda:0", "turn"))
        runs.request(on_two_devices, "stop")

    monkeypatch.setattr(supervisor.time, "sleep", wait)
    with FileLock(lock_path(runs_folder, "cuda:1", "turn")):
        assert supervisor.supervise(on_two_devices)["state"] == "stopped"
    assert free == [True]


def test_the_run_queued_first_for_any_shared_device_goes_first(on_two_devices, runs_folder):
    later = runs.create(runs_folder, "lenet5", "")
    runs.update_status(on_two_devices, state="queued", supervisor=processes.identity())
    for device, ahead in (("cuda:1", [on_two_devices.name]), ("cuda:2", [])):
        runs.update_status(later, device_key=device, queued_at=2.0, state="queued")
        found = queue.ahead(queue.entry_of(later), queue.waiting(runs_folder))
        assert [entry.run_id for entry in found] == ahead
        assert queue.is_next(later) == (not ahead)


def test_processes_that_outlive_the_trainer_are_killed(on_two_devices):
    left = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    runs.update_status(on_two_devices, processes=[processes.identity(left.pid)])
    trainer = subprocess.Popen(["true"], start_new_session=True)
    assert supervisor._wait_for_trainer(on_two_devices, trainer) == 0
    assert left.wait(10) == -signal.SIGKILL


def test_the_run_fails_if_a_process_dies(make_spec, runs_folder, eventually):
    asked = make_spec(devices={"count": 2}, base={"epochs": 100_000})
    run_id = control.launch(asked, runs_folder)
    folder = runs_folder / run_id
    eventually(lambda: any(event["kind"] == "epoch" for event in runs.read_events(folder)))
    status = read_json(folder / "status.json")
    assert status["trainer"] == status["processes"][0]
    os.kill(status["processes"][1]["pid"], signal.SIGKILL)
    ended = control.wait_for(runs_folder, run_id, lambda s: not s.active, 100)
    assert (ended.state, ended.reason) == ("failed", "process 1 of 2 was killed by SIGKILL: out of memory?")
    eventually(lambda: not any(processes.is_alive(process) for process in [status["supervisor"], *status["processes"]]))
