"""Decisions: loops over actions and draws, closed forms for beta posteriors, thresholds, rejection, sets, refusals."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skdep.bayes import decisions
from skdep.bayes.decisions import (
    bayes_decision,
    expected_losses,
    join_decisions,
    outcome_information,
    parameter_information,
    predictive_counts,
)
from skdep.bayes.losses import loss_matrix, probability_threshold, with_reject

LOSS = np.array([[0.0, 10.0], [1.0, 0.5], [0.6, 2.0]])


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def draws(rng):
    return rng.beta(2.0, 5.0, size=(200, 30))


# ----------------------------------------------------------------------------------------------------------- matrices
def test_expected_losses_and_actions_by_loops(draws):
    decision = bayes_decision(LOSS, draws=draws)
    for i in range(30):
        p = draws[:, i].mean()
        losses = [sum(LOSS[a, y] * [1 - p, p][y] for y in range(2)) for a in range(3)]
        assert_allclose(decision.expected_loss[i], losses)
        assert decision.actions[i] == np.argmin(losses)
        assert_allclose(decision.least_loss[i], min(losses))
        assert_allclose(decision.margin[i], sorted(losses)[1] - min(losses))
        by_draw = [min(LOSS[a, 0] * (1 - q) + LOSS[a, 1] * q for a in range(3)) for q in draws[:, i]]
        assert_allclose(decision.evpi[i], min(losses) - np.mean(by_draw), atol=1e-14)
        known = (1 - p) * LOSS[:, 0].min() + p * LOSS[:, 1].min()
        assert_allclose(decision.evpi_outcome[i], min(losses) - known)


def test_more_than_two_classes(rng):
    loss = rng.exponential(size=(4, 3))
    draws = rng.dirichlet([1.0, 2.0, 3.0], size=(100, 8))
    decision = bayes_decision(loss, draws=draws)
    expected = np.einsum("ak,dnk->dna", loss, draws)
    assert_allclose(decision.expected_loss, expected.mean(axis=0))
    assert_allclose(decision.evpi, expected.mean(axis=0).min(axis=1) - expected.min(axis=2).mean(axis=0), atol=1e-14)


def test_two_columns_are_the_second_class(draws):
    p = draws.mean(axis=0)
    both = np.stack([1 - draws, draws], axis=-1)
    assert_allclose(expected_losses(np.column_stack([1 - p, p]), LOSS), expected_losses(p, LOSS))
    assert_allclose(parameter_information(both, LOSS), parameter_information(draws, LOSS), atol=1e-14)


def test_zero_one_loss_takes_the_likelier_class(rng):
    probabilities = rng.dirichlet(np.ones(4), size=50)
    decision = bayes_decision(1.0 - np.eye(4), probabilities=probabilities)
    assert_array_equal(decision.actions, probabilities.argmax(axis=1))
    assert decision.evpi is None


def test_probabilities_of_more_draws_may_be_given(draws):
    p = np.clip(draws.mean(axis=0) + 0.1, 0.0, 1.0)
    decision = bayes_decision(LOSS, probabilities=p, draws=draws)
    assert_allclose(decision.expected_loss, expected_losses(p, LOSS))
    assert_allclose(decision.evpi, parameter_information(draws, LOSS))


# ------------------------------------------------------------------------------------------------- closed forms (beta)
@pytest.mark.parametrize(("a", "b", "act"), [(2.0, 8.0, 2.0), (30.0, 70.0, 2.0), (0.5, 0.5, 4.0)])
def test_value_of_information_about_a_beta_posterior(a, b, act):
    # To wait costs 10 p, to act costs `act`: E min(10 p, act) is an incomplete beta function.
    threshold = act / 10
    mean = a / (a + b)
    by_parameter = 10 * mean * stats.beta.cdf(threshold, a + 1, b) + act * stats.beta.sf(threshold, a, b)
    exact = min(10 * mean, act) - by_parameter
    quantiles = stats.beta.ppf((np.arange(100_000) + 0.5) / 100_000, a, b)[:, None]
    loss = [[0.0, 10.0], [act, act]]
    assert_allclose(parameter_information(quantiles, loss), exact, rtol=5e-4)
    by_function = bayes_decision(lambda p: {"wait": 10 * p, "act": act}, draws=quantiles)
    assert_allclose(by_function.evpi, exact, rtol=5e-4)
    assert_allclose(outcome_information(np.array([mean]), loss), min(10 * mean, act) - mean * act)


def test_value_of_information_has_its_bounds(rng, draws):
    for _ in range(20):
        decision = bayes_decision(rng.normal(size=(3, 2)), draws=draws)
        assert (decision.evpi >= 0).all()
        assert (decision.evpi_outcome >= decision.evpi - 1e-12).all()


def test_information_is_worthless_if_it_changes_no_action(draws):
    assert_allclose(parameter_information(draws, [[0.0, 0.0], [1.0, 1.0]]), 0.0)
    assert_allclose(parameter_information(np.repeat(draws[:1], 50, axis=0), LOSS), 0.0, atol=1e-14)


def test_blocks_do_not_matter(draws, monkeypatch):
    information = parameter_information(draws, LOSS)
    counts = predictive_counts(np.ones((5, 30)), random_state=0)
    monkeypatch.setattr(decisions, "_BLOCK", 1)
    assert_allclose(parameter_information(draws, LOSS), information, rtol=1e-12)
    assert_array_equal(predictive_counts(np.ones((5, 30)), random_state=0), counts)


# ------------------------------------------------------------------------------------------------ thresholds, rejection
def test_threshold_separates_the_actions(rng):
    loss = [[1.0, 12.0], [3.0, 2.0]]
    threshold = probability_threshold(loss)
    assert_allclose(threshold, 2.0 / (2.0 + 10.0))
    p = rng.random(1000)
    assert_array_equal(bayes_decision(loss, probabilities=p).actions, p > threshold)


def test_thresholds_of_dominated_actions():
    p = np.array([0.0, 0.5, 1.0])
    for loss, threshold in (([[2.0, 2.0], [1.0, 0.0]], -np.inf), ([[0.0, 1.0], [1.0, 2.0]], np.inf)):
        assert probability_threshold(loss) == threshold
        assert_array_equal(bayes_decision(loss, probabilities=p).actions, p > threshold)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ([[1.0, 2.0], [1.0, 2.0]], "any will do"),
        ([[1.0, 0.0], [0.0, 1.0]], "exchange"),
        (LOSS, "two actions"),
        (np.eye(3), "shape"),
    ],
)
def test_losses_without_a_threshold(loss, message):
    with pytest.raises(ValueError, match=message):
        probability_threshold(loss)


def test_rejection_follows_chow(rng):
    # Zero-one loss: reject if and only if the larger probability is below one less the loss of rejecting.
    p = rng.random(500)
    decision = bayes_decision([[0, 1], [1, 0]], probabilities=p, reject=0.2)
    assert_array_equal(decision.actions == 2, np.maximum(p, 1 - p) < 0.8)
    assert set(decision.action_labels) == {0, 1, "reject"}
    assert_allclose(with_reject([[0, 1], [1, 0]], 0.2), [[0, 1], [1, 0], [0.2, 0.2]])


def test_ties_go_to_the_first_action_whatever_the_rounding():
    p = np.array([0.1, 0.3, 0.7])
    # 3 (1 - p) + 3 p and 3 differ in the last digit for some p only.
    decision = bayes_decision([[3.0, 3.0], [3.0 - 1e-15, 3.0], [3.0, 3.0 - 1e-15]], probabilities=p)
    assert_array_equal(decision.actions, 0)
    assert_array_equal(bayes_decision(np.zeros((2, 2)), probabilities=p).actions, 0)


# ---------------------------------------------------------------------------------------------------------- functions
def test_a_linear_function_is_its_matrix(draws):
    by_matrix = bayes_decision(LOSS, draws=draws, reject=0.7)
    for by_function in (
        bayes_decision(lambda p: LOSS[:, 0] + p[:, :, None] * (LOSS[:, 1] - LOSS[:, 0]), draws=draws, reject=0.7),
        bayes_decision(
            lambda p: {a: row[0] * (1 - p) + row[1] * p for a, row in enumerate(LOSS)}, draws=draws, reject=0.7
        ),
    ):
        assert_array_equal(by_function.actions, by_matrix.actions)
        assert_allclose(by_function.expected_loss, by_matrix.expected_loss)
        assert_allclose(by_function.evpi, by_matrix.evpi, atol=1e-14)
        assert by_function.action_names == (0, 1, 2, "reject")
        assert by_function.evpi_outcome is None


def test_a_curved_loss_depends_on_more_than_the_mean(rng):
    wide, narrow = rng.beta(1, 3, size=(50_000, 1)), rng.beta(100, 300, size=(50_000, 1))
    losses = {
        name: expected_losses(d, lambda p: {"wait": p**2, "act": 0.08}) for name, d in [("w", wide), ("n", narrow)]
    }
    assert_allclose(losses["w"][0, 0], stats.beta(1, 3).moment(2), rtol=0.02)
    assert_allclose(losses["n"][0, 0], stats.beta(100, 300).moment(2), rtol=0.02)
    assert losses["w"].argmin() == 1 and losses["n"].argmin() == 0


def test_one_decision_about_a_set(draws):
    def loss(p):
        total = p.sum(axis=1)
        return {"none": 10 * total, "all": 25.0 + 2 * total, "some": np.maximum(0.0, total - 8.0) ** 2 + 40.0}

    decision = bayes_decision(loss, draws=draws)
    by_draw = np.column_stack(np.broadcast_arrays(*loss(draws).values()))
    assert decision.actions.shape == (1,) and decision.expected_loss.shape == (1, 3)
    assert_allclose(decision.expected_loss[0], by_draw.mean(axis=0))
    assert decision.action_labels[0] == ("none", "all", "some")[by_draw.mean(axis=0).argmin()]
    assert_allclose(decision.evpi, by_draw.mean(axis=0).min() - by_draw.min(axis=1).mean(), atol=1e-12)
    assert_allclose(parameter_information(draws, loss), decision.evpi)


# ------------------------------------------------------------------------------------------------------------- counts
def test_counts_of_rows_that_share_their_probability(rng):
    a, b, n = 3.0, 7.0, 12
    p = rng.beta(a, b, size=(40_000, 1)) * np.ones(n)
    counts = predictive_counts(p, random_state=0)
    observed = np.bincount(counts, minlength=n + 1)
    expected = stats.betabinom(n, a, b).pmf(np.arange(n + 1)) * 40_000
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    assert counts.var() > 1.5 * n * 0.3 * 0.7  # more than binomial


def test_counts_of_rows_with_their_own_probabilities():
    p = np.array([0.1, 0.5, 0.9, 0.99])
    counts = predictive_counts(np.repeat(p[None], 50_000, axis=0), random_state=np.random.RandomState(0))
    pmf = np.array([1.0])
    for q in p:
        pmf = np.convolve(pmf, [1 - q, q])
    assert_allclose(np.bincount(counts, minlength=5) / 50_000, pmf, atol=0.01)


def test_counts_by_seed(draws):
    first, again = (predictive_counts(draws, random_state=4) for _ in range(2))
    assert_array_equal(first, again)
    assert_array_equal(predictive_counts(draws, random_state=np.random.default_rng(4)), first)
    assert (predictive_counts(draws, random_state=5) != first).any()


# -------------------------------------------------------------------------------------------------------------- names
def test_frames_name_actions_and_are_put_in_order(draws):
    frame = pd.DataFrame({"yes": [10.0, 0.5], "no": [0.0, 1.0]}, index=["wait", "treat"])
    decision = bayes_decision(frame, draws=draws, classes=["no", "yes"])
    assert_array_equal(decision.actions, bayes_decision(LOSS[:2], draws=draws).actions)
    assert set(decision.action_labels) <= {"wait", "treat"}
    with pytest.raises(ValueError, match="columns"):
        loss_matrix(frame, classes=["no", "maybe"])


def test_results_print_and_pickle(draws):
    decision = bayes_decision(LOSS, draws=draws, reject=0.7)
    frame = decision.to_frame(index=[f"row{i}" for i in range(30)])
    assert list(frame.columns) == [
        "action", "expected_loss", "margin", "loss[0]", "loss[1]", "loss[2]", "loss[reject]", "evpi", "evpi_outcome",
    ]  # fmt: skip
    assert_allclose(frame["loss[1]"], decision.expected_loss[:, 1])
    assert frame.index[3] == "row3"
    assert "reject" in str(decision) and "<table" in decision._repr_html_()
    assert_allclose(pickle.loads(pickle.dumps(decision)).evpi, decision.evpi)
    with pytest.raises(FrozenInstanceError):
        decision.actions = None
    assert "evpi" not in bayes_decision(LOSS, probabilities=draws[0]).to_frame().columns.drop("evpi_outcome")


def test_one_action_has_no_second_best():
    assert_allclose(bayes_decision([[1.0, 2.0]], probabilities=np.array([0.5])).margin, np.inf)


def test_joined_blocks_are_the_whole(draws):
    whole = bayes_decision(LOSS, draws=draws)
    joined = join_decisions([bayes_decision(LOSS, draws=draws[:, s]) for s in (slice(0, 7), slice(7, 30))])
    assert_array_equal(joined.actions, whole.actions)
    for name in ("expected_loss", "evpi", "evpi_outcome"):
        assert_allclose(getattr(joined, name), getattr(whole, name))
    mixed = join_decisions([whole, bayes_decision(LOSS, probabilities=draws[0])])
    assert mixed.evpi is None and mixed.actions.size == 60
    with pytest.raises(ValueError, match="different losses"):
        join_decisions([whole, bayes_decision(LOSS[:2], draws=draws)])
    with pytest.raises(ValueError, match="no decision"):
        join_decisions([])


def test_no_rows():
    decision = bayes_decision(LOSS, draws=np.empty((10, 0)))
    assert decision.actions.shape == (0,) and decision.expected_loss.shape == (0, 3) and decision.evpi.shape == (0,)


# ---------------------------------------------------------------------------------------------------------- bad input
P = np.array([0.2, 0.4])


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (LOSS, {}, "probabilities or draws"),
        (LOSS[0], {"probabilities": P}, "one row an action"),
        (LOSS.T, {"probabilities": P}, "shape"),
        (np.empty((0, 2)), {"probabilities": P}, "shape"),
        ([[0.0, np.nan]], {"probabilities": P}, "NaN"),
        ([[0.0, np.inf]], {"probabilities": P}, "infinite"),
        (LOSS, {"probabilities": [0.2, np.nan]}, "between 0 and 1"),
        (LOSS, {"probabilities": [0.2, 1.2]}, "between 0 and 1"),
        (LOSS, {"probabilities": [[0.2, 0.2]]}, "sum to one"),
        (LOSS, {"probabilities": 0.3}, "shape"),
        (LOSS, {"draws": P}, "shape"),
        (LOSS, {"probabilities": P, "draws": np.full((5, 3), 0.5)}, "3 rows"),
        (LOSS, {"probabilities": P, "reject": np.nan}, "rejecting"),
        (lambda p: p, {"probabilities": P}, "give draws"),
        (lambda p: {}, {"draws": P[None]}, "no action"),
        (lambda p: {"a": 1.0}, {"draws": P[None]}, "per action"),
        (lambda p: np.zeros((3, 2)), {"draws": P[None]}, "per action"),
        (lambda p: 1.0, {"draws": P[None]}, "per action"),
        (lambda p: {"a": np.log(p - 0.2)}, {"draws": np.array([[0.2]])}, "infinite"),
        (lambda p: {"a": p}, {"draws": P[None], "reject": np.inf}, "rejecting"),
        (lambda p: {"a": p}, {"draws": np.full((2, 3, 2), 0.5)}, "second class"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_input_is_refused(loss, options, message):
    with pytest.raises(ValueError, match=message):
        bayes_decision(loss, **options)
