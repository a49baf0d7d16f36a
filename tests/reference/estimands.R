# Reference results for linear combinations, predictions, residuals, models of the intercept only, survey means and
# totals. Writes estimands.json.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({
  library(survey); library(lme4); library(lmerTest); library(geepack); library(emmeans); library(multcomp)
})
options(warn = 1, contrasts = c("contr.treatment", "contr.poly"))
entries <- list()
add <- function(name, value) {
  stopifnot(is.null(entries[[name]]))
  entries[[name]] <<- value
}
tight <- glm.control(epsilon = 1e-14, maxit = 100)

ohio <- dataset("ohio"); epil <- dataset("epil"); sleep <- dataset("sleepstudy")
jaws <- dataset("orthodont"); jaws$girl <- as.numeric(jaws$Sex == "Female"); jaws$age_girl <- jaws$age * jaws$girl
epil$lbase <- log(epil$base / 4); epil$treat <- as.numeric(epil$trt == "progabide")

# ------------------------------------------------------------------------------------------- linear combinations

logit <- polish(glm(resp ~ age + smoke, binomial, ohio, control = tight))
L <- rbind("at 8" = c(1, -1, 0), "at 8, smoke" = c(1, -1, 1), "difference" = c(0, -2, 1))
by_glht <- summary(glht(logit, L, rhs = c(-2, -1, 0)), test = univariate())$test
intervals <- confint(glht(logit, L), calpha = univariate_calpha())$confint
add("logit_combinations", list(
  L = square(L), r = plain(c(-2, -1, 0)), estimate = plain(by_glht$coefficients), std_error = plain(by_glht$sigma),
  statistic = plain(by_glht$tstat), p_value = plain(by_glht$pvalues), conf_low = plain(intervals[, "lwr"]),
  conf_high = plain(intervals[, "upr"])))

uneven <- jaws[seq_len(nrow(jaws)) %% 5 != 0, ]     # so that degrees of freedom are no whole numbers
growth <- lmer(distance ~ age + girl + age_girl + (age | Subject), uneven,
               control = lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-12, maxfun = 1e6)))
M <- rbind(c(0, 1, 0, 1), c(1, 11, 1, 11), c(0, 0, 1, 14))
rows_of_contests <- function(ddf)
  do.call(rbind, lapply(seq_len(nrow(M)), function(i) contest1D(growth, M[i, ], ddf = ddf, confint = TRUE)))
contests <- lapply(c(satterthwaite = "Satterthwaite", `kenward-roger` = "Kenward-Roger"), function(ddf) {
  found <- rows_of_contests(ddf)
  list(estimate = plain(found$Estimate), std_error = plain(found$`Std. Error`), df = plain(found$df),
       statistic = plain(found$`t value`), p_value = plain(found$`Pr(>|t|)`), conf_low = plain(found$lower),
       conf_high = plain(found$upper))
})
add("growth_combinations", c(list(M = square(M)), contests))

data(api)
apistrat <- dataset("apistrat"); apiclus1 <- dataset("apiclus1"); apiclus2 <- dataset("apiclus2")
dstrat <- svydesign(id = ~1, strata = ~stype, weights = ~pw, data = apistrat, fpc = ~fpc)
dclus1 <- svydesign(id = ~dnum, weights = ~pw, data = apiclus1, fpc = ~fpc)
dclus2 <- svydesign(id = ~dnum + snum, fpc = ~fpc1 + fpc2, data = apiclus2)
school <- svyglm(api00 ~ ell + meals + mobility, dstrat)
contrast <- svycontrast(school, list(a = c(0, 10, 0, -1), b = c(1, 20, 30, 15)))
add("survey_combinations", list(estimate = plain(coef(contrast)), std_error = plain(SE(contrast))))

# means of treatment and of age over a grid, by emmeans
wheeze <- glm(resp ~ age + smoke, binomial, ohio, control = tight)
grid <- emmeans(wheeze, ~ smoke, at = list(age = c(-2, -1, 0, 1), smoke = c(0, 1)), type = "response")
found <- summary(grid)
add("emmeans_logit", list(smoke = plain(found$smoke), link = plain(summary(grid, type = "link")$emmean),
                          std_error = plain(summary(grid, type = "link")$SE),
                          conf_low = plain(found$asymp.LCL), conf_high = plain(found$asymp.UCL)))

