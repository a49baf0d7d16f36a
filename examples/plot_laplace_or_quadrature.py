"""
Laplace or quadrature? How many nodes a likelihood takes
========================================================

The likelihood of a multilevel logistic model is an integral over the random effects, one for each cluster, without a
closed form. Laplace's approximation puts a normal density in place of what is integrated; adaptive Gaussian quadrature
corrects that at a number of nodes. Of 537 children there are four reports of wheeze each, few rows and large
differences between children: the hardest case. Of 15 herds there are 26 to 96 animals each. How wrong is each number
of nodes, in estimates and in the log-likelihood, and what does a node cost?
"""

import sys
import time
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from skdep import MixedLogit
from skdep.datasets import load_cbpp, load_ohio
from skdep.inference import coef_table

GREY = "#777777"
STYLES = {  # Okabe and Ito: told apart by colour-blind readers
    "children, two reports": ("#CC79A7", "v", ":"),
    "children, four reports": ("#D55E00", "o", "-"),
    "herds, 26 to 96 animals": ("#0072B2", "s", "--"),
}
NODES, REFERENCE = [1, 3, 5, 7, 9, 11, 15, 21, 31], 61
MATTERS, NATS = 0.05, 0.1  # of a standard error, and of the log-likelihood
TEST = stats.chi2.ppf(0.95, 1) / 2

# %%
# Three sets of clusters
# ----------------------
# The reports of the first two ages alone make the clusters smaller still.
ohio, cbpp = load_ohio(), load_cbpp()
early = ohio.time < 0
herds = pd.get_dummies(cbpp.data, drop_first=True, dtype=float)
studies = dict(
    zip(
        STYLES,
        [
            (ohio.data[early], ohio.target[early], ohio.groups[early]),
            (ohio.data, ohio.target, ohio.groups),
            (herds, cbpp.target, cbpp.groups),
        ],
    )
)


# %%
# The same model with more and more nodes
# ---------------------------------------
# One node is Laplace's approximation. The truth is taken from 61 nodes. Errors of coefficients are in standard errors,
# so that 0.05 is an error that nobody would notice and 1 one that moves a whole conclusion.
def fits_with(numbers, study):
    """Return the fit with each number of nodes, and its seconds of processor time."""
    features, outcome, cluster = studies[study]
    fits, seconds = {}, {}
    for nodes in numbers:
        start = time.process_time()
        fits[nodes] = MixedLogit(n_quadrature=nodes).fit(features, outcome, groups=cluster)
        seconds[nodes] = time.process_time() - start
    return fits, seconds


rows = []
for study, (_, _, cluster) in studies.items():
    fits, seconds = fits_with([*NODES, REFERENCE], study)
    truth = fits[REFERENCE]
    true_table = coef_table(truth).astype(float)
    sd = {nodes: np.sqrt(fit.random_covariance_[cluster.name][0, 0]) for nodes, fit in fits.items()}
    for nodes in NODES:
        shift = (coef_table(fits[nodes])["estimate"].astype(float) - true_table["estimate"]) / true_table["std_error"]
        rows.append(
            {
                "study": study,
                "nodes": nodes,
                "coefficients (SE)": shift.abs().max(),
                "SD of clusters (%)": 100 * (sd[nodes] / sd[REFERENCE] - 1),
                "log-likelihood": fits[nodes].loglik_ - truth.loglik_,
                "ms": 1000 * seconds[nodes],
            }
        )
errors = pd.DataFrame(rows).set_index(["study", "nodes"])
print(errors.drop(columns="ms").round(3).to_string())  # times differ from run to run and are in the picture

# %%
# Error and price
# ---------------
# Errors are absolute, on logarithmic scales; below the grey lines they do not matter.
figure, panels = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained", sharex=True)
draw = {
    "coefficients (SE)": ("largest error of a coefficient (standard errors)", "Estimates"),
    "log-likelihood": ("error of the log-likelihood", "Likelihood"),
    "ms": ("processor time of a fit (ms)", "Price"),
}
for axes, (column, (label, title)) in zip(panels, draw.items()):
    for study, (colour, marker, line) in STYLES.items():
        values = errors.loc[study, column]
        axes.plot(NODES, values.abs(), color=colour, marker=marker, linestyle=line, markersize=5, label=study)
    if column != "ms":
        axes.set(yscale="log", ylim=(3e-6, 40))
        axes.axhline(MATTERS if column == "coefficients (SE)" else NATS, color=GREY, linewidth=1)
    else:
        axes.set_ylim(0, None)
    axes.set(xscale="log", xlabel="quadrature nodes (1: Laplace)", ylabel=label, title=title)
    axes.set_xticks([1, 3, 5, 9, 15, 31], labels=["1", "3", "5", "9", "15", "31"])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
panels[0].text(0.95, MATTERS * 0.8, "does not matter\nbelow", color=GREY, va="top", fontsize=9)
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# The least number of nodes from which on neither estimates nor the log-likelihood are off by anything that matters,
# beside the number that ``n_quadrature="auto"`` arrives at by itself.
harmless = (errors["coefficients (SE)"] < MATTERS) & (errors["log-likelihood"].abs() < NATS)
enough, chosen = {}, {}
for study, (features, outcome, cluster) in studies.items():
    wrong = harmless.loc[study][~harmless.loc[study]].index
    enough[study] = next(nodes for nodes in NODES if len(wrong) == 0 or nodes > wrong.max())
    chosen[study] = MixedLogit().fit(features, outcome, groups=cluster).n_quadrature_
    print(f"{study}: {enough[study]} nodes are enough, 'auto' takes {chosen[study]}")
hard, easy = "children, four reports", "herds, 26 to 96 animals"
laplace = errors.loc[(hard, 1)]
decision = (
    "Decision: integrate by quadrature where clusters have few binary rows. Of the children with four reports "
    f"Laplace's approximation moves a coefficient by {laplace['coefficients (SE)']:.1f} standard errors, the standard "
    f"deviation by {laplace['SD of clusters (%)']:.0f}% and the log-likelihood by "
    f"{abs(laplace['log-likelihood']):.1f}, where {TEST:.1f} makes a likelihood ratio test of one parameter reject. "
    f"{enough[hard]} nodes are enough for them, {enough[easy]} for the herds. Leave n_quadrature at 'auto', which "
    f"took {chosen[hard]} and {chosen[easy]}, and compare log-likelihoods "
    "of fits by 'auto' only, or of the same number of nodes."
)
print(fill(decision, width=100))
