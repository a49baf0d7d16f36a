"""What the packaged tables mean: which column is what, and the study behind it.

One `Study` describes one CSV file. A further data set is one more entry here and one loader in ``_longitudinal.py``,
``_multilevel.py`` or ``_counts.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "CBPP",
    "DIETOX",
    "EPIL",
    "OHIO",
    "ORTHODONT",
    "PASTES",
    "PENICILLIN",
    "RESPIRATORY",
    "SLEEPSTUDY",
    "Counts",
    "Study",
]


@dataclass(frozen=True, slots=True)
class Counts:
    """Columns of a table that counts `successes` among so many `trials`, and the name of their `number` in a row."""

    successes: str
    trials: str
    number: str


@dataclass(frozen=True, slots=True)
class Study:
    """The roles of the columns of one table.

    Each of `groups` is one grouping factor: the name of a column, or ``"a:b"`` where the labels of column b restart
    within those of column a. Where the table has `counts`, the target is not in it but made of them.
    """

    filename: str
    target: str
    features: tuple[str, ...]
    groups: tuple[str, ...]
    time: str | None
    description: str
    references: Mapping[str, str] = field(default_factory=dict)  # column of strings -> its reference level
    counts: Counts | None = None


OHIO = Study(
    filename="ohio.csv",
    target="resp",
    features=("age", "smoke"),
    groups=("id",),
    time="age",
    description="""\
Wheeze in the children of Steubenville, Ohio
--------------------------------------------

A part of the Six Cities study of air pollution and health. For 537 children it was recorded every year, at the
ages 7, 8, 9 and 10, whether the child wheezed. The question is how wheezing depends on age and on the mother's
smoking. The design is balanced: no visit is missing.

:Rows: 2148, one for each child and year
:Clusters: 537 children of 4 rows each

Columns

- ``resp`` (target): 1 if the child wheezed in that year, else 0
- ``id`` (groups): number of the child, from 0
- ``age`` (feature, time): age in years, minus 9: -2, -1, 0, 1 are the ages 7, 8, 9, 10
- ``smoke`` (feature): 1 if the mother smoked in the first year of the study, else 0; constant within a child

References

Fitzmaurice, G. M. and Laird, N. M. (1993). A likelihood-based method for analysing longitudinal binary responses.
Biometrika 80(1), 141-151.
""",
)

EPIL = Study(
    filename="epil.csv",
    target="y",
    features=("trt", "base", "age", "V4", "lbase", "lage"),
    groups=("subject",),
    time="period",
    references={"trt": "placebo"},
    description="""\
Epileptic seizures under progabide
----------------------------------

A randomised clinical trial in 59 patients with epilepsy. Seizures were counted during eight weeks before randomisation
to progabide (31 patients) or placebo (28), and then in four successive periods of two weeks. The counts are far more
variable than a Poisson distribution allows, and patient 49 had 302 seizures after a baseline of 151: results depend on
that patient.

:Rows: 236, one for each patient and period
:Clusters: 59 patients of 4 rows each

Columns

- ``y`` (target): number of seizures in the two weeks of the period
- ``trt`` (feature): treatment, "placebo" or "progabide"; in arrays ``trt[progabide]`` is 1 or 0, the reference is
  placebo
- ``base`` (feature): number of seizures in the eight weeks before randomisation
- ``age`` (feature): age of the patient in years
- ``V4`` (feature): 1 in period 4, else 0
- ``subject`` (groups): number of the patient, 1 to 59
- ``period`` (time): number of the two-week period, 1 to 4
- ``lbase`` (feature): natural logarithm of ``base``, centred to mean zero
- ``lage`` (feature): natural logarithm of ``age``, centred to mean zero

References

Thall, P. F. and Vail, S. C. (1990). Some covariance models for longitudinal count data with overdispersion.
Biometrics 46(3), 657-671.
""",
)

DIETOX = Study(
    filename="dietox.csv",
    target="Weight",
    features=("Time", "Cu", "Evit"),
    groups=("Pig",),
    time="Time",
    references={"Cu": "Cu000", "Evit": "Evit000"},
    description="""\
Growth of pigs fed copper and vitamin E
---------------------------------------

A feeding experiment with three doses of copper crossed with three doses of vitamin E. The 72 pigs come from 21 litters
and were weighed weekly for twelve weeks; three pigs lack the last weighing.

:Rows: 861, one for each pig and week
:Clusters: 72 pigs, 69 of 12 rows and 3 of 11

Columns

- ``Pig`` (groups): number of the pig
- ``Evit`` (feature): vitamin E in the feed: "Evit000", "Evit100", "Evit200" for 0, 100 and 200 mg of
  dl-alpha-tocopheryl acetate per kg; in arrays ``Evit[Evit100]`` and ``Evit[Evit200]`` are 1 or 0, the reference is
  Evit000
- ``Cu`` (feature): copper in the feed: "Cu000", "Cu035", "Cu175" for 0, 35 and 175 mg per kg; in arrays ``Cu[Cu035]``
  and ``Cu[Cu175]`` are 1 or 0, the reference is Cu000
