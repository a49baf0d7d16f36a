"""Two-level weights undo informative sampling of clusters and rows, where clusters are large enough.


The program `benchmarks.two_level_weights` gives the whole table.
"""

import numpy as np
import pytest

from benchmarks.two_level_weights import simulate


@pytest.mark.parametrize("model", ["linear", "logit"])
def test_weights_undo_informative_sampling(model):
    rows = simulate(model, n_clusters=1500, n_rows=60, n_replicates=8, seed=4)
    bias = {(row["weights"], row["parameter"]): row["bias"] for row in rows}
    error = max(row["error of bias"] for row in rows)
    assert bias["unweighted", "intercept"] > 0.5
    assert bias["unweighted", "sd"] < -0.03
    for scaling in ("none", "size", "effective"):
        found = {name: bias[f"scaled: {scaling}", name] for name in {row["parameter"] for row in rows}}
        # what is left is of the order of one over the rows of a cluster
        assert np.abs(list(found.values())).max() < 0.1 + 2 * error
        assert abs(found["slope"]) < 4 * error
