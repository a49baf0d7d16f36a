"""Write the cases of ``tests/mixed/fuzz_cases.py`` for ``mixed_fuzz.R``: ``python write_fuzz_data.py FOLDER``.

One file, ``cases.json``. Numbers are written so that they read back exactly (17 significant digits at most).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.mixed.fuzz_cases import case_names, make_case


def record(name: str) -> dict:
    """Return a case as plain lists; rows of frequency weights are repeated, which is what the weights mean."""
    case = make_case(name)
    frequencies = case.params["weight_type"] == "frequency" and case.weights is not None
    rows = range(len(case.y))
    if frequencies:
        rows = [row for row, count in enumerate(case.weights.astype(int)) for _ in range(count)]
    weights = None if frequencies else case.weights

    def taken(values):
        return None if values is None else [values[row].item() for row in rows]

    return {
        "name": name,
        "X": {column: taken(case.X[column].to_numpy()) for column in case.X},
        "y": taken(case.y),
        "groups": {factor: taken(case.groups[factor].to_numpy()) for factor in case.groups},
        "slopes": {factor: case.slopes.get(factor, []) for factor in case.groups},
        "weights": taken(weights),
        "offset": taken(case.offset),
        "random_intercept": case.params["random_intercept"],
        "fit_intercept": case.params["fit_intercept"],
        "diagonal": case.params["covariance"] == "diagonal",
        "reml": case.reml,
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    cases = [record(name) for name in case_names()]
    (folder / "cases.json").write_text(json.dumps(cases))
    print(f"wrote {len(cases)} cases")
