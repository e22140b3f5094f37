from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sds_core.errors import SDSError
from sds_core.pruning.pattern import NM, Unstructured, find_pattern, holds, parse_pattern
from tests.pruning.references import random_weight, select_groups, select_layer, select_rows


@st.composite
def tied_scores(draw, multiple=1):
    """Scores (R, C) with many ties, C a multiple of `multiple`."""
    rows, groups = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    count = rows * groups * multiple
    values = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, float("inf")]), min_size=count, max_size=count))
    return torch.tensor(values).view(rows, groups * multiple)


ratios = st.integers(0, 99).map(lambda percent: f"{percent / 100:.2f}")


@settings(max_examples=150, deadline=None)
@given(tied_scores(), ratios)
def test_unstructured_equals_sorting_the_layer(scores, ratio):
    assert torch.equal(Unstructured(ratio).mask(scores, "layer"), select_layer(ratio)(scores))


@settings(max_examples=150, deadline=None)
@given(tied_scores(), ratios)
def test_unstructured_equals_sorting_each_row(scores, ratio):
    assert torch.equal(Unstructured(ratio).mask(scores, "row"), select_rows(ratio)(scores))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(2, 8))
def test_nm_equals_sorting_each_group(data, group):
    keep = data.draw(st.integers(1, group - 1))
    scores = data.draw(tied_scores(group))
    assert torch.equal(NM(keep, group).mask(scores), select_groups(keep, group)(scores))


@pytest.mark.parametrize("group", [2, 4, 8])
def test_few_and_many_scores_are_compared_alike(group, monkeypatch):
    scores = torch.randint(3, (20, 4 * group), generator=torch.Generator().manual_seed(group)).float()
    few = NM(group // 2, group).mask(scores)
    monkeypatch.setattr("sds_core.pruning.pattern.FEW", 0)
    assert torch.equal(NM(group // 2, group).mask(scores), few)


def test_nm_keeps_n_of_m():
    scores = torch.tensor([[1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0]])
    assert NM(1, 4).mask(scores).tolist() == [[False, True, False, False, True, False, False, False]]
    assert NM(3, 4).mask(scores).tolist() == [[False, True, True, True, True, True, True, False]]


def test_nm_groups_never_cross_rows():
    scores = torch.tensor([[9.0, 8.0], [1.0, 2.0]])
    assert NM(1, 2).mask(scores).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("within", ["row", "layer"])
def test_within_changes_nothing_for_nm(within):
    scores = random_weight(6, 16)
    assert torch.equal(NM(2, 4).mask(scores, within), select_groups(2, 4)(scores))


def test_ties_keep_the_lower_index():
    assert NM(2, 4).mask(torch.ones(1, 8)).tolist() == [[True, True, False, False] * 2]
    assert Unstructured("0.5").mask(torch.ones(2, 4), "layer").tolist() == [[True] * 4, [False] * 4]
    assert Unstructured("0.5").mask(torch.ones(2, 4), "row").tolist() == [[True, True, False, False]] * 2


def test_the_ratio_is_an_exact_fraction():
    assert int(0.29 * 100) == 28
    scores = random_weight(1, 100)
    for ratio in (0.29, "0.29", Fraction(29, 100)):
        assert int((~Unstructured(ratio).mask(scores, "row")).sum()) == 29


@pytest.mark.parametrize("percent", range(100))
def test_every_percentage_of_a_hundred_is_exact(percent):
    for pattern in (Unstructured(percent / 100), parse_pattern(f"{percent}%")):
        assert int((~pattern.mask(random_weight(1, 100), "layer")).sum()) == percent


def test_a_fractional_count_is_rounded_down():
    assert int((~Unstructured("0.5").mask(torch.rand(3, 5), "row")).sum()) == 3 * 2
    assert int((~Unstructured("0.5").mask(torch.rand(3, 5), "layer")).sum()) == 7
    assert Unstructured("0.99").mask(torch.rand(4, 1), "row").all()


def test_rows_and_layer_compare_different_weights():
    scores = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert Unstructured("0.5").mask(scores, "row").tolist() == [[False, True], [False, True]]
    assert Unstructured("0.5").mask(scores, "layer").tolist() == [[False, False], [True, True]]


def test_scores_that_are_not_numbers_are_refused():
    scores = torch.tensor([[1.0, float("nan"), 2.0, 3.0]])
    for pattern in (NM(2, 4), Unstructured("0.5")):
        with pytest.raises(AssertionError):
            pattern.mask(scores, "row")


def test_masks_of_transposed_scores_are_right():
    scores = random_weight(8, 12).T
    assert torch.equal(NM(2, 4).mask(scores), select_groups(2, 4)(scores))
    assert torch.equal(Unstructured("0.3").mask(scores, "layer"), select_layer("0.3")(scores))


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("2:4", NM(2, 4)),
        (" 1:2 ", NM(1, 2)),
        ("4:8", NM(4, 8)),
        ("0.5", Unstructured(Fraction(1, 2))),
        (".5", Unstructured(Fraction(1, 2))),
        ("50%", Unstructured(Fraction(1, 2))),
        ("62.5%", Unstructured(Fraction(5, 8))),
        ("0.29", Unstructured(Fraction(29, 100))),
        ("0", Unstructured(Fraction(0))),
    ],
)
def test_good_patterns_are_read(text, pattern):
    assert parse_pattern(text) == pattern


@pytest.mark.parametrize("text", ["5:4", "4:4", "0:4", "0:0", "1.2", "1", "100%", "250%"])
def test_patterns_out_of_range_are_refused(text):
    with pytest.raises(SDSError):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["abc", "", ":", "2:", "2:4:8", "-0.5", "-1:4", "50 %", "1e-1", "nan", "0.5.5", "1/2"])