# ---------------------------------------------------------------------------------------------------- predictions

predicted <- function(fit, new) {
  link <- predict(fit, new, type = "link", se.fit = TRUE)
  response <- predict(fit, new, type = "response", se.fit = TRUE)
  list(link = plain(link$fit), link_se = plain(link$se.fit), response = plain(response$fit),
       response_se = plain(response$se.fit))
}
add("predict_logit", predicted(logit, data.frame(age = c(-2, 0, 1.5), smoke = c(0, 1, 1))))
count <- polish(glm(y ~ lbase + treat + offset(log(age)), quasipoisson, epil, control = tight))
add("predict_poisson", predicted(count, data.frame(lbase = c(0.5, 2, 3), treat = c(0, 1, 1), age = c(20, 30, 40))))
positive <- polish(glm(I(y + 0.5) ~ lbase + treat, Gamma("inverse"), epil, control = tight))
add("predict_gamma", predicted(positive, data.frame(lbase = c(0.5, 2, 3), treat = c(0, 1, 1))))
line <- lm(Reaction ~ Days, sleep)
interval <- predict(line, data.frame(Days = c(0, 5, 12)), interval = "confidence", se.fit = TRUE)
add("predict_line", list(fit = plain(interval$fit[, 1]), conf_low = plain(interval$fit[, 2]),
                         conf_high = plain(interval$fit[, 3]), std_error = plain(interval$se.fit), df = interval$df))
new <- data.frame(ell = c(0, 20, 60), meals = c(10, 50, 90), mobility = c(5, 15, 30))
at <- predict(school, new, se.fit = TRUE)
add("predict_survey", list(fit = plain(at), std_error = plain(SE(at))))
reached <- polish(svyglm(I(sch.wide == "Yes") ~ ell + meals + mobility, dstrat, family = quasibinomial,
                         control = tight))
at <- lapply(c(link = "link", response = "response"), function(type) predict(reached, new, type = type, se.fit = TRUE))
add("predict_survey_logit", list(link = plain(at$link), link_se = plain(SE(at$link)), response = plain(at$response),
                                 response_se = plain(SE(at$response))))
means <- function(df) {
  found <- summary(emmeans(growth, ~ age + girl + age_girl, lmer.df = df, weights = "equal",
    at = list(age = c(8, 14), girl = c(0, 1), age_girl = c(0, 8, 14))), level = 0.95)
  found <- found[found$age_girl == found$age * found$girl, ]
  list(age = plain(found$age), girl = plain(found$girl), estimate = plain(found$emmean), std_error = plain(found$SE),
       df = plain(found$df), conf_low = plain(found$lower.CL), conf_high = plain(found$upper.CL))
}
add("emmeans_growth", list(satterthwaite = means("satterthwaite"), `kenward-roger` = means("kenward-roger")))

# ------------------------------------------------------------------------------------------------------ residuals

kinds <- c("response", "pearson", "deviance", "working")
some <- function(r) plain(r[seq(1, length(r), length.out = 12)])
residuals_of <- function(fit) lapply(setNames(kinds, kinds), function(kind) some(residuals(fit, type = kind)))
add("residuals_logit", residuals_of(logit))
add("residuals_poisson", residuals_of(count))
add("residuals_gamma", residuals_of(positive))
shares <- dataset("cbpp")
shares$share <- shares$incidence / shares$size
for (k in 2:4) shares[[paste0("p", k)]] <- as.numeric(shares$period == k)
add("residuals_shares", residuals_of(polish(glm(share ~ p2 + p3 + p4, binomial, shares, weights = size, control = tight))))
bumps <- geeglm(y ~ lbase + treat, poisson, epil, id = epil$subject, corstr = "exchangeable",
                control = geese.control(epsilon = 1e-12, maxit = 200))
add("residuals_gee", list(response = some(as.vector(residuals(bumps, type = "response"))),
                          pearson = some(as.vector(residuals(bumps, type = "pearson")))))
drivers <- lmer(Reaction ~ Days + (Days | Subject), sleep,
                control = lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-12, maxfun = 1e6)))
add("residuals_drivers", list(conditional = some(residuals(drivers)), scaled = some(residuals(drivers, scaled = TRUE)),
                              population = some(sleep$Reaction - predict(drivers, re.form = NA))))
