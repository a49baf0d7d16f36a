# Usage: Rscript r_survey.R DATA WEIGHTS N_FEATURES N_REPLICATES EPSILON
# DATA holds doubles, column after column: y, sampling weight, features; WEIGHTS the replicate weights likewise. Writes JSON:
# seconds of svyglm alone, coefficients, standard errors.
suppressPackageStartupMessages(library(survey))

args <- commandArgs(trailingOnly = TRUE)
n_features <- as.integer(args[3])
values <- readBin(args[1], "double", n = file.size(args[1]) / 8)
data <- as.data.frame(matrix(values, ncol = 2 + n_features))
names(data) <- c("y", "w", paste0("x", seq_len(n_features)))
replicates <- matrix(readBin(args[2], "double", n = file.size(args[2]) / 8), ncol = as.integer(args[4]))
model <- reformulate(names(data)[-(1:2)], "y")
design <- svrepdesign(data = data, weights = ~w, repweights = replicates, type = "bootstrap", combined.weights = TRUE)
rm(values, replicates)
control <- glm.control(epsilon = as.numeric(args[5]), maxit = 50)
invisible(gc())

begin <- proc.time()[["elapsed"]]
fit <- svyglm(model, design = design, family = quasibinomial(), control = control)
seconds <- proc.time()[["elapsed"]] - begin

numbers <- function(x) paste0("[", paste(sprintf("%.17g", x), collapse = ", "), "]")
cat(sprintf('{"seconds": %.17g, "coef": %s, "std_error": %s}\n', seconds, numbers(coef(fit)), numbers(SE(fit))))
