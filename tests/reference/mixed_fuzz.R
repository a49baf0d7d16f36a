# Best optima that lme4 can be made to find, for the random cases of ../mixed/fuzz_cases.py. Writes mixed_fuzz.json; see
# README.md. The data come from write_fuzz_data.py, run here with the Python of the environment variable PYTHON.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages(library(lme4))

unchecked <- lmerControl(
  calc.derivs = FALSE, check.nobs.vs.rankZ = "ignore", check.nobs.vs.nlev = "ignore", check.nlev.gtreq.5 = "ignore",
  check.nlev.gtr.1 = "ignore", check.nobs.vs.nRE = "ignore", check.rankX = "silent.drop.cols", check.scaleX = "ignore",
  check.conv.grad = "ignore", check.conv.singular = "ignore", check.conv.hess = "ignore")

# ---------------------------------------------------------------------------------------------- the model in R

frame_of <- function(case) {
  d <- data.frame(y = as.numeric(case$y))
  for (name in names(case$X)) d[[name]] <- as.numeric(case$X[[name]])
  for (name in names(case$groups)) d[[name]] <- factor(unlist(case$groups[[name]]))
  d$w <- if (is.null(case$weights)) 1 else as.numeric(case$weights)
  d$off <- if (is.null(case$offset)) 0 else as.numeric(case$offset)
  d
}

# Names of the random effects of a factor, "1" for the intercept.
effects_of <- function(case, factor) c(if (case$random_intercept) "1", unlist(case$slopes[[factor]]))

random_part <- function(case) {
  terms <- lapply(names(case$groups), function(factor) {
    effects <- effects_of(case, factor)
    inside <- if (case$diagonal) ifelse(effects == "1", "1", paste("0 +", effects))
              else paste(if ("1" %in% effects) "" else "0 +", paste(effects, collapse = " + "))
    paste0("(", inside, " | ", factor, ")")
  })
  paste(unlist(terms), collapse = " + ")
}

model_formula <- function(case, fixed, outcome = "y")
  as.formula(paste(outcome, "~", paste(c("0", fixed), collapse = " + "), "+", random_part(case)))

# Relative Cholesky factors, by factor, of lme4's theta.
factors_of <- function(case, cnms, theta) {
  out <- lapply(names(case$groups), function(factor) {
    effects <- sub("^1$", "(Intercept)", effects_of(case, factor))
    structure(matrix(0, length(effects), length(effects)), dimnames = list(effects, effects))
  })
  names(out) <- names(case$groups)
  for (k in seq_along(cnms)) {
    q <- length(cnms[[k]])
    block <- matrix(0, q, q)
    n <- q * (q + 1) / 2
    block[lower.tri(block, diag = TRUE)] <- theta[seq_len(n)]
    theta <- theta[-seq_len(n)]
    out[[names(cnms)[k]]][cnms[[k]], cnms[[k]]] <- block
  }
  out
}

# The reverse.
theta_of <- function(factors, cnms) unlist(lapply(seq_along(cnms), function(k) {
  block <- factors[[names(cnms)[k]]][cnms[[k]], cnms[[k]], drop = FALSE]
  block[lower.tri(block, diag = TRUE)]
}))

# ---------------------------------------------------------------------------------------------- an equal model, scaled

