"""Linear mixed models over chunks are those of all rows at once."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdep import MixedLinear
from skdep.distributed import ArrayChunks, fit_chunks
from skdep.exceptions import CollinearityWarning
from skdep.inference import coef_table, compare, icc, lrt, variance_components

RNG = np.random.default_rng(2)
N = 600
GROUPS = np.repeat(RNG.permutation(90), RNG.multinomial(N - 90, np.full(90, 1 / 90)) + 1)  # not in sorted order
X = np.column_stack([RNG.normal(size=N), 50.0 + RNG.normal(size=N), RNG.integers(3, size=N)])
OFFSET = RNG.normal(size=N)
WEIGHT = RNG.integers(0, 4, N).astype(float)
EFFECTS = RNG.normal(size=(90, 2))
Y = 200 + X @ [1.0, 2.0, 0.0] + EFFECTS[GROUPS, 0] + 0.5 * EFFECTS[GROUPS, 1] * X[:, 0] + RNG.normal(size=N) + OFFSET

CONFIGURATIONS = [
    {},
    {"random_slopes": [0]},
    {"random_slopes": [0, 1], "random_intercept": False},
    {"random_slopes": [0], "covariance": "diagonal", "method": "ml"},
    {"random_slopes": [0, 1], "covariance": {"group": [["Intercept", 1], [0]]}, "random_intercept": {"group": True}},
    {"random_slopes": [0, 1], "covariance": {"group": [[1], [0]]}, "random_intercept": {"group": False}},
    {"weight_type": "precision", "cov_type": "robust"},
    {"fit_intercept": False},
]
METADATA = [{"groups": GROUPS}, {"groups": GROUPS, "sample_weight": WEIGHT, "offset": OFFSET}]


def fits(features, parameters, metadata, rows=70):
    whole = MixedLinear(**parameters).fit(features, Y, **metadata)
    return whole, fit_chunks(MixedLinear(**parameters), ArrayChunks(features, Y, rows=rows, **metadata))


def assert_same(parts, whole):
    assert parts.converged_ == whole.converged_
    assert_allclose(parts.coef_, whole.coef_, rtol=1e-10)
    assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-10)
    assert_allclose(parts.loglik_, whole.loglik_, rtol=1e-12)
    assert_allclose(parts.sigma2_, whole.sigma2_, rtol=1e-10)
    for name, matrix in whole.random_covariance_.items():
        assert_allclose(parts.random_covariance_[name], matrix, rtol=1e-8, atol=1e-10)
        assert_array_equal(parts.levels_[name], whole.levels_[name])
        assert_allclose(parts.random_effects_[name], whole.random_effects_[name], atol=1e-9)
        assert_allclose(parts.random_effects_sd_[name], whole.random_effects_sd_[name], atol=1e-9)
    for kind, matrix in whole._inference.covariances.items():
        assert_allclose(parts._inference.covariances[kind], matrix, rtol=1e-8, atol=1e-10 * np.abs(matrix).max())
    assert parts._inference.residual_df == whole._inference.residual_df
    assert str(parts.summary()) == str(whole.summary())


@pytest.mark.parametrize("parameters", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("metadata", METADATA, ids=lambda metadata: "-".join(metadata))
def test_the_same_fit(parameters, metadata):
    whole, parts = fits(X, parameters, metadata)
    assert_same(parts, whole)
    assert_allclose(parts.predict(X, groups=GROUPS), whole.predict(X, groups=GROUPS), rtol=1e-10)


@pytest.mark.parametrize("metadata", [{}, {"sample_weight": WEIGHT}], ids=["plain", "weights"])
@pytest.mark.parametrize("cov_type", ["model", "robust"])
def test_the_same_fit_without_groups(metadata, cov_type):
    whole, parts = fits(X, {"cov_type": cov_type}, metadata)
    assert_same(parts, whole)


def test_small_sample_inference_needs_no_rows():
    whole, parts = fits(X, {"random_slopes": [0]}, {"groups": GROUPS})
    for df in ("satterthwaite", "kenward-roger"):
        assert_allclose(coef_table(parts, df=df), coef_table(whole, df=df), rtol=1e-6)
    assert_allclose(icc(parts).to_frame().select_dtypes(float), icc(whole).to_frame().select_dtypes(float), rtol=1e-8)


def test_fits_to_chunks_are_not_compared():
    chunks = ArrayChunks(X, Y, groups=GROUPS, rows=70)
    small, large = fit_chunks(MixedLinear(method="ml"), chunks), fit_chunks(MixedLinear([0], method="ml"), chunks)
    for function in (lrt, compare):
        with pytest.raises(ValueError, match="Fits to chunks"):
            function(small, large)
    with pytest.raises(ValueError, match="Fits to chunks"):
        variance_components(large, baseline=fit_chunks(MixedLinear([0], method="ml"), chunks))


def test_collinear_features():
    features = np.column_stack([X, X[:, 0] + X[:, 2]])
    with pytest.warns(CollinearityWarning):
        whole, parts = fits(features, {}, {"groups": GROUPS})
    assert_same(parts, whole)


def test_named_slopes():
    import pandas as pd

    frame = pd.DataFrame(X, columns=["age", "dose", "site"])
    metadata = {"groups": pd.Series(GROUPS, name="school")}
    whole, parts = fits(frame, {"random_slopes": ["dose"]}, metadata)
    assert_same(parts, whole)
    with pytest.raises(ValueError, match="no feature 'height'"):
        fit_chunks(MixedLinear(random_slopes=["height"]), ArrayChunks(frame, Y, rows=70, **metadata))


def test_no_residual_left():
    exact = X @ [1.0, 2.0, 0.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = MixedLinear().fit(X, exact, groups=GROUPS)
        parts = fit_chunks(MixedLinear(), ArrayChunks(X, exact, groups=GROUPS, rows=70))
    assert parts.sigma2_ == whole.sigma2_ == 0.0
    assert_allclose(parts.coef_, whole.coef_, atol=1e-10)


def test_what_chunks_cannot_do():
    with pytest.raises(ValueError, match="Sampling weights"):
        fit_chunks(MixedLinear(weight_type="sampling"), ArrayChunks(X, Y, groups=GROUPS, rows=70))
    with pytest.raises(ValueError, match="no random effect"):
        fit_chunks(MixedLinear(random_intercept=False), ArrayChunks(X, Y, groups=GROUPS, rows=70))


def test_every_feature_has_a_fixed_effect():
    with pytest.raises(ValueError, match="random_only is not available over chunks"):
        fit_chunks(MixedLinear([0], random_only=[0]), ArrayChunks(X, Y, rows=70, groups=GROUPS))
