# What the lines of R say in the tables of docs/translations on marginal models and surveys. Writes translations_marginal.json.
# Rscript translations_marginal.R [page ...]
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
source("translations_tools.R")
suppressPackageStartupMessages({library(geepack); library(gee); library(survey); library(sandwich); library(clubSandwich)})

# ---------------------------------------------------------------------------------------------- numbers

COLUMNS <- c(COLUMNS[names(COLUMNS) != "Wald"], c(  # Wald is z^2 in geepack
  "estimate" = "estimate", "std.error" = "std_error", "p.value" = "p_value", "conf.low" = "conf_low", "conf.high" = "conf_high",
  "Robust S.E." = "std_error", "Robust z" = "statistic", "beta" = "estimate", "tstat" = "statistic", "df_Satt" = "df",
  "p_Satt" = "p_value", "df_t" = "df", "p_t" = "p_value", "CI_L" = "conf_low", "CI_U" = "conf_high", "Fstat" = "statistic",
  "df_num" = "df", "df_denom" = "df_denominator", "p_val" = "p_value"))

se <- function(v) bare(sqrt(diag(as.matrix(v))))
upper <- function(r) bare(t(r)[lower.tri(r)])
# skdep has one number for exchangeable and AR(1), and else a number a lag or a pair of times
of_geese <- function(fit, corstr) {
  out <- list(coef = bare(fit$beta), se = se(fit$vbeta), scale = bare(fit$gamma))
  if (corstr != "fixed" && length(fit$alpha)) out$association <- bare(fit$alpha)
  out
}
of_gee <- function(fit) {
  r <- fit$working.correlation
  corstr <- if (is.null(fit$call$corstr)) "independence" else fit$call$corstr
  out <- list(coef = bare(coef(fit)), se = se(fit$robust.variance), scale = bare(fit$scale))
  out$association <- switch(corstr, exchangeable = , `AR-M` = bare(r[1, 2]), unstructured = , fixed = upper(r),
                            stat_M_dep = bare(r[1, 1 + seq_len(fit$call$Mv)]))
  out
}
of_estimates <- function(x) list(estimate = bare(coef(x)), std_error = bare(SE(x)), value = bare(coef(x)))
of_term_test <- function(x) {
  statistic <- if (is.null(x$Ftest)) x$chisq else x$Ftest
  out <- list(statistic = bare(statistic), df = bare(x$df), p_value = bare(x$p))
  if (!is.null(x$ddf)) out$df_denominator <- bare(x$ddf)
  out
}
of_coefficients <- function(x) of_columns(x$coefficients)
own <- list(
  coeftest = function(x) of_columns(unclass(x)[, , drop = FALSE]),
  geeglm = function(x) modifyList(of_geese(x$geese, x$corstr), list(se = se(vcov(x)))),
  geese = function(x) of_geese(x, x$model$corstr), gee = of_gee,
  summary.geeglm = of_coefficients, summary.glm = of_coefficients, summary.svyglm = of_coefficients,
  svystat = of_estimates, svrepstat = of_estimates, svycontrast = of_estimates, svyby = of_estimates, svyratio = of_estimates,
  regTermTest = of_term_test, regTermTestLRT = of_term_test, regTermTestWW = of_term_test,
  numeric = function(x) if ("QIC" %in% names(x)) of_columns(t(x)) else list(value = bare(as.numeric(x))))
CONVERTERS <- c(own, CONVERTERS[setdiff(names(CONVERTERS), names(own))])

# ---------------------------------------------------------------------------------------------- tolerances

tighten("geese.control", "geepack", epsilon = 1e-12, maxit = 1000)
tighten("gee", "gee", tol = 1e-12, maxiter = 1000)
tighten_glm()
tighten_lme4()

run_pages(
  c("geepack", "survey", "sas"), "translations_marginal.json",
  c("geepack", "gee", "survey", "sandwich", "clubSandwich", "lmtest", "car", "broom"))
