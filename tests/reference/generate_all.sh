#!/bin/sh
# Regenerates every reference result. Optional argument: the folder with the data sets of skdep (ohio.csv, ...).
set -eu
cd "$(dirname "$0")"
for script in gee gee_structures gee_small_sample dropout gee_criteria logit mixed glmm glmm_profile terms survey survey_tests weight_tests replicates formula estimands \
    translations_marginal translations_mixed; do
  Rscript "$script.R" "$@"
done
PYTHON="${PYTHON:-python3}" Rscript mixed_fuzz.R
