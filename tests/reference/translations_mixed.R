# What the lines of R say in the tables of docs/translations on mixed models. Writes translations_mixed.json.
# Rscript translations_mixed.R [page ...]      (brms takes ten minutes: it compiles its models)
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
source("translations_tools.R")
tighten_lme4()

# ---------------------------------------------------------------------------------------------- brms

# Each model is compiled and sampled once, however many lines fit it.
fitted_models <- new.env()
brm <- function(formula, data, family, prior = NULL, ...) {
  key <- paste(c(deparse(formula), format(prior$prior), family$family), collapse = " ")
  if (is.null(fitted_models[[key]]))
    fitted_models[[key]] <- brms::brm(formula, data, family, prior = prior, seed = 1, refresh = 0, iter = 5000,
                                      save_pars = brms::save_pars(all = TRUE), silent = 2)
  fitted_models[[key]]
}

of_brms <- function(fit) {
  table <- brms::fixef(fit)
  out <- list(coef = bare(table[, "Estimate"]), se = bare(table[, "Est.Error"]))
  if (nrow(fit$ranef)) {
    groups <- brms::VarCorr(fit, summary = FALSE)
    out$random_covariance <- flat_matrices(lapply(groups, function(g)
      if (is.null(g$cov)) matrix(mean(g$sd^2)) else apply(g$cov, 2:3, mean)))
  }
  out
}
of_rstanarm <- function(fit) {
  draws <- as.matrix(fit)
  fixed <- names(coef(lm(formula(fit, fixed.only = TRUE), fit$data)))
  out <- list(coef = bare(colMeans(draws[, fixed])), se = bare(apply(draws[, fixed], 2, sd)))
  sigma <- grep("^Sigma", colnames(draws))
  if (length(sigma)) out$random_covariance <- bare(colMeans(draws[, sigma, drop = FALSE]))
  out
}

# Quantiles of a prior, of the positive half where it is of a standard deviation; of lkj its parameter.
of_prior <- function(p) {
  call <- str2lang(p$prior)
  a <- lapply(as.list(call)[-1], eval)
  probability <- c(0.25, 0.6, 0.9)
  if (call[[1]] == "lkj") return(list(value = bare(a[[1]])))
  if (p$class == "sd" && call[[1]] != "exponential") probability <- 0.5 + probability / 2
  laplace <- function(q) a[[1]] - a[[2]] * sign(q - 0.5) * log(1 - 2 * abs(q - 0.5))
  found <- switch(as.character(call[[1]]),
    normal = qnorm(probability, a[[1]], a[[2]]), student_t = a[[2]] + a[[3]] * qt(probability, a[[1]]),
    cauchy = qcauchy(probability, a[[1]], a[[2]]), double_exponential = laplace(probability),
    logistic = qlogis(probability, a[[1]], a[[2]]), exponential = qexp(probability, a[[1]]))
  list(value = bare(found))
}
CONVERTERS <- c(list(brmsfit = of_brms, stanreg = of_rstanarm, brmsprior = of_prior,
                     brmssummary = function(s) of_columns(as.matrix(s$fixed[, c("Estimate", "Est.Error")]))), CONVERTERS)
COLUMNS <- c(COLUMNS, "Est.Error" = "std_error", "Q2.5" = "conf_low", "Q97.5" = "conf_high")

tighten_glm()

run_pages(
  c("lme4", "glmmtmb", "nlme", "brms", "stata"), "translations_mixed.json",
  c("lme4", "lmerTest", "pbkrtest", "nlme", "glmmTMB", "performance", "brms", "rstanarm", "loo", "bridgesampling", "geepack",
    "gee", "survey", "sandwich", "clubSandwich", "brglm2"))
