# Reference results for marginal models with few clusters, and under survey designs. Writes gee_small_sample.json; see
# README.md.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({library(geepack); library(clubSandwich); library(survey)})

glm_ctl <- glm.control(epsilon = 1e-14, maxit = 200)
jack <- geese.control(epsilon = 1e-12, maxit = 1000, jack = TRUE)
entries <- list()
add <- function(name, value) {
  stopifnot(is.null(entries[[name]]))
  entries[[name]] <<- value
}

ohio <- dataset("ohio")
epil <- dataset("epil")
dietox <- dataset("dietox")
# the first twelve pigs: few clusters of 11 and 12 rows
pigs <- subset(dietox, Pig %in% unique(dietox$Pig)[1:12])
# every ninth child of ohio; the smoking of the mother is constant within clusters
few <- subset(ohio, id %% 9 == 0)
weighted <- read.csv("data/sim_weighted.csv")

# ------------------------------------------------------------------------------- clubSandwich: independence

# CR0 is the sandwich and CR3 is md. CR2 is kc where the working variance is constant within clusters; elsewhere it takes
# another root. Degrees of freedom are Bell and McCaffrey's under the working model, joint tests AHT ("HTZ").
club <- function(name, call, cluster, types = c("CR0", "CR2", "CR3"), joint = NULL) {
  fit <- eval(parse(text = squish(call)), globalenv())
  fit <- if (inherits(fit, "glm")) polish(fit) else fit
  out <- list(call = squish(call), package = version_of("clubSandwich"), coef = named(coef(fit)),
              n_clusters = length(unique(cluster)))
  for (type in types) {
    v <- vcovCR(fit, cluster = cluster, type = type)
    out[[type]] <- list(cov = square(v), se = se_of(v),
                        df = plain(coef_test(fit, vcov = v, test = "Satterthwaite")$df_Satt))
    if (!is.null(joint)) {
      w <- Wald_test(fit, constraints = constrain_zero(joint), vcov = v, test = "HTZ")
      out[[type]]$joint <- list(coefs = I(joint), statistic = w$Fstat, df = w$df_num, df_denominator = w$df_denom,
                                p_value = w$p_val)
    }
  }
  add(name, out)
}
club("club_pigs", "lm(Weight ~ Time + Cu, data = pigs)", pigs$Pig, joint = 3:4)
club("club_dietox", "lm(Weight ~ Time + Cu + Start, data = dietox)", dietox$Pig, joint = 2:4)
club("club_ohio", 'glm(resp ~ smoke, family = binomial, data = few, control = glm_ctl)', few$id)
club("club_ohio_age", 'glm(resp ~ age + smoke, family = binomial, data = few, control = glm_ctl)', few$id,
     types = c("CR0", "CR3"), joint = 2:3)
club("club_epil", 'glm(y ~ trt + log(base/4) + log(age), family = poisson, data = epil, control = glm_ctl)', epil$subject,
     joint = 2:4)

# ------------------------------------------------------------------------------- geepack: jackknife