- ``Weight`` (target): weight of the pig in kg
- ``Time`` (feature, time): week of the experiment, 1 to 12

Columns of ``frame`` only

- ``Litter``: number of the litter, a coarser cluster that contains the pigs
- ``Start``: weight at the start in kg. It equals ``Weight`` in week 1, so that as a feature it would give away the
  target
- ``Feed``: feed eaten since the start in kg, missing in week 1

References

Lauridsen, C., Højsgaard, S. and Sørensen, M. T. (1999). Influence of dietary rapeseed oil, vitamin E, and copper on the
performance and the antioxidative and oxidative status of pigs. Journal of Animal Science 77(4), 906-916.
""",
)

RESPIRATORY = Study(
    filename="respiratory.csv",
    target="outcome",
    features=("center", "treat", "sex", "age", "baseline"),
    groups=("center:id",),
    time="visit",
    references={"treat": "P", "sex": "F"},
    description="""\
Respiratory status in a trial at two centers
--------------------------------------------

A randomised clinical trial of a treatment for a respiratory illness. At two centers 111 patients received the active
treatment (54 patients) or placebo (57). Their respiratory status was judged at baseline and at four visits.

:Rows: 444, one for each patient and visit
:Clusters: 111 patients of 4 rows each

The column ``id`` restarts at each center: it has 56 values for 111 patients, and used alone it would merge patients of
different centers. ``groups`` is therefore the composite label "center:id", such as "1:23" for patient 23 of center 1.

Columns

- ``center`` (feature, part of groups): center, 1 or 2
- ``id`` (part of groups): number of the patient within the center
- ``treat`` (feature): "A" for active treatment, "P" for placebo; in arrays ``treat[A]`` is 1 or 0, the reference is P
- ``sex`` (feature): "F" or "M"; in arrays ``sex[M]`` is 1 or 0, the reference is F
- ``age`` (feature): age in years at baseline
- ``baseline`` (feature): respiratory status at baseline, 1 if good, 0 if poor
- ``visit`` (time): number of the visit, 1 to 4
- ``outcome`` (target): respiratory status at the visit, 1 if good, 0 if poor

References

Koch, G. G., Carr, G. J., Amara, I. A., Stokes, M. E. and Uryniak, T. J. (1989). Categorical data analysis. In
Berry, D. A. (ed.), Statistical Methodology in the Pharmaceutical Sciences. Marcel Dekker, New York, 389-473. (Also
dated 1990.)

Davis, C. S. (1991). Semi-parametric and non-parametric methods for the analysis of repeated measurements with
applications to clinical trials. Statistics in Medicine 10(12), 1959-1980.
""",
)

SLEEPSTUDY = Study(
    filename="sleepstudy.csv",
    target="Reaction",
    features=("Days",),
    groups=("Subject",),
    time="Days",
    description="""\
Reaction times of subjects short of sleep
-----------------------------------------

An experiment in a laboratory on the effect of too little sleep, night after night. These are the 18 subjects of the
group that slept least, three hours in bed a night, in the first ten days, before their recovery. Days 0 and 1 were for
adaptation and training and day 2 was the baseline; the short nights began after day 2. An analysis of the effect of
short sleep may therefore leave out days 0 and 1, though many textbook analyses fit all ten days. The original analysis
was of speed, the reciprocal of the reaction time, with the day as a categorical factor. The design is balanced: no day
is missing.

:Rows: 180, one for each subject and day
:Clusters: 18 subjects of 10 rows each

Columns

- ``Reaction`` (target): mean reaction time of the subject on that day in milliseconds
- ``Days`` (feature, time): day of the experiment, 0 to 9
- ``Subject`` (groups): number of the subject, from 308 to 372

References

Belenky, G., Wesensten, N. J., Thorne, D. R., Thomas, M. L., Sing, H. C., Redmond, D. P., Russo, M. B. and Balkin, T. J.
(2003). Patterns of performance degradation and restoration during sleep restriction and subsequent recovery: a sleep
dose-response study. Journal of Sleep Research 12(1), 1-12.
""",
)

ORTHODONT = Study(
    filename="orthodont.csv",
    target="distance",
    features=("age", "Sex"),
    groups=("Subject",),
    time="age",
    references={"Sex": "Female"},
    description="""\
Dental growth of children
-------------------------

At a dental school in North Carolina 16 boys and 11 girls were X-rayed every two years from the age of 8 to 14. On each
picture the distance from the centre of the pituitary gland to the pterygomaxillary fissure was measured. The question
is how the distance grows with age, and whether it grows alike in girls and boys. The design is balanced: no visit is
missing.

:Rows: 108, one for each child and age
:Clusters: 27 children of 4 rows each

Columns

