"""The dense twin against R 4.2.2: lme4 1.1-31, lmerTest and pbkrtest 0.5.2; each number stands under its call."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from threadpoolctl import threadpool_limits

from skdep.datasets import load_penicillin, load_sleepstudy

from . import dense
from .dense import Design, Term


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of the BLAS cost more than they gain in matrices as small as these."""
    with threadpool_limits(1):
        yield


def sleepstudy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return reaction, days and subject (0 to 17) of 180 rows."""
    frame = load_sleepstudy().frame
    subject = np.unique(frame["Subject"].to_numpy(), return_inverse=True)[1]
    return frame["Reaction"].to_numpy(), frame["Days"].to_numpy(dtype=float), subject


def penicillin() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return diameter, plate (0 to 23) and sample (0 to 5) of 144 rows."""
    frame = load_penicillin().frame
    plate, sample = (np.unique(frame[name].to_numpy(dtype=str), return_inverse=True)[1] for name in ("plate", "sample"))
    return frame["diameter"].to_numpy(dtype=float), plate, sample


def sleepstudy_design(*, diagonal=False, quadratic=False, precision=None) -> Design:
    reaction, days, subject = sleepstudy()
    X = np.column_stack([np.ones(180), days, days**2])
    return Design(X if quadratic else X[:, :2], reaction, (Term(subject, X[:, :2], diagonal),), precision)


def penicillin_design(*, first=False) -> Design:
    """x <- (seq_len(144) - 1) %% 5; every seventh row is left out, so that the layout is unbalanced."""
    diameter, plate, sample = penicillin()
    x = np.arange(144) % 5
    X = np.column_stack([np.ones(144), x, x == 0][: 3 if first else 2]).astype(float)
    keep = np.arange(1, 145) % 7 != 0
    ones = np.ones((keep.sum(), 1))
    return Design(X[keep], diameter[keep], (Term(plate[keep], ones), Term(sample[keep], ones)))


# control = lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5), calc.derivs = FALSE)
# logLik(m); as.data.frame(VarCorr(m))$vcov as vech, then sigma^2
R_FITS = {
    # lmer(Reaction ~ Days + (Days | Subject))
    "reml": (
        sleepstudy_design(),
        "reml",
        -871.814135979246,
        [612.08974827467, 9.60433547475, 35.07166234421, 654.94104068197],
    ),
    # REML = FALSE
    "ml": (
        sleepstudy_design(),
        "ml",
        -875.969672231599,
        [565.5152710427, 11.0554144586, 32.6821976138, 654.9410375802],
    ),
    # lmer(Reaction ~ Days + (Days || Subject))
    "diagonal": (
        sleepstudy_design(diagonal=True),
        "reml",
        -871.834646790656,
        [627.5691168709, 35.8582018051, 653.5838048903],
    ),
    # lmer(Reaction ~ Days + I(Days^2) + (Days | Subject))
    "quadratic": (
        sleepstudy_design(quadratic=True),
        "reml",
        -871.407799847815,
        [613.11530908949, 9.44240330897, 35.10764848801, 651.97208556183],
    ),
    # lmer(Reaction ~ Days + (Days | Subject), weights = 1 + Days / 4)
    "weighted": (
        sleepstudy_design(precision=1 + sleepstudy()[1] / 4),
        "reml",
        -883.283047935111,
        [608.31263544076, 9.73925076443, 35.22733769406, 1500.56754803750],
    ),
    "weighted ml": (
        sleepstudy_design(precision=1 + sleepstudy()[1] / 4),
        "ml",
        -887.519617047188,
        [554.5286749094, 12.1348622880, 32.7334546632, 1500.5675550731],
    ),
    # lmer(diameter ~ x + (1 | plate) + (1 | sample))
    "crossed": (penicillin_design(), "reml", -143.34565039526, [0.665365369598, 3.652288729341, 0.274870868976]),
    "crossed ml": (penicillin_design(), "ml", -141.547395896, [0.663954385223, 3.067704241588, 0.272012134053]),
}


@pytest.mark.parametrize("name", R_FITS)
def test_likelihood_and_estimates_of_r(name):
    design, method, loglik, theta = R_FITS[name]
    assert dense.loglik(design, theta, method) == pytest.approx(loglik, abs=2e-9)
    # flat at its top: half of the digits are the optimiser's
    units = np.sqrt(np.diag(np.linalg.inv(dense.observed_information(design, theta, method))))
    own = dense.maximise(design, method, n_starts=2)
    assert_allclose((own - theta) / units, 0, atol=1e-5)
    assert dense.loglik(design, own, method) == pytest.approx(loglik, abs=2e-9)


# vcov(m)
R_COVARIANCES = {
    "reml": [[46.57456154350, -1.45109562721], [-1.45109562721, 2.38946342362]],
    "ml": [[43.98709052664, -1.37048011871], [-1.37048011871, 2.25671538096]],
    "weighted": [[53.78376716059, -2.39564730533], [-2.39564730533, 2.49389351492]],
    "crossed": [[0.64336027038017, -0.00236435518255], [-0.00236435518255, 0.00119082820800]],
}
# fixef(m)
R_COEFFICIENTS = {
    "reml": [251.4051048485, 10.4672859596],
    "ml": [251.4051048485, 10.4672859596],
    "weighted": [249.8379510259, 10.7537549379],
    "crossed": [23.0866596903, -0.0393727185],
}