def test_other_text_is_refused_with_allowed_forms(text):
    with pytest.raises(SDSError, match="2:4"):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["0." + "5" * 5000, "9" * 5000 + "%"])
def test_absurdly_long_numbers_are_refused_like_the_others(text):
    with pytest.raises(SDSError):
        parse_pattern(text)


@pytest.mark.parametrize("ratio", ["half", "1/0", float("nan"), float("inf"), None, -0.1, 1, 1.5])
def test_ratios_that_are_none_are_refused(ratio):
    with pytest.raises(SDSError):
        Unstructured(ratio)


@pytest.mark.parametrize("text", ["2:4", "4:8", "50%", "62.5%", "0%", "99.9%"])
def test_a_pattern_prints_as_its_own_text(text):
    assert str(parse_pattern(text)) == text


def test_check_names_layer_pattern_and_width():
    with pytest.raises(SDSError, match=r"model\.layers\.3\.mlp\.up_proj") as caught:
        NM(2, 4).check(10, "model.layers.3.mlp.up_proj")
    assert "2:4" in str(caught.value) and "10" in str(caught.value)


def test_check_passes_divisible_widths_and_ratios():
    NM(2, 4).check(12, "layer")
    Unstructured("0.5").check(7, "layer")


@pytest.mark.parametrize("text", ["2:4", "1:4", "4:8", "1:2", "3:4", "7:16", "31:32", "50%", "37.5%", "99%"])
def test_the_pattern_of_a_mask_is_found_again(text):
    scores = [torch.rand(24, columns, generator=torch.Generator().manual_seed(columns)) for columns in (64, 96)]
    pattern = parse_pattern(text)
    masks = [pattern.mask(score, "layer") for score in scores]
    found = find_pattern(masks)
    assert found == (pattern if isinstance(pattern, NM) else Unstructured(round(_zeros(masks), 4)))
    assert not isinstance(pattern, NM) or holds(masks, pattern)


def test_extra_zeros_are_tolerated_missing_ones_are_not():
    mask = NM(keep=2, group=4).mask(torch.rand(40, 64, generator=torch.Generator().manual_seed(0)))
    more, fewer = mask.clone(), mask.clone()
    more[3, :4] = False
    fewer[3, :4] = True
    assert find_pattern([more, mask]) == NM(keep=2, group=4) and holds([more], NM(keep=2, group=4))
    assert isinstance(find_pattern([fewer, mask]), Unstructured) and not holds([fewer], NM(keep=2, group=4))


def test_an_indivisible_width_holds_no_pattern():
    mask = torch.arange(21).expand(8, 21) % 2 == 0
    assert find_pattern([mask]) == Unstructured(Fraction("0.4762")) and not holds([mask], NM(keep=1, group=2))


def _zeros(masks):
    return Fraction(sum(int((~mask).sum()) for mask in masks), sum(mask.numel() for mask in masks))
