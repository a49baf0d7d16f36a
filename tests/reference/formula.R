# Formulas as R reads them: columns of model.matrix, names of lme4's random effects, and fits of published formulas.
# Writes formula.json; see README.md. A few seconds.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({
  library(lme4); library(nlme, exclude = c("lmList", "VarCorr", "ranef", "fixef", "getData")); library(geepack)
  library(survey); library(splines)
})
invisible(Sys.setlocale("LC_COLLATE", "C"))
options(stringsAsFactors = FALSE)

# ------------------------------------------------------------------------------------------- columns of the design

# every combination of a, b and c occurs
rows <- expand.grid(a = c("q", "p", "r"), b = c("v", "u"), c = c("k", "l"), stringsAsFactors = FALSE)
rows <- rbind(rows, rows[c(1, 5, 8, 12), ])
n <- nrow(rows)
set.seed(8)
design_data <- data.frame(rows, x = round(rnorm(n), 2), z = round(runif(n, 1, 9), 1), n = sample(1:6, n, TRUE),
                          w = sample(1:3, n, TRUE), k = rep(c(TRUE, FALSE, FALSE), length.out = n),
                          Sepal.Length = round(rnorm(n, 5), 1), y = round(rnorm(n), 2))
design_data[["my score"]] <- round(runif(n), 2)
design_data$o <- c("low", "mid", "high")[sample(1:3, n, TRUE)]
new_data <- design_data[c(3, 8, 13), ]
new_data$x <- c(-0.31, 0.4, 0.52); new_data$z <- c(2.2, 6.1, 7.7)
as_columns <- function(d) { d <- as.list(d); lapply(d, function(v) I(as.vector(v))) }

formulas <- c(
  "~ x", "~ x + z", "~ a", "~ a + x", "~ a * x", "~ a:x", "~ x:a", "~ a/x", "~ a * b", "~ a:b", "~ a + a:b", "~ a/b",
  "~ b %in% a", "~ a + b %in% a", "~ (a + x)/b", "~ a * b * c", "~ (a + b + c)^2", "~ (a + x + z)^2 - x:z",
  "~ a * b - a", "~ a * x - a", "~ a * x - x", "~ a:b:c + a:b", "~ b:a + a", "~ 0 + a", "~ a - 1", "~ 0 + a + b",
  "~ 0 + x + a", "~ 0 + x:a + b", "~ -1 + a * b", "~ a + 0 + x:a", "~ x + I(x^2)", "~ log(z)", "~ log(z, 2)",
  "~ log10(z) + sqrt(z) + exp(x)", "~ I(x > 0)", "~ k", "~ k * x", "~ 0 + k", "~ factor(w)", "~ as.factor(w) * x",
  "~ factor(w, levels = c(3, 1, 2))", "~ relevel(factor(a), ref = \"q\")", "~ scale(x)", "~ scale(z) * a",
  "~ scale(z, scale = FALSE)", "~ scale(z, center = FALSE)", "~ poly(z, 2)", "~ poly(z, 3) * b",
  "~ poly(z, degree = 2, raw = TRUE)", "~ bs(z)", "~ bs(z, df = 5)", "~ bs(z, knots = c(3, 5), degree = 2)", "~ ns(z)",
  "~ ns(z, df = 3)", "~ ns(z, knots = c(3, 6)) + a", "~ Sepal.Length", "~ `my score` + x", "~ I(x / z) + I(-x^2)",
  "~ I((x + z) %% 2) + I(z %/% 2)", "~ ifelse(x > 0.2 & z < 5, 1, 0)", "~ ifelse(a == \"p\", \"one\", \"other\")",
  "~ I(a %in% c(\"p\", \"q\"))", "~ pmax(x, 0) + pmin(x, 0) + abs(x)", "~ C(factor(a), contr.sum)",
  "~ C(factor(a), contr.helmert)", "~ C(factor(a), contr.SAS)", "~ C(factor(a), contr.treatment(3, base = 2))",
  "~ C(factor(w), contr.poly)", "~ factor(o, levels = c(\"low\", \"mid\", \"high\"))", "~ cut(z, c(0, 3, 6, 10))",
  "~ x + offset(log(n))", "~ interaction(a, b)", "~ log(z):a + exp(-x)", "~ a:x + b:x", "~ (a + b) * (x + z)",
  "~ as.numeric(k) + as.integer(z)", "~ x * z * b", "~ a + b + c + a:c", "~ b/(x + z)", "~ plogis(x) + tanh(z)",
  "~ round(z) + floor(z) + ceiling(z) + sign(x)", "~ log1p(z) + I(1/z)", "~ I(x * (z > 4))", "y ~ .", "y ~ . - w",
  "~ a * . - c"
)
designs <- lapply(formulas, function(text) {
  used <- if (grepl("[.]( |$)", text)) design_data[c("y", "a", "c", "x", "w")] else design_data
  formula <- as.formula(text)
  environment(formula) <- globalenv()
  frame <- model.frame(formula, used)
  matrix <- model.matrix(formula, frame)
  offset <- model.offset(frame)
  t <- delete.response(terms(frame))
  levels <- .getXlevels(terms(frame), frame)
  entry <- list(formula = text, names = I(colnames(matrix)), values = square(matrix))
  if (!is.null(offset)) entry$offset <- plain(offset)
  # new rows: what was learnt of the old ones is kept
  if (grepl("scale|poly|bs|ns|log|\\* x$|a \\* b$|0 \\+ a$", text) && !grepl("C\\(|relevel|ifelse", text)) {
    new_frame <- suppressWarnings(model.frame(t, new_data, xlev = levels))
    entry$new <- square(model.matrix(t, new_frame, contrasts.arg = attr(matrix, "contrasts")))
  }
  entry
})
names(designs) <- formulas

