"""Mismatches compared with a brute-force definition, and hints checked by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trimcore.files.mismatch import Form, Mismatch, advice, mismatches, summary
from trimcore.files.wrapping import unwrapped

ARGUMENTS = {"num_classes": 10, "in_channels": 3, "image_size": 32}
F32, REAL = torch.float32, {torch.float32, torch.bfloat16}


def on_meta(*shape: int, dtype: torch.dtype = F32) -> Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


# --- comparison

tensors = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(
        lambda shape, dtype: on_meta(*shape, dtype=dtype),
        st.lists(st.integers(0, 3), max_size=3),
        st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.complex64]),
    ),
)
free = st.dictionaries(st.sampled_from("abcd"), st.sets(st.integers(0, 2)))


@given(tensors, tensors, free)
def test_problems_match_their_definition(wanted, state, free):
    found = mismatches(wanted, state, free)
    assert len({m.name for m in found}) == len(found)
    problems = {m.name: m.problem for m in found}
    for name in "abcd":
        assert problems.get(name) == problem(wanted.get(name), state.get(name), free.get(name, set()))
    for m in found:
        assert (m.in_file is None, m.in_model is None) == (m.name not in state, m.name not in wanted)
        assert m.in_file is None or m.in_file == Form(tuple(state[m.name].shape), state[m.name].dtype)
        assert m.in_model is None or m.in_model == Form(tuple(wanted[m.name].shape), wanted[m.name].dtype)


def problem(wanted: Tensor | None, held: Tensor | None, free: set[int]) -> str | None:
    if wanted is None:
        return None if held is None else "extra"
    if held is None:
        return "missing"
    if held.dim() != wanted.dim():
        return "shape"
    for axis in range(held.dim()):
        allowed = {wanted.shape[axis]} | (set(range(1, wanted.shape[axis])) if axis in free else set())
        if held.shape[axis] not in allowed:
            return "shape"
    return None if held.dtype == wanted.dtype or {held.dtype, wanted.dtype} <= REAL else "dtype"


def test_wrong_tensors_come_before_missing_and_extra_ones():
    wanted = {"a": on_meta(2), "b": on_meta(3), "c": on_meta(4)}
    state = {"x": on_meta(1), "c": on_meta(5), "b": on_meta(3, dtype=torch.int8)}
    assert mismatches(wanted, state, {}) == [
        Mismatch("b", "dtype", Form((3,), torch.int8), Form((3,), F32)),
        Mismatch("c", "shape", Form((5,), F32), Form((4,), F32)),
        Mismatch("a", "missing", None, Form((2,), F32)),
        Mismatch("x", "extra", Form((1,), F32), None),
    ]


# --- messages


def shape(name: str, held: tuple, model: tuple) -> Mismatch:
    return Mismatch(name, "shape", Form(held, F32), Form(model, F32))


MISSING, EXTRA = Mismatch("a.weight", "missing", None, Form((), F32)), Mismatch("b", "extra", Form((1,), F32), None)
ADVICE = {
    "another architecture": ([MISSING, EXTRA], "names belong to another architecture"),
    "a part": ([MISSING], "only part of this model"),
    "more": ([EXTRA], "more than this model"),
    "quantised": ([Mismatch("a", "dtype", Form((1,), torch.int8), Form((1,), F32))], "must be floating point"),
    "classes": (
        [shape("fc.weight", (1000, 512), (10, 512)), shape("fc.bias", (1000,), (10,))],
        "the last layer has 1000 outputs, but the data have 10 classes",
    ),
    "classes of a trimmed network": (
        [shape("fc.weight", (7, 33), (10, 512)), shape("fc.bias", (7,), (10,))],
        "the last layer has 7 outputs, but the data have 10 classes",
    ),
    "channels": (
        [shape("conv1.weight", (64, 1, 7, 7), (64, 3, 7, 7))], "the first layer takes 1 channels, but the data have 3",
    ),
    "channels of a trimmed network": (
        [shape("conv1.weight", (9, 4, 7, 7), (64, 3, 7, 7))], "the first layer takes 4 channels, but the data have 3",
    ),
    "kernel": ([shape("conv1.weight", (64, 1, 5, 5), (64, 3, 7, 7))], "another variant"),
    "classes and more": (
        [shape("fc.weight", (1000, 512), (10, 512)), shape("conv.weight", (9, 9, 3, 3), (8, 8, 3, 3))],
        "another variant",
    ),
    "wider": ([shape("fc.weight", (10, 600), (10, 512))], "another variant"),
    "axes": ([shape("fc.weight", (1000, 512, 1, 1), (10, 512))], "another variant"),
}  # fmt: skip


@pytest.mark.parametrize(("found", "words"), ADVICE.values(), ids=ADVICE)
def test_the_hint_suits_the_mismatches(found, words):
    assert words in advice(found, ARGUMENTS)


def test_the_summary_counts_and_names_the_first():
    assert summary([shape("w", (2, 3), (1, 3)), MISSING, MISSING, EXTRA], ARGUMENTS) == (
        "1 of another shape, 2 missing, 1 extra (first: 'w' is 2 × 3, float32 in the file, 1 × 3, float32 in the "
        "model); the names belong to another architecture or a variant of this one"
    )
    assert str(MISSING.in_model) == "one number, float32"


# --- wrapped state dicts


def test_a_prefix_that_the_model_also_has_is_kept():
    state = {"module.a": 1, "module.b": 2}
    assert unwrapped(state, {"module.a", "module.b"}) == (state, [])
    assert unwrapped(state, {"module.a", "module.c"}) == (state, [])


def test_only_the_necessary_prefix_is_removed():
    found, done = unwrapped({"net.net.a": 1, "net.net.b": 2}, {"net.a", "net.b"})
    assert (found, done) == ({"net.a": 1, "net.b": 2}, ["without the prefix 'net.'"])


def test_names_of_another_architecture_are_unchanged():
    state = {"features.0.weight": 1, "features.0.bias": 2}
    assert unwrapped(state, {"conv1.weight", "conv1.bias"}) == (state, [])
    assert unwrapped({}, {"conv1.weight"}) == ({}, [])


def test_the_prefix_of_compiled_submodules_is_removed():
    found, done = unwrapped({"a._orig_mod.weight": 1, "b.weight": 2}, {"a.weight", "b.weight"})
    assert (found, done) == ({"a.weight": 1, "b.weight": 2}, ["without the prefix '_orig_mod.'"])


def test_a_prefix_is_kept_if_names_would_collide():
    state = {"_orig_mod.a": 1, "a": 2}
    assert unwrapped(state, {"a"}) == (state, [])


def test_names_that_are_not_strings_are_unchanged():
    assert unwrapped({1: 2, "a": 3}, {"a"}) == ({1: 2, "a": 3}, [])


@given(st.sets(st.from_regex(r"[a-c](\.[a-c]){0,3}", fullmatch=True), min_size=1), st.sampled_from(
    ["module.", "model.", "a.b.", "_orig_mod.", "module._orig_mod."]))  # fmt: skip
def test_any_common_prefix_is_found(names, prefix):
    found, _ = unwrapped({prefix + name: name for name in names}, names)
    wrapped = {prefix + name for name in names}
    best = max(len(wrapped & names), sum(name in names for name in found))
    assert sum(name in names for name in found) == best
    if not wrapped & names:
        assert found == {name: name for name in names}
