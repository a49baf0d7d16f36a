"""Pictures of fitted models, drawn by matplotlib (the extra ``plot``), in the manner of scikit-learn's displays.

A display holds the arrays that it draws. Its classmethods (``from_estimator`` and others) compute them and draw at
once; ``plot`` draws again, into axes of one's own or in another form; ``figure_`` and ``ax_`` are what was drawn last.
"""

from __future__ import annotations

from skdep.plotting.binned_residuals import BinnedResidualsDisplay
from skdep.plotting.calibration import CalibrationDisplay
from skdep.plotting.caterpillar import CaterpillarDisplay
from skdep.plotting.coefficients import CoefficientsDisplay
from skdep.plotting.fitted_lines import FittedLinesDisplay
from skdep.plotting.influence import InfluenceDisplay
from skdep.plotting.partial_residuals import PartialResidualsDisplay
from skdep.plotting.posteriors import PosteriorDisplay
from skdep.plotting.qq import QQDisplay
from skdep.plotting.residuals import ResidualsDisplay
from skdep.plotting.shrinkage import ShrinkageDisplay
from skdep.plotting.traces import TraceDisplay
from skdep.plotting.updating import UpdatingDisplay
from skdep.plotting.weights import WeightsDisplay
from skdep.plotting.working_correlation import WorkingCorrelationDisplay

__all__ = [
    "BinnedResidualsDisplay",
    "CalibrationDisplay",
    "CaterpillarDisplay",
    "CoefficientsDisplay",
    "FittedLinesDisplay",
    "InfluenceDisplay",
    "PartialResidualsDisplay",
    "PosteriorDisplay",
    "QQDisplay",
    "ResidualsDisplay",
    "ShrinkageDisplay",
    "TraceDisplay",
    "UpdatingDisplay",
    "WeightsDisplay",
    "WorkingCorrelationDisplay",
]
