# Usage: Rscript geepack.R DATA N_FEATURES CORSTR EPSILON MAXIT
# DATA holds doubles, column after column: cluster, wave, y, features. Writes JSON: seconds of the fit alone,
# coefficients, robust standard errors.
suppressPackageStartupMessages(library(geepack))

args <- commandArgs(trailingOnly = TRUE)
n_features <- as.integer(args[2])
values <- readBin(args[1], "double", n = file.size(args[1]) / 8)
data <- as.data.frame(matrix(values, ncol = 3 + n_features))
names(data) <- c("cluster", "wave", "y", paste0("x", seq_len(n_features)))
rm(values)
model <- reformulate(names(data)[-(1:3)], "y")
control <- geese.control(epsilon = as.numeric(args[4]), maxit = as.integer(args[5]))
invisible(gc())

begin <- proc.time()[["elapsed"]]
fit <- suppressWarnings(geeglm(model, family = binomial(), data = data, id = cluster, waves = wave, corstr = args[3],
                               control = control))
seconds <- proc.time()[["elapsed"]] - begin

numbers <- function(x) paste0("[", paste(sprintf("%.17g", x), collapse = ", "), "]")
cat(sprintf('{"seconds": %.17g, "coef": %s, "std_error": %s}\n', seconds, numbers(coef(fit)),
            numbers(sqrt(diag(fit$geese$vbeta)))))
