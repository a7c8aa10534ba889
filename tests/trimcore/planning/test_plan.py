"""Rules checked by hand and against their definitions; plans and how they can be edited."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimcore.errors import SpecError
from trimcore.planning.choice import choose, choose_in_units
from trimcore.planning.plan import LayerPlan, Plan, plan, plan_within_units
from trimcore.scoring.apoz import LayerProfile, Profile
from trimcore.scoring.relevance import UnitRelevance
from trimcore.spec.rules import (
    RULES,
    Absolute,
    Count,
    Fraction,
    Keep,
    LeastRelevant,
    MeanPlusStd,
    TimesSmaller,
    make_rule,
    rule_name,
)

SCORES = torch.tensor([0.5, 0.9, 0.1, 0.9, 0.6], dtype=torch.float64)
# mean 0.6, variance (0.01 + 0.09 + 0.25 + 0.09 + 0) / 5 = 0.088, standard deviation 0.2966

BY_HAND = [
    (MeanPlusStd(1.0), [1, 3], 0.6 + math.sqrt(0.088)),
    (MeanPlusStd(2.0), [], 0.6 + 2 * math.sqrt(0.088)),
    (MeanPlusStd(-0.5), [0, 1, 3, 4], 0.6 - math.sqrt(0.088) / 2),
    (Absolute(0.5), [1, 3, 4], 0.5),  # 0.5 itself is not above the threshold
    (Absolute(0.9), [], 0.9),
    (Absolute(0.0), [0, 1, 3, 4], 0.0),  # all are above: the lowest stays
    (Fraction(0.2), [1], None),  # on a tie, the lower index is removed
    (Fraction(0.59), [1, 3], None),  # 2.95 rounds down to two
    (Fraction(0.6), [1, 3, 4], None),  # 0.6 * 5 is three despite floating point
    (Fraction(1.0), [0, 1, 3, 4], None),
    (Fraction(0.0), [], None),
    (Count(0), [], None),
    (Count(3), [1, 3, 4], None),
    (Count(99), [0, 1, 3, 4], None),
    (Keep(1), [0, 1, 3, 4], None),
    (Keep(3), [1, 3], None),
    (Keep(5), [], None),
    (Keep(9), [], None),
]


@pytest.mark.parametrize(("rule", "cut", "threshold"), BY_HAND, ids=[str(case[0]) for case in BY_HAND])
def test_rules_by_hand(rule, cut, threshold):
    found, limit = choose(SCORES, rule)
    assert found == cut
    assert limit == (None if threshold is None else pytest.approx(threshold, abs=1e-12))


def test_ties_remove_the_lower_index_and_keep_the_last():
    assert choose(torch.full((4,), 0.7), Absolute(0.5)) == ([0, 1, 2], 0.5)
    assert choose(torch.full((4,), 0.7), Count(2)) == ([0, 1], None)
    assert choose(torch.tensor([1.0]), Absolute(0.0))[0] == []


def test_fractions_are_taken_as_written_in_decimal():
    assert 0.29 * 100 < 29  # in floating point
    assert choose(torch.arange(100), Fraction(0.29))[0] == list(range(71, 100))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_does_not_put_a_score_above_the_mean(dtype):
    for k in range(1001):
        equal = torch.full((3 + k % 50,), k / 1000, dtype=dtype)
        assert choose(equal, MeanPlusStd(0.0))[0] == []
        assert choose(equal * 1e6, MeanPlusStd(0.0))[0] == []
        assert choose(torch.tensor([k / 1000, 1 / 3], dtype=dtype), MeanPlusStd(1.0))[0] == []  # the higher one itself


def test_only_candidates_are_removed():
    assert choose(SCORES, Count(2), candidates=[0, 2, 3]) == ([0, 3], None)
    assert choose(SCORES, MeanPlusStd(1.0), candidates=(4, 3))[0] == [3]  # the threshold covers the whole layer
    assert choose(SCORES, Count(9), candidates=[0, 2]) == ([0, 2], None)  # three others stay anyway
    assert choose(SCORES, Absolute(0.0), candidates=[]) == ([], 0.0)


scores = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(lambda s: torch.tensor(s, dtype=torch.float64))


@given(scores, st.one_of(st.builds(Absolute, st.floats(0, 1)), st.builds(MeanPlusStd, st.floats(-2, 3))))
def test_threshold_rules_remove_the_scores_above(values, rule):
    cut, threshold = choose(values, rule)
    above = {i for i, value in enumerate(values.tolist()) if value > threshold}
    if isinstance(rule, Absolute):
        assert threshold == rule.value
    if len(above) == len(values):
        above.remove(max(i for i in above if values[i] == values.min()))
    assert set(cut) == above
    assert cut == sorted(cut)
    if isinstance(rule, MeanPlusStd):
        mean = math.fsum(values.tolist()) / len(values)
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values.tolist()) / len(values))
        assert threshold == pytest.approx(mean + rule.value * spread, abs=1e-9)


@given(scores, st.integers(0, 100))
def test_fractions_round_down_and_remove_the_highest_scores(values, percent):
    cut, _ = choose(values, Fraction(percent / 100))
    assert len(cut) == min(percent * len(values) // 100, len(values) - 1)
    stay = [values[i].item() for i in range(len(values)) if i not in cut]
    assert all(values[i] >= max(stay) for i in cut)


@given(scores, st.integers(0, 40))
def test_counting_rules_agree(values, number):
    width = len(values)
    assert len(choose(values, Count(number))[0]) == min(number, width - 1)
    assert choose(values, Count(number)) == choose(values, Keep(width - number))
    if number:
        assert len(choose(values, Keep(number))[0]) == max(width - number, 0)


# --- rules by name


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("mean+std", 1, MeanPlusStd(1.0)), ("mean+std", -0.5, MeanPlusStd(-0.5)), ("absolute", 1, Absolute(1.0)),
        ("fraction", 0, Fraction(0.0)), ("count", 3.0, Count(3)), ("count", 0, Count(0)), ("keep", 1, Keep(1)),
        ("smaller", 1.5, TimesSmaller(1.5)), ("smaller", 1_000_000, TimesSmaller(1e6)),
        ("maxout", 2.0, LeastRelevant(2)),
    ],
)  # fmt: skip
def test_rules_are_made_by_name(name, value, rule):
    made = make_rule(name, value)
    assert made == rule
    assert type(made.value) is type(rule.value)
    assert rule_name(made) == name


WRONG = [
    ("magic", 1, "unknown rule 'magic'; expected one of mean+std, absolute, fraction, count, keep"),
    ("absolute", 1.1, "rule 'absolute' takes a value from 0 to 1, not 1.1"),
    ("absolute", -0.1, "takes a value from 0 to 1"),
    ("fraction", 25, "rule 'fraction' takes a value from 0 to 1, not 25"),
    ("count", -1, "rule 'count' takes an integer of at least 0, not -1"),
    ("count", 1.5, "takes an integer of at least 0, not 1.5"),
    ("keep", 0, "rule 'keep' takes an integer of at least 1, not 0"),
    ("smaller", 1, "rule 'smaller' takes a factor above 1 and up to 1,000,000, not 1"),
    ("smaller", 1_000_000.5, "rule 'smaller' takes a factor above 1 and up to 1,000,000, not 1000000.5"),
    *[(name, value, "takes a finite value, not") for name in RULES for value in (math.nan, math.inf)],
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_values_out_of_range_are_refused(name, value, message):
    with pytest.raises(SpecError) as refusal:
        make_rule(name, value)
    assert message in str(refusal.value)


# --- plans


def layer(name: str, zeros: list[int], candidates: tuple[int, ...] | None = None) -> LayerProfile:
    totals = torch.full((len(zeros),), 10)
    return LayerProfile(name, "conv", torch.tensor(zeros), totals, candidates or tuple(range(len(zeros))))


PROFILE = Profile(5, {"a": layer("a", [1, 9, 5]), "b": layer("b", [8, 9, 9, 7], (0, 2, 3)), "c": layer("c", [5, 5])})


def test_one_rule_applies_to_all_layers():
    made = plan(PROFILE, Absolute(0.6))
    assert dict(made) == {"a": (1,), "b": (0, 2, 3), "c": ()}
    assert made.layers["a"] == LayerPlan((1,), "absolute", 0.6)
    assert (made.total, len(made), list(made)) == (4, 3, ["a", "b", "c"])


def test_a_single_layer_can_be_given_by_name():
    profiled = Profile(5, {"fc1": layer("fc1", [1, 9, 5]), "f": layer("f", [1, 2])})
    assert dict(plan(profiled, Count(1), "fc1")) == {"fc1": (1,)}


def test_each_layer_can_have_its_own_rule():
    made = plan(PROFILE, {"b": Keep(2), "a": Fraction(0.4)}, layers=["b", "a"])
    assert dict(made) == {"b": (0, 2), "a": (1,)}
    assert [found.rule for found in made.layers.values()] == ["keep", "fraction"]
    assert [found.threshold for found in made.layers.values()] == [None, None]


def test_the_default_rule_is_the_papers():
    made = plan(PROFILE, layers="a")
    mean, spread = 0.5, math.sqrt((0.16 + 0.16) / 3)
    assert dict(made) == {"a": (1,)}
    assert made.layers["a"].rule == "mean+std"
    assert made.layers["a"].threshold == pytest.approx(mean + spread)


def test_other_scores_replace_apoz():
    ranking = {"a": torch.tensor([3.0, 1, 2]), "c": torch.tensor([0.0, 1])}
    assert dict(plan(PROFILE, Count(1), ["a", "c"], ranking)) == {"a": (0,), "c": (1,)}


def test_neurons_without_an_activation_have_no_apoz():
    unseen = LayerProfile("a", "conv", torch.tensor([0, 4]), torch.tensor([0, 5]), (1,))
    assert unseen.apoz.isnan().tolist() == [True, False]
    assert unseen.apoz[1] == 0.8


NONE = float("nan")


@pytest.mark.parametrize(("rule", "cut", "threshold"), [
    (Count(2), [0, 3], None), (Fraction(0.4), [0, 3], None), (Keep(1), [0, 2, 3], None),
    (Absolute(0.5), [0, 3], 0.5), (MeanPlusStd(0.0), [0, 3], 0.5),
])  # fmt: skip
def test_rules_skip_neurons_without_a_score(rule, cut, threshold):
    """Five neurons, of which the second and the last have no APoZ. They count in the width, but are never removed."""
    scores = torch.tensor([0.9, NONE, 0.0, 0.6, NONE])
    found, limit = choose(scores, rule)
    assert found == cut
    assert limit == (None if threshold is None else pytest.approx(threshold))


def test_a_layer_without_any_score_loses_nothing():
    for rule in (Count(2), Fraction(0.5), Absolute(0.1), MeanPlusStd(-1.0)):
        assert choose(torch.full((4,), NONE), rule)[0] == []


def test_an_unknown_layer_is_refused():
    with pytest.raises(SpecError, match="unknown or untrimmable layer 'd'; trimmable are a, b, c"):
        plan(PROFILE, Count(1), ["a", "d"])


def test_plans_can_be_edited_by_adding_and_sparing():
    made = plan(PROFILE, Absolute(0.6))
    more = made.adding("a", [0, 1]).adding("d", (2, 2))
    assert dict(more) == {"a": (0, 1), "b": (0, 2, 3), "c": (), "d": (2,)}
    assert more.layers["a"] == LayerPlan((0, 1), "absolute", 0.6)
    assert more.layers["d"] == LayerPlan((2,), "manual", None)
    assert dict(more.sparing("b", [2, 3, 1]).sparing("d", [2])) == {"a": (0, 1), "b": (0,), "c": (), "d": ()}
    assert dict(made) == {"a": (1,), "b": (0, 2, 3), "c": ()}  # unchanged
    assert Plan().total == 0
    assert made.adding("b", [1])["b"] == (0, 1, 2, 3)
    assert Plan().sparing("d", [1]).layers == {"d": LayerPlan((), "manual", None)}


def test_plans_can_be_restricted_and_combined():
    made = plan(PROFILE, Absolute(0.6))
    fewer = made.only({"a": [], "b": [3, 0], "c": []})
    assert fewer.layers["b"] == LayerPlan((0, 3), "absolute", 0.6)
    assert dict(fewer) == {"a": (), "b": (0, 3), "c": ()}
    assert dict(made | fewer) == dict(fewer)
    assert dict(plan(PROFILE, Count(1), "b") | plan(PROFILE, Count(1), ["c"])) == {"b": (2,), "c": (0,)}


def test_neurons_profiled_as_a_group_are_removed_together():
    tied = replace(layer("a", [1, 9, 5, 5]), groups=torch.tensor([0, 0, 1, 1]))
    assert dict(plan(Profile(5, {"a": tied}), Count(2))) == {"a": (0, 1)}  # both pairs have 5 on average


# --- maxout units


def units(*counts: list[int]) -> UnitRelevance:
    """Counts over ten examples, in halves of a maximum."""
    return UnitRelevance("fc", torch.tensor(counts), examples=10, positions=1, shares=2)


def test_the_neurons_with_the_highest_scores_of_each_unit_are_removed():
    scores = torch.tensor([0.1, 0.5, 0.4, 0.7, 0.7, 0.2])
    assert choose_in_units(scores, 3) == [1, 3]  # on a tie, the lower index
    assert choose_in_units(scores, 3, 2) == [1, 2, 3, 4]
    assert choose_in_units(scores, 3, 7) == [1, 2, 3, 4]  # one per unit stays
    assert choose_in_units(scores, 2) == [1, 3, 4]


def test_plans_within_units():
    profiled = {"fc1": units([4, 6, 10], [20, 0, 0]), "fc2": units([7, 13], [14, 6])}
    made = plan_within_units(profiled)
    assert made.layers == {"fc1": LayerPlan((0, 4), "maxout"), "fc2": LayerPlan((0, 3), "maxout")}
    assert made.within == {"fc1", "fc2"}
    assert dict(plan_within_units(profiled, 2, "fc1")) == {"fc1": (0, 1, 4, 5)}
    assert dict(plan_within_units(profiled, 1, ["fc2"])) == {"fc2": (0, 3)}
    ranking = {"fc2": torch.tensor([0.0, 1.0, 1.0, 0.0])}
    assert dict(plan_within_units(profiled, 1, ["fc2"], ranking)) == {"fc2": (1, 2)}
    with pytest.raises(SpecError, match="layer 'conv' has no maxout units; layers with units: fc1, fc2"):
        plan_within_units(profiled, 1, ["conv"])
    with pytest.raises(SpecError, match="layer 'conv' has no maxout units; layers with units: none"):
        plan_within_units({}, 1, "conv")


@pytest.mark.parametrize(
    ("rule", "what"), [(LeastRelevant(1), "within maxout units"), (TimesSmaller(2.0), "of all layers")]
)
def test_rules_for_units_or_all_layers_are_refused(rule, what):
    with pytest.raises(SpecError, match=f"rule '{rule_name(rule)}' chooses .*{what}"):
        choose(SCORES, rule)


# --- neurons that can only be removed together


GROUPS = torch.tensor([7, 7, 2, 2, 5, 5])
PAIRED = torch.tensor([0.9, 0.1, 0.4, 0.8, 0.3, 0.3])  # means 0.5, 0.6, 0.3


@pytest.mark.parametrize(
    ("rule", "cut", "threshold"),
    [
        (Count(1), [], None), (Count(2), [2, 3], None), (Count(3), [2, 3], None), (Count(5), [0, 1, 2, 3], None),
        (Count(6), [0, 1, 2, 3], None), (Keep(3), [2, 3], None), (Fraction(0.7), [0, 1, 2, 3], None),
        (Absolute(0.45), [0, 1, 2, 3], 0.45), (Absolute(0.5), [2, 3], 0.5), (Absolute(0.0), [0, 1, 2, 3], 0.0),
    ],
)  # fmt: skip
def test_groups_are_removed_as_a_whole(rule, cut, threshold):
    assert choose(PAIRED, rule, groups=GROUPS) == (cut, threshold)


def test_the_mean_and_deviation_are_of_pooled_scores():
    mean, std = 1.4 / 3, (((0.5 - 1.4 / 3) ** 2 + (0.6 - 1.4 / 3) ** 2 + (0.3 - 1.4 / 3) ** 2) / 3) ** 0.5
    cut, threshold = choose(PAIRED, MeanPlusStd(1.0), groups=GROUPS)
    assert threshold == pytest.approx(mean + std)
    assert cut == [2, 3]


def test_a_group_with_a_frozen_neuron_stays():
    assert choose(PAIRED, Absolute(0.0), candidates=[0, 1, 2, 4, 5], groups=GROUPS) == ([0, 1, 4, 5], 0.0)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=12), st.integers(0, 14))
def test_groups_of_one_change_nothing_and_counts_are_never_exceeded(drawn, number):
    groups, scores = torch.tensor([g for g, _ in drawn]), torch.tensor([s for _, s in drawn], dtype=torch.float64)
    cut, _ = choose(scores, Count(number), groups=groups)
    assert len(cut) <= number
    assert len(cut) < len(scores)
    for group in groups.unique():
        members = set((groups == group).nonzero().flatten().tolist())
        assert members <= set(cut) or members.isdisjoint(cut)
    alone = torch.randperm(len(scores), generator=torch.Generator().manual_seed(number))
    assert choose(scores, Count(number), groups=alone) == choose(scores, Count(number))