# --------------------------------------------------------------------------------------------- random effects' names

random_formulas <- c(
  "y ~ x + (1 | a)", "y ~ x + (x | a)", "y ~ x + (1 + x | a)", "y ~ x + (0 + x | a)", "y ~ x + (x - 1 | a)",
  "y ~ x + (x || a)", "y ~ x + (1 | a/b)", "y ~ x + (1 | a/b/c)", "y ~ x + (1 | a:b)", "y ~ x + (1 | a) + (0 + x | a)",
  "y ~ b + (b | a)", "y ~ b + (0 + b | a)", "y ~ b + (b || a)", "y ~ x + z + (x + z || a)", "y ~ x + (z | a)",
  "y ~ x + (x | a) + (1 | b)", "y ~ x * z + (x * z || a)", "y ~ x + (log(z) | a)", "y ~ x + (I(x^2) | a)",
  "y ~ x + (x || a/b)", "y ~ b * x + (b * x | a)", "y ~ x + b + (x + b || a)", "y ~ x + (1 | w)",
  "y ~ 1 + (1 | a) + (1 | b) + (1 | a:b)"
)
ignore <- lmerControl(check.nobs.vs.nlev = "ignore", check.nobs.vs.nRE = "ignore", check.nobs.vs.rankZ = "ignore")
random <- lapply(random_formulas, function(text) {
  parts <- lFormula(as.formula(text), design_data, control = ignore)$reTrms
  factors <- names(parts$cnms)
  labels <- lapply(unique(factors), function(name) I(as.character(parts$flist[[name]])))
  names(labels) <- unique(factors)
  list(formula = text, blocks = lapply(seq_along(factors), function(i) list(factor = factors[i], effects = I(parts$cnms[[i]]))),
       labels = labels)
})
names(random) <- random_formulas

# --------------------------------------------------------------------------------------------------------------- fits

tables <- list(
  Machines = as.data.frame(nlme::Machines), Oats = as.data.frame(nlme::Oats), ergoStool = as.data.frame(nlme::ergoStool),
  sleepstudy = dataset("sleepstudy"), penicillin = dataset("penicillin"), pastes = dataset("pastes"),
  orthodont = dataset("orthodont"), cbpp = dataset("cbpp"), epil = dataset("epil"), dietox = dataset("dietox"),
  respiratory = dataset("respiratory"), ohio = dataset("ohio"), seizure = read.csv("data/seizure_long.csv"),
  apistrat = dataset("apistrat"), apiclus1 = dataset("apiclus1")
)
for (name in c("Machines", "Oats", "ergoStool"))
  for (column in names(tables[[name]]))
    if (is.factor(tables[[name]][[column]])) tables[[name]][[column]] <- as.character(tables[[name]][[column]])