within <- glmer(resp ~ age + smoke + (1 | id), ohio, binomial, nAGQ = 9,
                control = glmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-12, maxfun = 1e6)))
add("residuals_within", c(list(coef = plain(fixef(within)), sd = getME(within, "theta")[[1]]), residuals_of(within)))

# -------------------------------------------------------------------------------------------- the intercept alone

empty <- polish(glm(resp ~ 1, binomial, ohio, control = tight))
clustered <- sandwich::vcovCL(empty, cluster = ohio$id, type = "HC0")
add("empty_logit", list(coef = coef(empty)[[1]], se = sqrt(vcov(empty)[[1]]), clustered_se = sqrt(clustered[[1]]),
                        loglik = as.numeric(logLik(empty)), lrt = anova(empty, logit, test = "Chisq")$Deviance[2]))
gee_of <- function(corstr) {
  m <- geeglm(y ~ 1, poisson, epil, id = epil$subject, corstr = corstr,
              control = geese.control(epsilon = 1e-12, maxit = 200))
  list(coef = coef(m)[[1]], se = sqrt(vcov(m)[[1]]), phi = m$geese$gamma[[1]], alpha = as.numeric(m$geese$alpha),
       qic = as.list(QIC(m)))
}
add("empty_gee", lapply(c(independence = "independence", exchangeable = "exchangeable"), gee_of))
alone <- svyglm(api00 ~ 1, dclus1)
yes <- polish(svyglm(I(sch.wide == "Yes") ~ 1, dclus1, family = quasibinomial, control = tight))
add("empty_survey", list(coef = coef(alone)[[1]], se = SE(alone)[[1]], df = alone$df.residual,
                         logit_coef = coef(yes)[[1]], logit_se = SE(yes)[[1]]))

# ------------------------------------------------------------------------------------------------ means and totals

stat <- function(x, df) {
  ends <- confint(x, df = df)
  list(estimate = plain(coef(x)), std_error = plain(SE(x)), cov = square(vcov(x)), df = df, conf_low = plain(ends[, 1]),
       conf_high = plain(ends[, 2]))
}
kinds_of_school <- ~ api00 + api99 + enroll + stype
of_design <- function(d) {
  inside <- subset(d, sch.wide == "Yes" & ell > 5)
  by_type <- function(statistic) {
    found <- svyby(~ api00 + api99, ~ stype, d, statistic, covmat = TRUE)
    ends <- confint(found, df = degf(d))
    list(estimate = plain(coef(found)), std_error = plain(unlist(SE(found))), conf_low = plain(ends[, 1]), conf_high = plain(ends[, 2]))
  }
  list(mean = stat(svymean(kinds_of_school, d, na.rm = TRUE), degf(d)),
       total = stat(svytotal(kinds_of_school, d, na.rm = TRUE), degf(d)),
       domain_mean = stat(svymean(~ api00 + api99, inside), degf(inside)),
       domain_total = stat(svytotal(~ api00 + api99, inside), degf(inside)),
       by_mean = by_type(svymean), by_total = by_type(svytotal),
       ratio = stat(svyratio(~ api.stu + api00, ~ enroll, d, na.rm = TRUE), degf(d)),
       plain_ratio = stat(svyratio(~ api00, ~ api99, d), degf(d)))
}
known <- function(d) subset(d, !is.na(enroll))   # rows outside count in the variance
dreplaced <- svydesign(id = ~dnum, weights = ~pw, data = apiclus1)
nhanes <- dataset("nhanes")
nhanes <- nhanes[!is.na(nhanes$WTMEC2YR), ]
dnhanes <- svydesign(id = ~SDMVPSU, strata = ~SDMVSTRA, weights = ~WTMEC2YR, nest = TRUE, data = nhanes)
designs <- list(strat = dstrat, clus1 = dclus1, clus2 = dclus2, replaced = dreplaced)
for (name in names(designs)) add(paste0("totals_", name), of_design(known(designs[[name]])))
seen <- subset(dnhanes, !is.na(HI_CHOL))
add("totals_nhanes", list(mean = stat(svymean(~ HI_CHOL, seen), degf(seen)),
                          women = stat(svymean(~ HI_CHOL, subset(seen, RIAGENDR == 2)), degf(seen))))

write_reference(entries, "estimands.json", c("survey", "lme4", "lmerTest", "pbkrtest", "geepack", "emmeans", "multcomp",
                                        "sandwich"))