# Features with random slopes are centred (where that leaves the model the same) and scaled; `change` maps random
# effects to those of the new columns. The outcome becomes its residual on X, of mean square one, X orthonormal columns.
standardise <- function(case, d, X) {
  out <- d
  for (name in unique(unlist(case$slopes))) {
    centre <- if (case$random_intercept && !case$diagonal) mean(d[[name]]) else 0
    scale <- sqrt(mean((d[[name]] - centre)^2))
    out[[name]] <- (d[[name]] - centre) / scale
    attr(out[[name]], "moved") <- c(centre, scale)
  }
  change <- lapply(names(case$groups), function(factor) {
    effects <- effects_of(case, factor)
    A <- diag(length(effects))
    for (k in which(effects != "1")) {
      moved <- attr(out[[effects[k]]], "moved")
      A[k, k] <- moved[2]
      if (effects[1] == "1") A[1, k] <- moved[1]
    }
    A
  })
  decomposed <- qr(sqrt(d$w) * X, tol = 0)
  Q <- qr.Q(decomposed) / sqrt(d$w)
  out$y <- qr.resid(decomposed, sqrt(d$w) * (d$y - d$off)) / sqrt(d$w)
  out$y <- out$y / sqrt(mean(out$y^2))
  out$off <- 0
  fixed <- paste0("fixed", seq_len(ncol(Q)))
  out[fixed] <- Q * sqrt(nrow(Q))
  list(data = out, change = setNames(change, names(case$groups)), fixed = fixed)
}

# Relative Cholesky factors after the change of the random effects, and back.
lower_root <- function(M) {
  R <- qr.R(qr(t(M), tol = 0))
  structure(t(R * ifelse(diag(R) < 0, -1, 1)), dimnames = dimnames(M))
}
changed <- function(factors, change) mapply(
  function(T, A) structure(lower_root(A %*% T), dimnames = dimnames(T)), factors, change, SIMPLIFY = FALSE)

# ---------------------------------------------------------------------------------------------- searches

searches <- list(
  nloptwrap = function(fn, start, lower, upper) nloptwrap(
    start, fn, lower, upper, control = list(xtol_abs = 1e-12, ftol_abs = 1e-12, maxeval = 5000))$par,
  bobyqa = function(fn, start, lower, upper) minqa::bobyqa(
    start, fn, lower, upper, control = list(rhobeg = min(0.2, max(start) / 2), rhoend = 1e-10, maxfun = 10000))$par,
  Nelder_Mead = function(fn, start, lower, upper) Nelder_Mead(
    fn, start, lower, upper, control = list(FtolAbs = 1e-13, FtolRel = 1e-15, XtolRel = 1e-10, maxfun = 5000))$par)

# Criterion of a model as a function of theta, and what goes with it.
criterion_of <- function(case, formula, d) {
  parts <- suppressMessages(suppressWarnings(
    lFormula(formula, d, REML = case$reml, weights = w, offset = off, control = unchecked)))
  devfun <- do.call(mkLmerDevfun, c(parts, list(control = unchecked)))
  fn <- function(theta) {
    value <- tryCatch(as.numeric(devfun(as.numeric(theta))), error = function(e) NA)
    if (is.finite(value)) value else 1e300
  }
  list(fn = fn, X = parts$X, cnms = parts$reTrms$cnms, lower = parts$reTrms$lower)
}

# All effects alike, at random, and one factor's effects large while the others are small.
starts_of <- function(lower, cnms) {
  diagonal <- ifelse(lower == 0, 1, 0)
  factor <- rep(names(cnms), lengths(cnms) * (lengths(cnms) + 1) / 2)
  sizes <- c("1" = 1, "0.1" = 0.1, "10" = 10, "0.001" = 0.001, "100" = 100, "1000" = 1000)
  one <- if (length(unique(factor)) > 1) setNames(
    lapply(unique(factor), function(name) diagonal * ifelse(factor == name, 200, 0.2)), unique(factor))
  set.seed(1)
  c(lapply(sizes, function(size) size * diagonal), one,
    list(random = abs(diagonal * rnorm(length(lower))) + (1 - diagonal) * rnorm(length(lower))))
}

# Ends of all searches from all starts, the best first.
ends_of <- function(criterion) {
  upper <- rep(Inf, length(criterion$lower))
  starts <- starts_of(criterion$lower, criterion$cnms)
  ends <- list()
  for (method in names(searches)) for (start in names(starts)) {
    theta <- tryCatch(suppressWarnings(searches[[method]](criterion$fn, starts[[start]], criterion$lower, upper)),
                      error = function(e) NULL)
    if (is.null(theta)) next
    ends[[length(ends) + 1]] <- list(theta = theta, value = criterion$fn(theta), by = paste(method, start))
  }
  ends[order(sapply(ends, `[[`, "value"))]
}

