"""What all estimators share: metadata requests, names of parameters, the linear predictor, summary, persistence."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

import skdep
from skdep._compat import CallbackSupportMixin
from skdep._docs import api_link, read_more, topic_of_warning
from skdep._fitted import FittedInference
from skdep._stack import level_of_caller
from skdep._validation import check_offset, without_columns_as_array
from skdep.formula.estimators import FormulaMixin
from skdep.formula.raw_rows import rows_of

__all__ = ["DependentDataEstimator", "FitNotes", "Note"]


class Note(str):
    """A warning as the summary has it: the words alone, and the topic of the page that explains them.

    Parameters
    ----------
    text : str
        The words.
    topic : str, optional
        A key of `skdep._docs.TOPICS`.
    """

    topic: str | None

    def __new__(cls, text: str, topic: str | None = None) -> Note:
        """Return the words, with their topic beside them."""
        note = super().__new__(cls, text)
        note.topic = topic
        return note


class FitNotes(list[str]):
    """Warnings of one fit: each is given to the user, and kept for the summary."""

    def warn(self, message: str, category: type[Warning], *, topic: str | None = None) -> None:
        """Warn with a link to the page of the topic, by default that of the category, and keep the message without it.

        Parameters
        ----------
        message : str
            What is wrong, and what to do.
        category : type
            The warning's class.
        topic : str, optional
            A key of `skdep._docs.TOPICS`.
        """
        topic = topic_of_warning(category) if topic is None else topic
        self.append(Note(message, topic))
        warnings.warn(message + (read_more(topic) if topic else ""), category, stacklevel=level_of_caller())


class DependentDataEstimator(FormulaMixin, CallbackSupportMixin, BaseEstimator):
    """Base of every estimator.

    Metadata are requested at class level, so that scikit-learn's routing needs no ``set_fit_request``; a request for a
    method that a class lacks is ignored.
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True, "sample_weight": True, "offset": True}
    __metadata_request__predict: ClassVar[dict[str, bool]] = {"groups": True, "offset": True}
    __metadata_request__predict_proba: ClassVar[dict[str, bool]] = {"groups": True, "offset": True}
    __metadata_request__predict_log_proba: ClassVar[dict[str, bool]] = {"groups": True, "offset": True}
    __metadata_request__decision_function: ClassVar[dict[str, bool]] = {"groups": True, "offset": True}
    __metadata_request__score: ClassVar[dict[str, bool]] = {"groups": True, "sample_weight": True, "offset": True}

    # the diagram that notebooks show of an estimator links to its page in the reference
    _doc_link_module = "skdep"
    _doc_link_template = "{url}"

    # set by every fit
    _inference: FittedInference
    _fitted_with_offset: bool

    def summary(self, *, level: float = 0.95) -> Any:
        """Summarise the fit: coefficient table and what a statistician expects around it.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level of the intervals.

        Returns
        -------
        Summary
            Prints as text, renders in notebooks; ``.to_frame()`` is the coefficient table.
        """
        from skdep.inference.summary import summarise

        check_is_fitted(self)
        return summarise(self, level=level)

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        """Return what scikit-learn fills the template with: the address of the class in the reference."""
        return {"url": api_link(type(self))}

    def _parameter_names(self) -> tuple[str, ...]:
        """Return the names of ``[intercept, *coef]``; features without a name are x0, x1, ..."""
        given = getattr(self, "feature_names_in_", None)
        features = [f"x{j}" for j in range(self.n_features_in_)] if given is None else [str(name) for name in given]
        return (*(["Intercept"] if self.fit_intercept else []), *features)

    def _linear_predictor(self, X: Any, offset: Any) -> np.ndarray:
        """Return the linear predictor of new rows (n_rows,)."""
        check_is_fitted(self)
        X, offset = rows_of(self, X, offset)
        least = min(self.n_features_in_, 1)
        X = validate_data(self, without_columns_as_array(X), dtype=np.float64, reset=False, ensure_min_features=least)
        offset = check_offset(offset, X.shape[0])
        eta = X @ np.ravel(self.coef_) + float(np.ravel(self.intercept_)[0])
        if offset is not None:
            return eta + offset
        if self._fitted_with_offset:
            warnings.warn(
                f"{type(self).__name__} was fitted with an offset, and predicts without one as if it were 0; "
                "pass offset= (zeros, if that is what you want).",
                UserWarning,
                stacklevel=level_of_caller(),
            )
        return eta

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_skdep_version": skdep.__version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version = state.pop("_skdep_version", "unknown")
        if version != skdep.__version__:
            warnings.warn(
                f"This {type(self).__name__} was saved by skdep {version} and is loaded by skdep {skdep.__version__}: "
                "results may differ or break; fit it again where you can.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)
