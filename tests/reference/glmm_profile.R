# Reference profile intervals of logistic mixed models. Writes glmm_profile.json; see README.md. Takes three minutes.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages(library(lme4))

entries <- list()
# lme4 interpolates between points of the profile: the more points, the more exact its ends.
add <- function(name, data, formula, nodes, steps) {
  d <- read.csv(file.path("data", paste0(data, ".csv")))
  fm <- glmer(formula, d, binomial, nAGQ = nodes,
              control = glmerControl(optimizer = "bobyqa", tolPwrss = 1e-10, optCtrl = list(rhoend = 1e-8)))
  pr <- profile(fm, delta = sqrt(qchisq(0.99, 1)) / steps, maxpts = 400, signames = FALSE, devtol = 1e-6)
  ends <- confint(pr, level = 0.95)
  sds <- as.data.frame(VarCorr(fm), order = "lower.tri")$sdcor
  estimate <- c(setNames(sds, rownames(ends)[seq_along(sds)]), fixef(fm))
  entries[[name]] <<- list(
    data = data, formula = deparse(formula), n_quadrature = nodes, loglik = as.numeric(logLik(fm)),
    estimate = as.list(estimate), conf_low = as.list(ends[, 1]), conf_high = as.list(ends[, 2])
  )
}
add("cbpp_laplace", "glmm_cbpp", ill ~ period2 + period3 + period4 + (1 | herd), 1, 25)
add("cbpp_quadrature", "glmm_cbpp", ill ~ period2 + period3 + period4 + (1 | herd), 9, 25)
add("crossed", "glmm_sim_crossed", y ~ x1 + x2 + (1 | a) + (1 | b), 1, 8)
write_reference(entries, "glmm_profile.json", c("lme4", "jsonlite"))
