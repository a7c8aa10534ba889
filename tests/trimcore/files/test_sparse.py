"""Sparse files: encoding checked against a loop and by hand, bytes on disk, and one-line errors for damage."""

import json
import math
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from trimcore import models
from trimcore.errors import CheckpointError
from trimcore.files import sparse, weights
from trimcore.files.checkpoint import FORMAT, Checkpoint, load, load_weights, save_safetensors, widths_of
from trimcore.files.export import export
from trimcore.files.sparse import DTYPES, decode, encode, packed, sizes, unpacked
from trimcore.files.weights import write_safetensors, write_sparse
from trimcore.surgery.magnitude import choose_weights, hold, prunable

LENET = {"num_classes": 10, "in_channels": 1, "image_size": 28}
RUNS = st.one_of(st.integers(0, 9), st.integers(250, 260), st.integers(505, 520), st.integers(760, 770))
VALUES = st.sampled_from([1.0, -2.5, 0.125, math.inf, -math.inf, math.nan])
ODD_NAMES = ["fc1.weight", "é\u2028", "\U0001f600" * 9, '"\\"' * 20, "\n\x01" * 30, "", "x" * 300, "a.gaps", "a"]


def in_a_loop(numbers: list[float]) -> tuple[list[float], list[int]]:
    """The encoding by definition: store each value, and a zero after 255 zeros or at the end."""
    values, gaps, passed = [], [], 0
    for i, number in enumerate(numbers):
        if number != 0 or passed == 255 or i == len(numbers) - 1:
            values.append(number)
            gaps.append(passed)
            passed = 0
        else:
            passed += 1
    return values, gaps


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether dtype, shape and values are equal, with NaN equal to NaN."""
    numbers = [tensor.where(~tensor.isnan(), 7.5) for tensor in (a, b)]
    return a.dtype == b.dtype and torch.equal(a.isnan(), b.isnan()) and torch.equal(*numbers)


def sparse_lenet(share: float = 0.95) -> Checkpoint:
    torch.manual_seed(0)
    model = models.build("lenet5", **LENET)
    masks, _ = choose_weights(model, dict.fromkeys(prunable(model), ("sparsity", share)))
    hold(model, masks)
    return Checkpoint("lenet5", LENET, widths_of(model), model.state_dict(), iteration=3, sparse=["fc1"])


# --- encoding ---


def test_a_small_tensor_is_encoded_and_decoded():
    values, gaps = encode(torch.tensor([[0.0, 0.0, 5.0], [7.0, -0.0, 0.0]]))
    assert (values.tolist(), gaps.tolist()) == ([5.0, 7.0, 0.0], [2, 0, 1])
    assert (values.dtype, gaps.dtype) == (torch.float32, torch.uint8)
    assert decode(values, gaps, (2, 3)).tolist() == [[0.0, 0.0, 5.0], [7.0, 0.0, 0.0]]


@pytest.mark.parametrize("zeros", [0, 1, 254, 255, 256, 257, 510, 511, 512, 513, 767, 768, 769])
def test_long_gaps_are_bridged_by_stored_zeros(zeros):
    values, gaps = encode(torch.tensor([0.0] * zeros + [3.0]))
    assert values.tolist() == [0.0] * (zeros // 256) + [3.0]
    assert gaps.tolist() == [255] * (zeros // 256) + [zeros % 256]
    assert decode(values, gaps, [zeros + 1]).tolist() == [0.0] * zeros + [3.0]
    for numbers in ([3.0] + [0.0] * zeros, [0.0] * zeros):  # up to the last position, which is always stored
        values, gaps = encode(torch.tensor(numbers))
        assert (values.tolist(), gaps.tolist()) == in_a_loop(numbers)
        assert decode(values, gaps, [len(numbers)]).tolist() == numbers


@settings(deadline=None)
@given(st.lists(st.tuples(RUNS, VALUES), max_size=6), RUNS, st.sampled_from(DTYPES))
def test_encoding_matches_the_loop_and_decodes_to_the_same(runs, trailing, dtype):
    numbers = [n for zeros, value in runs for n in [0.0] * zeros + [value]] + [0.0] * trailing
    tensor = torch.tensor(numbers, dtype=dtype)
    values, gaps = encode(tensor)
    wanted, passed = in_a_loop(numbers)
    assert gaps.tolist() == passed
    assert same(values, torch.tensor(wanted, dtype=dtype))
    assert len(numbers) == len(gaps) + sum(passed) <= 256 * len(gaps)
    for shape in ([len(numbers)], [1, len(numbers), 1]):
        assert same(decode(values, gaps, shape), tensor.reshape(shape))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4, 5)])
@pytest.mark.parametrize("fill", [0.0, 2.0])
def test_any_shape_survives_a_round_trip(shape, fill):
    tensor = torch.full(shape, fill)
    values, gaps = encode(tensor)
    assert same(decode(values, gaps, tensor.shape), tensor)


def test_strides_do_not_matter():
    tensor = torch.relu(torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(0)))
    for other in (tensor.to(memory_format=torch.channels_last), tensor.transpose(0, 1), tensor[::2, 1:, :, ::2]):
        assert not other.is_contiguous()
        assert same(decode(*encode(other), other.shape), other)
    trained = tensor.clone().requires_grad_()
    assert same(decode(*encode(trained), tensor.shape), tensor)


FOUR, GAPS = torch.ones(4), torch.tensor([1, 0, 2, 0], dtype=torch.uint8)  # together they cover 7


@pytest.mark.parametrize(
    ("values", "gaps", "shape", "message"),
    [
        (FOUR, GAPS, [8], "the gaps of sparse tensor 'w' cover 7 weights, but its shape has 8"),
        (FOUR, GAPS, [6], "cover 7 weights, but its shape has 6"),
        (FOUR, GAPS, [7, 0], "cover 7 weights, but its shape has 0"),
        (FOUR, GAPS, [2**30], "its shape has 1073741824"),
        (FOUR, GAPS, [2**30] * 32, "weights"),
        (FOUR[:0], GAPS[:0], [], "cover 0 weights, but its shape has 1"),
        (FOUR, GAPS, [-7], "the shape of sparse tensor 'w' is not a list of valid sizes"),
        (FOUR, GAPS, [-1, -7], "is not a list of valid sizes"),
        (FOUR, GAPS, [2**63], "is not a list of valid sizes"),
        (FOUR, GAPS, [7.0], "is not a list of valid sizes"),
        (FOUR, GAPS, ["7"], "is not a list of valid sizes"),
        (FOUR, GAPS, [True, 7], "is not a list of valid sizes"),
        (FOUR, GAPS, [7] + [1] * 32, "is not a list of valid sizes"),
        (FOUR[:3], GAPS, [7], r"values and gaps torch.float32 \(3,\) and torch.uint8 \(4,\), not floats and uint8"),
        (FOUR, GAPS.float(), [7], "not floats and uint8 of one length"),
        (FOUR, GAPS.to(torch.int8), [7], "not floats and uint8 of one length"),
        (FOUR.to(torch.complex64), GAPS, [7], "not floats and uint8 of one length"),
        (FOUR.long(), GAPS, [7], "not floats and uint8 of one length"),
        (FOUR.reshape(2, 2), GAPS.reshape(2, 2), [7], "not floats and uint8 of one length"),
        (FOUR[0], GAPS[0], [2], "not floats and uint8 of one length"),
    ],
)
def test_inconsistent_parts_are_refused(values, gaps, shape, message):
    for ask in (
        lambda: decode(values, gaps, shape, "w"),
        lambda: unpacked({"w.values": values, "w.gaps": gaps, "b": FOUR}, {"w": shape}),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)


# --- choice of tensors ---


def test_only_tensors_that_become_smaller_are_encoded():
    def share(zeros: float, dtype=torch.float32, size=10_000) -> torch.Tensor:
        return (torch.arange(size) >= zeros * size).to(dtype)

    state = {
        "most": share(0.9), "some": share(0.3), "few": share(0.1), "none": share(0.0), "small": share(0.9, size=100),
        "half": share(0.4, torch.float16), "a third": share(0.3, torch.bfloat16), "wide": share(0.15, torch.float64),
        "number": share(0.9, torch.int64), "flag": share(0.9, torch.bool), "nothing": torch.zeros(0),
        "one": torch.tensor(0), "zeros": torch.zeros(50, 40),
    }  # fmt: skip
    tensors, shapes = packed(state)
    # An entry takes one byte more than a value: 5 instead of 4, 3 instead of 2, 9 instead of 8.
    assert shapes == {name: [10_000] for name in ("most", "some", "half", "wide")} | {"zeros": [50, 40]}
    assert set(tensors) == (set(state) - set(shapes)) | {n + end for n in shapes for end in (".values", ".gaps")}
    for name, shape in shapes.items():
        pair = tensors[name + ".values"].nbytes + tensors[name + ".gaps"].nbytes
        assert pair < state[name].nbytes
        assert math.prod(shape) == state[name].numel()
    found = unpacked(tensors, shapes)
    assert set(found) == set(state)
    assert all(found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) for name, tensor in state.items())
    assert torch.equal(state["most"], share(0.9))


def test_tensors_whose_encoded_names_are_taken_stay_dense():
    state = {name: torch.zeros(2000) for name in ("a", "a.gaps", "a.gaps.values", "b")}
    tensors, shapes = packed(state)
    assert list(shapes) == ["a.gaps.values", "b"]
    found = unpacked(tensors, shapes)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_sparse_tensors_have_a_size_limit(tmp_path, monkeypatch):
    """At most MAX_SIZE weights are encoded, and a file that claims more is refused before anything is allocated."""
    monkeypatch.setattr(sparse, "MAX_SIZE", 5000)
    state = {"a": torch.zeros(3000), "b": torch.zeros(3000), "c": torch.zeros(2000)}
    tensors, shapes = packed(state)
    assert shapes == {"a": [3000], "c": [2000]}
    assert unpacked(tensors, shapes).keys() == state.keys()
    write_sparse({}, {"a": torch.zeros(4000)}, tmp_path / "a")
    monkeypatch.setattr(sparse, "MAX_SIZE", 3999)
    with pytest.raises(CheckpointError, match="'a' is not a list of valid sizes"):
        weights.read(tmp_path / "a")
    with pytest.raises(CheckpointError, match="its sparse tensors have 5000 weights, more than 3999"):
        unpacked(tensors, shapes)


# --- files ---


def test_the_file_has_the_expected_bytes(tmp_path):
    """1,000 weights, two of them non-zero: 255 zeros, 3, 600 zeros, -2, and 143 zeros."""
    tensor = torch.zeros(10, 100)
    tensor.view(-1)[255], tensor.view(-1)[856] = 3.0, -2.0
    write_sparse({"model": "mine"}, {"w": tensor}, tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    assert header.pop("__metadata__") == {"model": '"mine"', "sparse_shapes": '{"w":[10,100]}'}
    assert header == {
        "w.values": {"dtype": "F32", "shape": [5], "data_offsets": [0, 20]},
        "w.gaps": {"dtype": "U8", "shape": [5], "data_offsets": [20, 25]},
    }
    assert data == struct.pack("<5f", 3.0, 0.0, 0.0, -2.0, 0.0) + bytes([255, 255, 255, 88, 142])
    assert torch.equal(weights.read(tmp_path / "a")["w"], tensor)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from(ODD_NAMES) | st.text(max_size=8).filter(lambda n: n != "__metadata__"),
                       st.tuples(st.sampled_from([(), (9,), (150, 2), (40, 40), (6000,)]), st.floats(0, 1),
                                 st.sampled_from(DTYPES)), min_size=1, max_size=4), st.booleans())  # fmt: skip
def test_sizes_match_the_files(tmp_path_factory, wanted, with_entries):
    folder = tmp_path_factory.mktemp("files")
    random = torch.Generator().manual_seed(0)
    state = {
        name: (torch.rand(shape, generator=random) < share).to(dtype) for name, (shape, share, dtype) in wanted.items()
    }
    entries = {"model": "résumé", "widths": {"a": 3}} if with_entries else {}
    write_safetensors(entries, state, folder / "dense")
    write_sparse(entries, state, folder / "sparse")
    dense, sparse = (folder / "dense").stat().st_size, (folder / "sparse").stat().st_size
    assert sizes(state, entries) == (dense, sparse)
    assert (sparse < dense) == bool(packed(state)[1])
    assert sparse <= dense
    found = weights.read(folder / "sparse")
    assert found.keys() == state.keys()
    assert all(same(found[name], tensor) for name, tensor in state.items())


def test_sparse_storage_changes_nothing_without_zeros(tmp_path):
    torch.manual_seed(0)
    state = {"w": torch.rand(100, 30) + 1, "steps": torch.tensor(0)}
    dense, sparse = sizes(state, {"model": "mine"})
    write_safetensors({"model": "mine"}, state, tmp_path / "a")
    write_sparse({"model": "mine"}, state, tmp_path / "b")
    assert dense == sparse == (tmp_path / "a").stat().st_size
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_a_sparse_checkpoint_is_read_like_any_other(tmp_path):
    made = sparse_lenet()
    file = tmp_path / "a.sparse.safetensors"
    assert export(made, "sparse", file) == 0
    save_safetensors(made, tmp_path / "dense.safetensors")
    for found in (load(file), load_weights(file, "lenet5", LENET)):
        assert found.entries == made.entries
        assert found.state.keys() == made.state.keys()
        assert all(torch.equal(found.state[name], tensor) for name, tensor in made.state.items())
    dense, sparse = (path.stat().st_size for path in (tmp_path / "dense.safetensors", file))
    assert sizes(made.state, {"format": FORMAT, **made.entries}) == (dense, sparse)
    # 430,500 weights, 5 % of them at 5 bytes; 580 biases at 4 bytes.
    assert sparse == pytest.approx(430_500 * 0.05 * 5 + 580 * 4, abs=3000)
    assert dense / sparse > 14


def test_sparse_weights_without_entries_are_read(tmp_path):
    made = sparse_lenet()
    write_sparse({}, made.state, tmp_path / "a.safetensors")
    found = load_weights(tmp_path / "a.safetensors", "lenet5", LENET)
    assert all(torch.equal(found.state[name], tensor) for name, tensor in made.state.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: m.update(sparse_shapes="{"), "the metadata of '.*' is not JSON"),
        (lambda t, m: m.update(sparse_shapes="[" * 100_000), "the metadata of '.*' is not JSON"),
        (lambda t, m: m.update(sparse_shapes="[1]"), "is damaged: its entry 'sparse_shapes' is a list, not"),
        (lambda t, m: m.update(sparse_shapes="null"), "is a NoneType, not shapes by name"),
        (lambda t, m: m.update(sparse_shapes='{"w":null}'), "sparse tensor 'w' is not a list of valid sizes"),
        (lambda t, m: m.update(sparse_shapes='{"w":{"2000":1}}'), "sparse tensor 'w' is not a list of valid sizes"),
        (lambda t, m: m.update(sparse_shapes='{"w":[NaN]}'), "sparse tensor 'w' is not a list of valid sizes"),
        (lambda t, m: m.update(sparse_shapes='{"w":[1e3]}'), "sparse tensor 'w' is not a list of valid sizes"),
        (lambda t, m: m.update(sparse_shapes=f'{{"w":[{"9" * 5000}]}}'), "the metadata of '.*' is not JSON"),
        (lambda t, m: m.update(sparse_shapes='{"w":[2001]}'), "cover 2000 weights, but its shape has 2001"),
        (lambda t, m: m.update(sparse_shapes='{"w":[2000],"v\\n":[1]}'), r"it lacks 'v\\n.values' of sparse tensor"),
        (lambda t, m: m.update(sparse_shapes='{"w":[536870912],"v":[536870913]}'), "have 1073741825 weights"),
        (lambda t, m: t.pop("w.gaps"), "it lacks 'w.gaps' of sparse tensor 'w'"),
        (lambda t, m: t.update(w=torch.ones(2)), "it contains tensor 'w' twice, sparse and dense"),
        (lambda t, m: t["w.gaps"].add_(1), "weights, but its shape has 2000"),
        (lambda t, m: t.update({"w.values": t["w.values"].int()}), "not floats and uint8 of one length"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, change, message):
    tensors, shapes = packed({"w": torch.arange(2000.0).relu().fmod(5).eq(0).float(), "b": torch.ones(3)})
    metadata = {"sparse_shapes": json.dumps(shapes)}
    assert shapes == {"w": [2000]}
    change(tensors, metadata)
    save_file(tensors, tmp_path / "a", metadata)
    with pytest.raises(CheckpointError, match=message) as caught:
        weights.read(tmp_path / "a")
    assert str(tmp_path / "a") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_any_changed_or_missing_byte_of_the_gaps_is_detected(tmp_path):
    write_sparse({}, {"w": torch.eye(40)}, tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    gaps = len(encode(torch.eye(40))[1])
    for i in range(len(content) - gaps, len(content)):
        (tmp_path / "b").write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        with pytest.raises(CheckpointError, match="cover"):
            weights.read(tmp_path / "b")
        (tmp_path / "b").write_bytes(content[:i])
        with pytest.raises(CheckpointError, match="is not a safetensors file"):
            weights.read(tmp_path / "b")
