# Usage: Rscript r_mixed.R PACKAGE DATA N_FEATURES N_FACTORS FORMULA METHOD [TOLERANCE]
# PACKAGE is lme4 or glmmTMB; DATA holds doubles, column after column: y, features, numbers of levels of the factors;
# METHOD is reml or ml for a linear model, and for a logistic one the number of quadrature nodes, 1 for Laplace;
# TOLERANCE is that of lme4's modes of random effects.
# Writes JSON: seconds of the fit alone, coefficients, standard errors, log-likelihood, residual variance (of a linear
# model) and variances of random effects.
args <- commandArgs(trailingOnly = TRUE)
suppressPackageStartupMessages(library(args[1], character.only = TRUE))

n_features <- as.integer(args[3])
n_factors <- as.integer(args[4])
values <- readBin(args[2], "double", n = file.size(args[2]) / 8)
data <- as.data.frame(matrix(values, ncol = 1 + n_features + n_factors))
rm(values)
factors <- paste0("g", seq_len(n_factors))
names(data) <- c("y", paste0("x", seq_len(n_features), recycle0 = TRUE), factors)
data[factors] <- lapply(data[factors], factor)
model <- as.formula(args[5])
reml <- args[6] == "reml"
linear <- args[6] %in% c("reml", "ml")
n_quadrature <- if (!linear) as.integer(args[6])
control <- if (length(args) > 6) list(tolPwrss = as.numeric(args[7])) else list()
invisible(gc())

begin <- proc.time()[["elapsed"]]
fit <- suppressWarnings(suppressMessages(
  if (args[1] == "glmmTMB") {
    if (linear) glmmTMB(model, data, REML = reml) else glmmTMB(model, data, family = binomial)
  } else {
    if (linear) {
      lmer(model, data, REML = reml)
    } else {
      glmer(model, data, family = binomial, nAGQ = n_quadrature, control = do.call(glmerControl, control))
    }
  }
))
std_error <- sqrt(diag(if (args[1] == "glmmTMB") vcov(fit)$cond else as.matrix(vcov(fit))))
seconds <- proc.time()[["elapsed"]] - begin

if (args[1] == "lme4") {
  coef <- fixef(fit)
  covariances <- VarCorr(fit)
} else {
  coef <- fixef(fit)$cond
  covariances <- VarCorr(fit)$cond
}
variances <- c(if (linear) sigma(fit)^2, unlist(lapply(factors, function(name) diag(covariances[[name]]))))
numbers <- function(x) paste0("[", paste(sprintf("%.17g", x), collapse = ", "), "]")
cat(sprintf('{"seconds": %.17g, "coef": %s, "std_error": %s, "loglik": %.17g, "variances": %s}\n', seconds,
            numbers(coef), numbers(std_error), as.numeric(logLik(fit)), numbers(variances)))