# From the best end on: smaller steps, and exact zeros where they are as good.
polished <- function(criterion, theta) {
  fn <- criterion$fn
  lower <- criterion$lower
  for (step in c(1e-2, 1e-4, 1e-6)) {
    found <- tryCatch(suppressWarnings(minqa::bobyqa(
      theta, fn, lower, control = list(rhobeg = step, rhoend = 1e-4 * step, maxfun = 5000))$par),
      error = function(e) theta)
    if (fn(found) < fn(theta)) theta <- found
  }
  for (k in which(lower == 0 & theta < 0.03)) {
    free <- setdiff(which(theta != 0 | lower != 0), k)
    zeroed <- replace(theta, k, 0)
    if (length(free)) {
      at <- function(x) fn(replace(zeroed, free, x))
      for (step in c(1e-3, 1e-5)) {
        found <- tryCatch(suppressWarnings(minqa::bobyqa(
          zeroed[free], at, lower[free], control = list(rhobeg = step, rhoend = 1e-5 * step, maxfun = 5000))$par),
          error = function(e) zeroed[free])
        if (at(found) < fn(zeroed)) zeroed[free] <- found
      }
    }
    if (fn(zeroed) <= fn(theta) + 1e-10) theta <- zeroed
  }
  theta
}

# ---------------------------------------------------------------------------------------------- results

# Log-likelihood and estimates at given relative Cholesky factors, from the QR factorisation of
# [Z Lambda, X, y; I, 0, 0]: it loses half as many digits as the cross-products that lme4 solves.
estimates_at <- function(case, d, X, factors) {
  blocks <- lapply(names(case$groups), function(factor) {
    effects <- effects_of(case, factor)
    Z <- sapply(effects, function(effect) if (effect == "1") rep(1, nrow(d)) else as.numeric(d[[effect]]))
    relative <- matrix(Z, nrow(d)) %*% factors[[factor]]
    codes <- as.integer(d[[factor]])
    do.call(cbind, lapply(seq_len(max(codes)), function(level) relative * (codes == level)))
  })
  Z <- do.call(cbind, blocks)
  q <- ncol(Z)
  p <- ncol(X)
  n <- nrow(X)
  top <- sqrt(d$w) * cbind(Z, X, d$y - d$off)
  R <- qr.R(qr(rbind(top, cbind(diag(q), matrix(0, q, p + 1))), tol = 0))
  pivots <- log(abs(diag(R)))
  df <- if (case$reml) n - p else n
  sigma2 <- R[q + p + 1, q + p + 1]^2 / df
  counted <- seq_len(if (case$reml) q + p else q)
  RX <- R[q + seq_len(p), q + seq_len(p), drop = FALSE]
  list(loglik = -sum(pivots[counted]) - df / 2 * (1 + log(2 * pi * sigma2)) + sum(log(d$w)) / 2, sigma2 = sigma2,
       coef = backsolve(RX, R[q + seq_len(p), q + p + 1]),
       se = sqrt(sigma2 * rowSums(backsolve(RX, diag(p))^2)))
}

# Why lme4 would not fit this with its default checks, or NULL.
refusal <- function(case, formula, d) tryCatch({
  suppressMessages(suppressWarnings(lFormula(formula, d, REML = case$reml, weights = w, offset = off)))
  NULL
}, error = function(e) squish(conditionMessage(e)))

scalar <- function(x, digits) signif(as.numeric(x), digits)
number <- function(x, digits) I(signif(as.vector(x), digits))      # a list in JSON, also for length one

