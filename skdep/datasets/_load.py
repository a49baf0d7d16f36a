"""From a packaged table to the Bunch of a loader, in the idiom of the ``load_*`` functions of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import Bunch

from skdep.clusters import interaction
from skdep.datasets._studies import Counts, Study

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_study"]


def load_study(study: Study, *, return_X_y: bool, as_frame: bool, merged: bool = False) -> Any:
    """Read the table of `study` and hand out its columns by their roles; the loaders document the result.

    Of a table of counts equal rows are given one by one, or `merged`, with their number as ``sample_weight``.
    """
    frame = _read(study.filename)
    if study.counts is not None:
        frame = _binary_rows(frame, study, study.counts, merged=merged)
    data = frame[list(study.features)]
    if not as_frame:
        data = _encode(data, study.references)
    columns: dict[str, Any] = {
        "data": data,
        "target": frame[study.target],
        "groups": _groups(frame, study.groups),
        "time": None if study.time is None else frame[study.time],
    }
    if study.counts is not None and merged:
        columns["sample_weight"] = frame[study.counts.number]
    if not as_frame:
        # Copied because arrays taken from a Series are read-only under pandas 3.
        columns = {key: None if values is None else values.to_numpy(copy=True) for key, values in columns.items()}
    if return_X_y:
        return columns["data"], columns["target"]
    return Bunch(
        **columns,
        frame=frame if as_frame else None,
        feature_names=list(data.columns),
        target_name=study.target,
        DESCR=study.description,
        filename=study.filename,
    )


def _read(filename: str) -> pd.DataFrame:
    import pandas as pd

    with as_file(files("skdep.datasets") / "data" / filename) as path:
        return pd.read_csv(path)


def _binary_rows(table: pd.DataFrame, study: Study, counts: Counts, *, merged: bool) -> pd.DataFrame:
    """Turn a table of counts into rows of one outcome each; features that are labels become strings."""
    successes, trials = table[counts.successes].to_numpy(), table[counts.trials].to_numpy()
    labels = table[[*study.groups, *study.features]].astype(dict.fromkeys(study.references, str))
    frame = labels.loc[labels.index.repeat(2)]
    frame[study.target] = np.tile([1, 0], len(table))
    number = np.column_stack([successes, trials - successes]).ravel()
    if merged:
        frame[counts.number] = number
        frame = frame[number > 0]
    else:
        frame = frame.take(np.repeat(np.arange(len(frame)), number))
    return frame.reset_index(drop=True)


def _groups(frame: pd.DataFrame, factors: tuple[str, ...]) -> pd.Series | pd.DataFrame:
    """Labels of the rows: a Series for one factor, a DataFrame with a column a factor for several."""
    import pandas as pd

    labels = [_labels(frame, factor) for factor in factors]
    return labels[0] if len(labels) == 1 else pd.concat(labels, axis=1)


def _labels(frame: pd.DataFrame, factor: str) -> pd.Series:
    columns = factor.split(":")
    # one column stays as it is: numbers remain numbers
    return frame[factor] if len(columns) == 1 else interaction(*(frame[column] for column in columns))


def _encode(data: pd.DataFrame, references: Mapping[str, str]) -> pd.DataFrame:
    """Replace each column of strings by 0/1 columns ``name[level]``, one for every level but the reference."""
    encoded = {}
    for name in data.columns:
        if name in references:
            for level in sorted(set(data[name]) - {references[name]}):
                encoded[f"{name}[{level}]"] = data[name] == level
        else:
            encoded[name] = data[name]
    return data.iloc[:, :0].assign(**encoded).astype(float)
