"""Models that functions fit again, for the user to see, take raw data as the model that they came from."""

from __future__ import annotations

import numpy as np
import pytest

from skdep import GEERegressor, MixedLinear, MixedLogit
from skdep.inference import bootstrap, compare_correlations

from .data import table


@pytest.mark.parametrize("cls", [MixedLinear, MixedLogit])
def test_statistics_of_the_bootstrap(cls):
    frame = table("seizure").assign(many=lambda rows: (rows["y"] > rows["y"].median()).astype(int))
    model = cls.from_formula(f"{'y' if cls is MixedLinear else 'many'} ~ I(x * trt) + (1 | id)", frame)
    given = model.formula_.fit_arguments(frame)

    def predicted(rows):
        def statistic(est):
            return est.predict(rows)[:2] if cls is MixedLinear else est.predict_proba(rows)[:2, 1]

        return bootstrap(model, **given, statistic=statistic, n_boot=3, random_state=0).replicates.to_numpy()

    np.testing.assert_array_equal(predicted(frame), predicted(given["X"]))


def test_fits_of_working_correlations():
    frame = table("seizure")
    model = GEERegressor.from_formula("y ~ I(x * trt) + offset(log(weeks))", frame, family="poisson", groups="id")
    given = model.formula_.fit_arguments(frame)
    found = compare_correlations(model, **given, structures=["exchangeable"], cv=3)
    fit = found.fits["exchangeable"]
    np.testing.assert_array_equal(fit.predict(frame), fit.predict(given["X"], offset=given["offset"]))