tables$respiratory$person <- paste(tables$respiratory$center, tables$respiratory$id)
shipped <- lapply(tables[c("Machines", "Oats", "ergoStool")], as_columns)

tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = 0.02, rhoend = 1e-10, maxfun = 1e6), calc.derivs = FALSE,
                     check.conv.singular = "ignore")
tight_glmer <- glmerControl(optimizer = "bobyqa", tolPwrss = 1e-13, optCtrl = list(rhobeg = 0.02, rhoend = 1e-9, maxfun = 1e6),
                            calc.derivs = FALSE)
random_covariances <- function(fit) {
  parts <- VarCorr(fit)
  lapply(seq_along(parts), function(i) list(factor = names(parts)[i], effects = I(rownames(parts[[i]])),
                                           covariance = square(matrix(as.numeric(parts[[i]]), nrow(parts[[i]])))))
}
mixed_fit <- function(data, text, reml = TRUE) {
  fit <- lmer(as.formula(text), tables[[data]], REML = reml, control = tight)
  list(model = "lmer", data = data, formula = text, method = if (reml) "reml" else "ml", coef = named(fixef(fit)),
       se = se_of(vcov(fit)), loglik = as.numeric(logLik(fit)), sigma2 = sigma(fit)^2, random = random_covariances(fit))
}
logit_fit <- function(data, text, n_quadrature = 1) {
  fit <- glmer(as.formula(text), tables[[data]], family = binomial, nAGQ = n_quadrature, control = tight_glmer)
  list(model = "glmer", data = data, formula = text, n_quadrature = n_quadrature, coef = named(fixef(fit)),
       loglik = as.numeric(logLik(fit)), random = random_covariances(fit))
}
fits <- list(
  mixed_fit("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
  mixed_fit("sleepstudy", "Reaction ~ Days + (Days | Subject)", FALSE),
  mixed_fit("sleepstudy", "Reaction ~ Days + (Days || Subject)"),
  mixed_fit("sleepstudy", "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)"),
  mixed_fit("sleepstudy", "Reaction ~ Days + (1 | Subject)"),
  mixed_fit("sleepstudy", "Reaction ~ 1 + (1 | Subject)", FALSE),
  mixed_fit("sleepstudy", "Reaction ~ Days + (0 + Days | Subject)"),
  mixed_fit("sleepstudy", "Reaction ~ 1 + (Days | Subject)"),
  mixed_fit("sleepstudy", "Reaction ~ poly(Days, 2) + (Days | Subject)", FALSE),
  mixed_fit("sleepstudy", "log(Reaction) ~ Days + I(Days^2) + (1 | Subject)"),
  mixed_fit("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
  mixed_fit("pastes", "strength ~ 1 + (1 | batch/cask)"),
  mixed_fit("pastes", "strength ~ 1 + (1 | batch) + (1 | sample)"),
  mixed_fit("pastes", "strength ~ (1 | batch:cask)", FALSE),
  mixed_fit("Machines", "score ~ Machine + (1 | Worker)"),
  mixed_fit("Machines", "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)"),
  mixed_fit("Machines", "score ~ Machine + (1 | Worker/Machine)"),
  mixed_fit("Machines", "score ~ Machine + (Machine | Worker)"),
  mixed_fit("Machines", "score ~ Machine + (0 + Machine | Worker)"),
  mixed_fit("Machines", "score ~ Machine - 1 + (0 + Machine | Worker)", FALSE),
  mixed_fit("orthodont", "distance ~ age * Sex + (age | Subject)"),
  mixed_fit("orthodont", "distance ~ I(age - 11) * Sex + (I(age - 11) | Subject)", FALSE),
  mixed_fit("orthodont", "distance ~ age + Sex + (1 | Subject)"),
  mixed_fit("Oats", "yield ~ nitro + Variety + (1 | Block/Variety)"),
  mixed_fit("Oats", "yield ~ factor(nitro) * Variety + (1 | Block) + (1 | Block:Variety)"),
  mixed_fit("ergoStool", "effort ~ Type + (1 | Subject)"),
  mixed_fit("ergoStool", "effort ~ Type - 1 + (1 | Subject)", FALSE),
  mixed_fit("dietox", "Weight ~ Time * Cu + (Time | Pig)", FALSE),
  logit_fit("cbpp", "cbind(incidence, size - incidence) ~ factor(period) + (1 | herd)"),
  logit_fit("cbpp", "cbind(incidence, size - incidence) ~ factor(period) + (1 | herd)", 9),
  logit_fit("ohio", "resp ~ age * smoke + (1 | id)", 15)
)
ctl <- geese.control(epsilon = 1e-12, maxit = 100)
gee_fit <- function(data, text, family, id, corstr) {
  d <- tables[[data]]
  d$id. <- match(d[[id]], unique(d[[id]]))
  fit <- geeglm(as.formula(text), family = family, data = d, id = id., corstr = corstr, control = ctl)
  list(model = "geeglm", data = data, formula = text, family = fit$family$family, id = id, corstr = corstr,
       coef = named(coef(fit)), se = se_of(vcov(fit)))
}
fits <- c(fits, list(
  gee_fit("epil", "y ~ log(base/4) * trt + log(age) + factor(period)", poisson, "subject", "exchangeable"),
  gee_fit("seizure", "y ~ offset(log(weeks)) + x + trt + x:trt", poisson, "id", "exchangeable"),
  gee_fit("seizure", "y ~ x * trt + offset(log(weeks))", poisson, "id", "independence"),
  gee_fit("ohio", "resp ~ age + smoke + age:smoke", binomial, "id", "exchangeable"),
  gee_fit("respiratory", "outcome ~ factor(center) + sex + treat * I(age > 30) + baseline", binomial, "person", "exchangeable")
))
glm_fit <- function(data, text) {
  fit <- glm(as.formula(text), binomial, tables[[data]], epsilon = 1e-14, maxit = 50)
  list(model = "glm", data = data, formula = text, coef = named(coef(fit)), se = se_of(vcov(fit)),
       loglik = as.numeric(logLik(fit)))
}
fits <- c(fits, list(
  glm_fit("respiratory", "outcome ~ treat + sex * poly(age, 2) + factor(center)"),
  glm_fit("cbpp", "cbind(incidence, size - incidence) ~ factor(period)"),
  glm_fit("ohio", "resp ~ ns(age, df = 2) + smoke")
))
survey_fit <- function(data, text, design, family) {
  fit <- svyglm(as.formula(text), design, family = family, epsilon = 1e-14, maxit = 50)
  list(model = "svyglm", data = data, formula = text, family = fit$family$family, coef = named(coef(fit)),
       se = se_of(vcov(fit)))
}
strat <- svydesign(ids = ~1, strata = ~stype, weights = ~pw, fpc = ~fpc, data = tables$apistrat)
clus <- svydesign(ids = ~dnum, weights = ~pw, fpc = ~fpc, data = tables$apiclus1)
fits <- c(fits, list(
  c(survey_fit("apistrat", "api00 ~ ell + meals + mobility", strat, gaussian()),
    list(design = list(strata = "stype", sample_weight = "pw", fpc = "fpc"))),
  c(survey_fit("apiclus1", "api00 ~ ell + meals + mobility", clus, gaussian()),
    list(design = list(groups = "dnum", sample_weight = "pw", fpc = "fpc"))),
  c(survey_fit("apistrat", "I(sch.wide == \"Yes\") ~ ell + meals * stype", strat, quasibinomial()),
    list(design = list(strata = "stype", sample_weight = "pw", fpc = "fpc")))
))

write_reference(list(data = as_columns(design_data), new = as_columns(new_data), designs = designs, random = random,
                     tables = shipped, fits = fits), "formula.json",
                c("lme4", "nlme", "geepack", "survey", "splines", "jsonlite"))