- ``distance`` (target): distance from the pituitary to the pterygomaxillary fissure in mm
- ``age`` (feature, time): age in years: 8, 10, 12 or 14
- ``Subject`` (groups): the child: "M01" to "M16" are the boys, "F01" to "F11" the girls
- ``Sex`` (feature): "Female" or "Male"; in arrays ``Sex[Male]`` is 1 or 0, the reference is Female

References

Potthoff, R. F. and Roy, S. N. (1964). A generalized multivariate analysis of variance model useful especially for
growth curve problems. Biometrika 51(3/4), 313-326.
""",
)

PENICILLIN = Study(
    filename="penicillin.csv",
    target="diameter",
    features=(),
    groups=("plate", "sample"),
    time=None,
    description="""\
Assays of penicillin on plates
------------------------------

The strength of penicillin was tested by how far it keeps bacteria (B. subtilis) from growing: each plate of nutrient
medium, mixed with the bacteria, took a few drops of each of six samples, and around each drop a circular zone stayed
clear. The stronger the solution, the wider the zone. With every sample on every plate, the two grouping factors are
fully crossed: plates differ, samples differ, and what remains is the error of the assay.

:Rows: 144, one for each plate and sample
:Clusters: 24 plates of 6 rows each, crossed with 6 samples of 24 rows each

There are no features: ``data`` has no columns, and the model consists of an intercept and a random intercept of each
factor. Estimators that need at least one feature cannot be fitted to it.

Columns

- ``diameter`` (target): diameter of the clear zone in mm, to the whole millimetre
- ``plate`` (groups): the plate, "a" to "x"
- ``sample`` (groups): the sample of penicillin, "A" to "F"

References

Davies, O. L. and Goldsmith, P. L. (eds.) (1972). Statistical Methods in Research and Production, 4th edition, section
6.6. Oliver and Boyd, Edinburgh.
""",
)

PASTES = Study(
    filename="pastes.csv",
    target="strength",
    features=(),
    groups=("batch", "batch:cask"),
    time=None,
    description="""\
Strength of a paste by batch and cask
-------------------------------------

A chemical paste is delivered in casks. Ten deliveries were drawn at random, three casks were sampled from each, and the
sample of each cask was assayed twice. The strength varies between the batches delivered, between the casks of a batch,
and between two assays of the same cask: the casks are nested in the batches.

:Rows: 60, one for each assay
:Clusters: 10 batches of 6 rows each, and in them 30 casks of 2 rows each

The column ``cask`` restarts in each batch: it has 3 values for 30 casks, and used alone it would treat the first casks
of all batches as one cask. The second factor in ``groups`` is therefore the composite label "batch:cask", such as "A:c"
for cask c of batch A.

There are no features: ``data`` has no columns, and the model consists of an intercept and a random intercept of each
factor. Estimators that need at least one feature cannot be fitted to it.

Columns

- ``strength`` (target): strength of the paste found by the assay; the table gives no unit
- ``batch`` (groups): the batch delivered, "A" to "J"
- ``cask`` (part of groups): the cask within the batch, "a" to "c"

Columns of ``frame`` only

- ``sample``: the sample that was assayed twice, one from each cask: the same labels as "batch:cask"

References

Davies, O. L. and Goldsmith, P. L. (eds.) (1972). Statistical Methods in Research and Production, 4th edition, section
6.5. Oliver and Boyd, Edinburgh.
""",
)

CBPP = Study(
    filename="cbpp.csv",
    target="case",
    features=("period",),
    groups=("herd",),
    time=None,
    references={"period": "1"},
    counts=Counts(successes="incidence", trials="size", number="animals"),
    description="""\
Spread of a lung disease in herds of cattle
-------------------------------------------

Contagious bovine pleuropneumonia spread in 15 herds of zebu cattle in the Boji district of Ethiopia, which had lately
been infected. Every three months blood of all animals was tested, and those whose test had become positive were counted
as new cases. The question is how the risk falls in the course of the outbreak, and how much herds differ. Some herds
were lost: herd 8 has the first period only, herd 2 lacks the last.

:Rows: 842, one for each animal and period; with ``counts=True`` 90, one for each herd, period and outcome
:Clusters: 15 herds of 26 to 96 rows

The source has a row for each herd and period, the number of new cases and that of animals at the start; rows of animals
are made of it. An animal cannot be followed from one period to the next.

Columns

- ``herd`` (groups): number of the herd, 1 to 15
- ``period`` (feature): period of three months, "1" to "4"; in arrays ``period[2]``, ``period[3]`` and ``period[4]`` are
  1 or 0, the reference is period 1
- ``case`` (target): 1 if the animal became a case in the period, else 0
- ``animals`` (sample_weight, with ``counts=True`` only): number of animals of the herd with this outcome in this period

References

Lesnoff, M., Laval, G., Bonnet, P., Abdicho, S., Workalemahu, A., Kifle, D., Peyraud, A., Lancelot, R. and Thiaucourt,
F. (2004). Within-herd spread of contagious bovine pleuropneumonia in Ethiopian highlands. Preventive Veterinary
Medicine 64(1), 27-40.
""",
)
