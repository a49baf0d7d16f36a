"""Generalized estimating equations over chunks are those of all rows at once."""

import itertools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdep import GEEClassifier, GEERegressor
from skdep.distributed import ArrayChunks, Chunk, fit_chunks
from skdep.exceptions import SeparationWarning, TimeOrderWarning
from skdep.inference import coef_table, qic

RNG = np.random.default_rng(4)
K = 250
SIZES = RNG.integers(1, 6, K)
GROUPS = np.repeat(RNG.permutation(K), SIZES)
N = len(GROUPS)
TIME = np.concatenate([np.sort(RNG.choice(6, size, replace=False)) for size in SIZES]).astype(float)
X = np.column_stack([RNG.normal(size=N), 100.0 + RNG.normal(size=N), RNG.integers(2, size=N)])
OFFSET = RNG.normal(scale=0.2, size=N)
ETA = X @ [0.3, 0.01, 0.0] + RNG.normal(scale=0.5, size=K)[GROUPS] + OFFSET - 1.0
WEIGHT = np.where(np.arange(N) % 7, RNG.uniform(0.5, 3.0, N), 0.0)
COUNT = RNG.integers(1, 3, K)[GROUPS]
OUTCOMES = {
    "gaussian": ETA + RNG.normal(size=N),
    "poisson": RNG.poisson(np.exp(ETA)),
    "gamma": np.exp(ETA) * RNG.gamma(2.0, size=N),
    "binary": np.where(RNG.random(N) < 1.0 / (1.0 + np.exp(-ETA)), "yes", "no"),
}
METADATA = {
    "plain": {},
    "weights": {"sample_weight": WEIGHT, "offset": OFFSET},
    "counts": {"sample_weight": COUNT},
}
STRUCTURES = ["independence", "exchangeable", "ar1", "unstructured", "m_dependent", "toeplitz"]


def estimator(outcome, **parameters):
    if outcome == "binary":
        return GEEClassifier(tol=1e-11, **parameters)
    return GEERegressor(family=outcome, link="log" if outcome == "gamma" else None, tol=1e-11, **parameters)


def assert_same(parts, whole):
    assert parts.converged_ == whole.converged_
    assert parts.n_clusters_ == whole.n_clusters_
    assert_allclose(parts.coef_, whole.coef_, rtol=1e-9, atol=1e-11)
    assert_allclose(parts.scale_, whole.scale_, rtol=1e-10)
    assert_allclose(parts.association_, whole.association_, rtol=1e-9, atol=1e-11)
    assert set(whole._inference.covariances) - set(parts._inference.covariances) <= {"pan"}
    for kind, matrix in parts._inference.covariances.items():
        size = np.abs(whole._inference.covariances[kind]).max()
        assert_allclose(matrix, whole._inference.covariances[kind], atol=1e-9 * size, err_msg=kind)
    assert parts._inference.residual_df == {
        kind: df for kind, df in whole._inference.residual_df.items() if kind != "pan"
    }
    assert_allclose(qic(parts).to_frame(), qic(whole).to_frame(), rtol=1e-10)


@pytest.mark.filterwarnings("ignore::skdep.exceptions.WeightWarning")
@pytest.mark.parametrize(
    ("number", "outcome", "structure"),
    [(k, *pair) for k, pair in enumerate(itertools.product(OUTCOMES, STRUCTURES))],
)
def test_the_same_fit(number, outcome, structure):
    name = list(METADATA)[number % 3]
    parameters = {
        "working_correlation": structure,
        "dof": ("n-p", "n")[number % 2],
        "weight_type": "frequency" if name == "counts" else "sampling",
    }
    metadata = {"groups": GROUPS, "time": TIME, **METADATA[name]}
    whole = estimator(outcome, **parameters).fit(X, OUTCOMES[outcome], **metadata)
    parts = fit_chunks(estimator(outcome, **parameters), ArrayChunks(X, OUTCOMES[outcome], rows=150, **metadata))
    assert_same(parts, whole)


def test_small_samples_and_summary():
    metadata = {"groups": GROUPS, "time": TIME}
    whole = estimator("gaussian", working_correlation="exchangeable").fit(X, OUTCOMES["gaussian"], **metadata)
    parts = fit_chunks(
        estimator("gaussian", working_correlation="exchangeable"),
        ArrayChunks(X, OUTCOMES["gaussian"], rows=150, **metadata),
    )
    assert str(parts.summary()) == str(whole.summary())
    assert_allclose(coef_table(parts, cov_type="kc"), coef_table(whole, cov_type="kc"), rtol=1e-8)
    again = pickle.loads(pickle.dumps(parts))
    assert_allclose(again.predict(X), whole.predict(X), rtol=1e-9)


def test_nested_groups():
    groups = np.column_stack([GROUPS, np.arange(N) % 2])
    order = np.lexsort((groups[:, 1], groups[:, 0]))
    features, y, groups = X[order], OUTCOMES["gaussian"][order], groups[order]
    whole = estimator("gaussian", working_correlation="nested").fit(features, y, groups=groups)
    cuts = np.flatnonzero(np.diff(groups[:, 0])) + 1
    bounds = [0, cuts[80], cuts[170], N]
    chunks = [Chunk(features[a:b], y[a:b], groups=groups[a:b]) for a, b in itertools.pairwise(bounds)]
    assert_same(fit_chunks(estimator("gaussian", working_correlation="nested"), chunks), whole)


def test_times_differ_between_chunks():
    late = np.where(np.arange(N) < N // 2, TIME, TIME + 4.0)
    late = late[np.argsort(np.arange(N))]
    metadata = {"groups": GROUPS, "time": late}
    for structure in ("unstructured", "ar1"):
        est = estimator("gaussian", working_correlation=structure)
        whole = estimator("gaussian", working_correlation=structure).fit(X, OUTCOMES["gaussian"], **metadata)
        parts = fit_chunks(est, ArrayChunks(X, OUTCOMES["gaussian"], rows=150, **metadata))
        assert_same(parts, whole)
        if structure == "unstructured":
            assert_allclose(parts.times_, whole.times_)


def test_warnings_come_once():
    with pytest.warns(TimeOrderWarning) as found:
        fit_chunks(
            estimator("gaussian", working_correlation="ar1"),
            ArrayChunks(X, OUTCOMES["gaussian"], groups=GROUPS, rows=150),
        )
    assert sum(issubclass(warning.category, TimeOrderWarning) for warning in found) == 1


def test_errors_name_the_chunk():
    y = OUTCOMES["poisson"].astype(float)
    y[-1] = -2.0
    with pytest.raises(ValueError, match=r"chunk 4: .*negative|chunk \d: "):
        fit_chunks(estimator("poisson"), ArrayChunks(X, y, groups=GROUPS, rows=150))
    with pytest.raises(ValueError, match="end of the range"):
        fit_chunks(estimator("poisson"), ArrayChunks(X, np.zeros(N), groups=GROUPS, rows=150))


def test_separation_is_not_passed_over():
    with pytest.warns(SeparationWarning, match="could not be ruled out"):
        fit_chunks(estimator("binary"), ArrayChunks(X[:, :1], X[:, 0] > 0, groups=GROUPS, rows=150))


def test_pan_needs_all_rows():
    with pytest.raises(ValueError, match="not in memory"):
        fit_chunks(estimator("gaussian", cov_type="pan"), ArrayChunks(X, OUTCOMES["gaussian"], groups=GROUPS, rows=150))