@pytest.mark.parametrize("name", R_COVARIANCES)
def test_coefficients_of_r(name):
    design, _, _, theta = R_FITS[name]
    fit = dense.gls(design, theta)
    assert_allclose(fit.beta, R_COEFFICIENTS[name], rtol=1e-8)
    assert_allclose(fit.covariance, R_COVARIANCES[name], rtol=1e-6)


def test_random_effects_of_r():
    """ranef(m, condVar = TRUE) and its postVar: subjects 308, 309, 310; plates a, b; samples A."""
    design, _, _, theta = R_FITS["reml"]
    expected = [[2.25856550059, 9.19897190423], [-40.39857692492, -8.61970318296], [-38.96024580074, -5.44887991716]]
    assert_allclose(dense.by_level(design, dense.blups(design, theta))[0][:3], expected, rtol=1e-7)
    expected = [[145.7050939873, -21.4444251338], [-21.4444251338, 5.31227349584]]
    assert_allclose(dense.conditional_covariance(design, theta)[:2, :2], expected, rtol=1e-7)
    design, _, _, theta = R_FITS["crossed"]
    plates, _ = dense.by_level(design, dense.blups(design, theta))
    assert_allclose(plates[:2, 0], [0.759969343734, 0.574825550704], rtol=1e-7)
    variances = np.diag(dense.conditional_covariance(design, theta))
    assert_allclose(variances[[0, 1, 24]], [0.0678479802736, 0.0755102497574, 0.0404451489146], rtol=1e-7)


# coef(summary(m, ddf = "Satterthwaite"))[, "df"] and "Kenward-Roger": by numerical derivatives, and exact
R_SATTERTHWAITE = {
    "reml": [17, 17],
    "diagonal": [18.156202, 18.156202],
    "quadratic": [24.843232, 114.431405, 143],
    "weighted": [17, 17],
    "crossed": [5.54040, 94.93542],
    "crossed ml": [6.76581, 95.91417],
}
R_KENWARD_ROGER = {
    "reml": [17, 17],
    "diagonal": [18.1874762187, 18.1874762187],
    "quadratic": [24.8432219202, 114.4314063146, 143],
    "crossed": [5.54070345914, 94.96788440962],
}
# pbkrtest::vcovAdj(m)
R_ADJUSTED = {
    "reml": R_COVARIANCES["reml"],
    "diagonal": [[47.40847850588, -1.98055698452], [-1.98055698452, 2.43224609684]],
    "crossed": [[0.64336575600885, -0.00236701803772], [-0.00236701803772, 0.00119215868157]],
}


@pytest.mark.parametrize("name", R_SATTERTHWAITE)
def test_satterthwaite_of_r(name):
    design, method, _, theta = R_FITS[name]
    found = [dense.satterthwaite_df(design, theta, row, method) for row in np.eye(design.X.shape[1])]
    assert_allclose(found, R_SATTERTHWAITE[name], rtol=1e-5)


@pytest.mark.parametrize("name", R_KENWARD_ROGER)
def test_kenward_roger_of_r(name):
    design, _, _, theta = R_FITS[name]
    found = [dense.kenward_roger_df(design, theta, row)[0] for row in np.eye(design.X.shape[1])]
    assert_allclose(found, R_KENWARD_ROGER[name], rtol=1e-6)


@pytest.mark.parametrize("name", R_ADJUSTED)
def test_adjusted_covariance_of_r(name):
    design, _, _, theta = R_FITS[name]
    assert_allclose(dense.kenward_roger_covariance(design, theta), R_ADJUSTED[name], rtol=1e-6)


def test_kenward_roger_with_precision_weights_that_leave_the_layout_balanced():
    """All subjects have the same days and weights: 17 degrees of freedom, no adjustment.

    pbkrtest 0.5.2 leaves the weights out of V, though not out of Phi, and has 22.6 and 23.7.
    """
    design, _, _, theta = R_FITS["weighted"]
    assert [dense.kenward_roger_df(design, theta, row)[0] for row in np.eye(2)] == pytest.approx([17, 17], rel=1e-7)
    assert_allclose(dense.kenward_roger_covariance(design, theta), dense.gls(design, theta).covariance, rtol=1e-7)


@pytest.mark.parametrize(
    ("design", "L", "statistic", "df", "scale"),
    [
        # KRmodcomp(quadratic, lmer(Reaction ~ 1 + (Days | Subject)))
        (sleepstudy_design(quadratic=True), np.eye(3)[1:], 23.3645417191, 39.8170424428, 0.983588885239),
        # KRmodcomp(lmer(diameter ~ x + factor(x == 0) + (1 | plate) + (1 | sample)), rbind(c(0, 1, 0), c(0, 0, 1)))
        (penicillin_design(first=True), np.eye(3)[1:], 0.693046307053, 93.7923030121, 0.999999945295),
    ],
)
def test_joint_hypothesis_of_r(design, L, statistic, df, scale):
    theta = dense.maximise(design, n_starts=1)
    found_df, found_scale = dense.kenward_roger_df(design, theta, L)
    effect, covariance = L @ dense.gls(design, theta).beta, L @ dense.kenward_roger_covariance(design, theta) @ L.T
    assert found_df == pytest.approx(df, rel=1e-5)
    assert found_scale == pytest.approx(scale, rel=1e-6)
    assert found_scale * effect @ np.linalg.solve(covariance, effect) / 2 == pytest.approx(statistic, rel=1e-5)
