#!/bin/sh
# Regenerates every reference result. Optional argument: the folder with ohio.csv, epil.csv, dietox.csv, respiratory.csv.
set -eu
cd "$(dirname "$0")"
for script in gee logit; do
  Rscript "$script.R" "$@"
done