reference <- function(case) {
  d <- frame_of(case)
  fixed <- c(if (case$fit_intercept) "1", names(case$X))
  formula <- model_formula(case, fixed)
  raw <- criterion_of(case, formula, d)
  X <- raw$X
  scaled <- standardise(case, d, X)
  well <- criterion_of(case, model_formula(case, scaled$fixed), scaled$data)
  to_well <- function(theta) theta_of(changed(factors_of(case, raw$cnms, theta), scaled$change), well$cnms)

  default <- suppressMessages(suppressWarnings(
    lmer(formula, d, REML = case$reml, weights = w, offset = off, control = unchecked)))
  raw_ends <- ends_of(raw)
  well_ends <- ends_of(well)
  candidates <- c(list(to_well(getME(default, "theta"))), lapply(raw_ends, function(end) to_well(end$theta)),
                  lapply(well_ends, `[[`, "theta"))
  values <- sapply(candidates, well$fn)
  theta <- polished(well, candidates[[which.min(values)]])
  factors <- factors_of(case, well$cnms, theta)
  moved <- scaled$data
  moved[c("y", "off")] <- d[c("y", "off")]
  best <- estimates_at(case, moved, X, factors)
  at_default <- estimates_at(case, d, X, factors_of(case, raw$cnms, getME(default, "theta")))

  back <- lapply(scaled$change, solve)
  names_of_all <- c(if (case$fit_intercept) "(Intercept)", names(case$X))
  kept <- match(names_of_all, colnames(X))
  diagonals <- unlist(lapply(factors, diag))
  rows <- unlist(lapply(factors, function(T) sqrt(rowSums(T^2))))
  list(
    loglik = scalar(best$loglik, 15), default = scalar(logLik(default), 12), own = scalar(-raw_ends[[1]]$value / 2, 12),
    rounding = scalar(as.numeric(logLik(default)) - at_default$loglik, 3), by = raw_ends[[1]]$by,
    refused = refusal(case, formula, d), singular = isTRUE(any(diagonals < 1e-4)),
    theta_min = scalar(min(diagonals), 3), ratio_min = scalar(min(diagonals / pmax(rows, 1e-300)), 3),
    theta_max = scalar(max(rows), 3),
    theta = number(theta_of(changed(factors, back), raw$cnms), 9), sigma2 = scalar(best$sigma2, 12),
    covariance = lapply(setNames(names(factors), names(factors)), function(factor) {
      root <- back[[factor]] %*% factors[[factor]]
      V <- best$sigma2 * tcrossprod(root)
      number(V[lower.tri(V, diag = TRUE)], 15)
    }),
    coef = number(best$coef[kept], 12), se = number(best$se[kept], 8))
}

folder <- tempfile("cases")
stopifnot(system2(Sys.getenv("PYTHON", "python3"), c("write_fuzz_data.py", folder)) == 0)
cases <- jsonlite::read_json(file.path(folder, "cases.json"), simplifyVector = FALSE)
cases <- lapply(cases, function(case) {
  for (part in c("y", "weights", "offset")) case[[part]] <- unlist(case[[part]])
  case$X <- lapply(case$X, unlist)
  case
})
only <- Sys.getenv("ONLY")                          # a pattern, to look at some cases: nothing is written then
if (nzchar(only)) {
  for (case in cases) if (grepl(only, case$name)) {
    cat(case$name, "\n")
    print(system.time(result <- reference(case))[3])
    str(result)
  }
  quit()
}

lines <- character()
for (case in cases) {
  result <- tryCatch(reference(case), error = function(e) stop(case$name, ": ", conditionMessage(e)))
  line <- jsonlite::toJSON(result, digits = NA, auto_unbox = TRUE, null = "null", na = "null")
  lines <- c(lines, sprintf("\"%s\": %s", case$name, line))
}
versions <- lapply(c(lme4 = "lme4", nloptr = "nloptr", minqa = "minqa"), function(p) as.character(packageVersion(p)))
meta <- jsonlite::toJSON(c(list(R = R.version.string), versions), auto_unbox = TRUE)
writeLines(c("{", paste0("\"meta\": ", meta, ","), paste(lines, collapse = ",\n"), "}"), "mixed_fuzz.json")
cat("wrote mixed_fuzz.json with", length(lines), "entries\n")