# ajs is (K - p - q - 1) / K times md, whatever the working correlation: q parameters of association
jackknife <- function(name, call) {
  g <- suppressWarnings(eval(parse(text = squish(call)), globalenv()))
  add(name, list(call = squish(call), package = version_of("geepack"), n_clusters = length(g$clusz),
                 coef = named(g$beta), alpha = plain(g$alpha), phi = unname(g$gamma), robust_se = se_of(g$vbeta),
                 ajs_se = se_of(g$vbeta.ajs), ajs_cov = square(g$vbeta.ajs)))
}
for (s in c("independence", "exchangeable", "ar1", "unstructured")) {
  jackknife(paste0("jackknife_epil_", s), sprintf(
    'geese(y ~ trt + log(base/4) + log(age), id = subject, data = epil, family = poisson, corstr = "%s",
           control = jack)', s))
  jackknife(paste0("jackknife_ohio_", s), sprintf(
    'geese(resp ~ age + smoke, id = id, data = few, family = binomial, corstr = "%s", control = jack)', s))
}
for (s in c("independence", "exchangeable", "ar1"))
  jackknife(paste0("jackknife_pigs_", s), sprintf(
    'geese(Weight ~ Time + Cu, id = Pig, data = pigs, family = gaussian, corstr = "%s", control = jack)', s))
jackknife("jackknife_weighted_independence",
          'geese(yb ~ g + x, id = id, data = weighted, weights = wc, family = binomial, corstr = "independence",
                 control = jack)')

# ------------------------------------------------------------------------------- survey: designs

apistrat <- dataset("apistrat")
apiclus1 <- dataset("apiclus1")
apiclus2 <- dataset("apiclus2")
svy_ctl <- list(epsilon = 1e-14, maxit = 200)
survey_fit <- function(name, design, formula, family, df = TRUE, note = NULL) {
  d <- eval(parse(text = design), globalenv())
  fit <- svyglm(formula, design = d, family = family, control = svy_ctl)
  fit <- eval(bquote(svyglm(formula, design = d, family = family, control = svy_ctl, start = .(unname(coef(fit))))))
  out <- list(design = squish(design), formula = squish(deparse(formula)), family = family$family, link = family$link,
              package = version_of("survey"), coef = named(coef(fit)), se = se_of(vcov(fit)), cov = square(vcov(fit)),
              degf = degf(d), df = fit$df.residual)
  if (!is.null(note)) out$note <- note
  add(name, out)
}
designs <- list(
  strat = "svydesign(id = ~1, strata = ~stype, weights = ~pw, data = apistrat, fpc = ~fpc)",
  strat_nofpc = "svydesign(id = ~1, strata = ~stype, weights = ~pw, data = apistrat)",
  weights = "svydesign(id = ~1, weights = ~pw, data = apistrat)",
  clus1 = "svydesign(id = ~dnum, weights = ~pw, data = apiclus1, fpc = ~fpc)",
  clus1_nofpc = "svydesign(id = ~dnum, weights = ~pw, data = apiclus1)",
  clus2 = "svydesign(id = ~dnum + snum, fpc = ~fpc1 + fpc2, weights = ~pw, data = apiclus2)",
  strat_domain = "subset(svydesign(id = ~1, strata = ~stype, weights = ~pw, data = apistrat, fpc = ~fpc), yr.rnd == 'No')",
  clus1_domain = "subset(svydesign(id = ~dnum, weights = ~pw, data = apiclus1, fpc = ~fpc), stype != 'H')",
  clus2_domain = "subset(svydesign(id = ~dnum + snum, fpc = ~fpc1 + fpc2, weights = ~pw, data = apiclus2), yr.rnd == 'No')")
models <- list(
  linear = list(api00 ~ ell + meals + mobility, gaussian()),
  poisson = list(enroll ~ ell + meals, quasipoisson()),
  gamma = list(api00 ~ ell + meals, Gamma("log")),
  binary = list(I(sch.wide == "Yes") ~ ell + meals, quasibinomial()))
for (d in names(designs)) for (m in names(models))
  survey_fit(paste0("survey_", d, "_", m), designs[[d]], models[[m]][[1]], models[[m]][[2]])

# one school alone in a stratum of its own
apilonely <- apistrat
apilonely$stratum <- ifelse(seq_len(nrow(apilonely)) == 7, "lonely", as.character(apilonely$stype))
for (policy in c("remove", "adjust", "average")) {
  options(survey.lonely.psu = policy)
  survey_fit(paste0("survey_lonely_", policy), "svydesign(id = ~1, strata = ~stratum, weights = ~pw, data = apilonely)",
             models$linear[[1]], gaussian(), note = "row 7 of apistrat is a stratum of its own")
}

write_reference(entries, "gee_small_sample.json", c("geepack", "clubSandwich", "survey", "jsonlite"))
