# Runs the lines of R in the tables of docs/translations, and writes what they say: see tests/translations/pages.py.

PAGES <- "../../docs/translations"
EXCEPTIONS <- "../translations/exceptions"
NOT_R <- c("statsmodels", "SAS", "Stata")

# ---------------------------------------------------------------------------------------------- pages

cells <- function(line) {
  line <- sub("\\|\\s*$", "", sub("^\\s*\\|", "", line))
  parts <- strsplit(line, "(?<!\\\\)\\|", perl = TRUE)[[1]]
  gsub("\\|", "|", trimws(parts), fixed = TRUE)
}
code_of <- function(cell) {
  found <- regmatches(cell, gregexpr("`+[^`]+`+", cell))[[1]]
  paste(trimws(gsub("^`+|`+$", "", found)), collapse = "; ")
}

# The lines of a page: which are in a block, and in which language.
read_page <- function(page) {
  lines <- readLines(file.path(PAGES, paste0(page, ".md")), encoding = "UTF-8")
  language <- character(length(lines))
  now <- ""
  for (k in seq_along(lines)) {
    if (now == "" && grepl("^```", lines[k])) {
      now <- sub("^```\\s*(\\w*).*", "\\1", lines[k])
      if (now == "") now <- "text"
      language[k] <- "fence"
    } else if (now != "" && grepl("^```\\s*$", lines[k])) {
      now <- ""
      language[k] <- "fence"
    } else language[k] <- now
  }
  list(lines = lines, language = language)
}

r_lines <- function(page) {
  text <- read_page(page)
  header <- NULL
  found <- character()
  for (k in seq_along(text$lines)) {
    line <- text$lines[k]
    if (text$language[k] != "" || !startsWith(line, "|")) header <- NULL
    else if (is.null(header)) header <- cells(line)
    else if (!grepl("^\\|[ :|-]+\\|$", line) && length(header) > 1 && header[2] == "skdep") {
      row <- cells(line)
      if (startsWith(row[2], "none")) next
      if (length(header) > 2 && header[3] == "the same in R") found <- c(found, code_of(row[3]))
      else if (!header[1] %in% NOT_R) found <- c(found, code_of(row[1]))
    }
  }
  unique(found[found != ""])
}
r_preamble <- function(page) {
  text <- read_page(page)
  first <- grep("| skdep |", text$lines, fixed = TRUE)[1]
  keep <- text$language %in% c("r", "R") & seq_along(text$lines) < first
  if (!any(keep)) "" else paste0(paste(text$lines[keep], collapse = "\n"), "\n")
}
not_compared <- function(page) {
  path <- file.path(EXCEPTIONS, paste0(page, ".json"))
  if (!file.exists(path)) return(character())
  exceptions <- jsonlite::fromJSON(path, simplifyVector = FALSE)
  names(Filter(function(e) identical(e$compared, FALSE), exceptions))
}

# ---------------------------------------------------------------------------------------------- numbers

COLUMNS <- c(
  "Estimate" = "estimate", "Value" = "estimate", "est." = "estimate", "Std. Error" = "std_error", "Std.Error" = "std_error",
  "Std.err" = "std_error", "SE" = "std_error", "t value" = "statistic", "t-value" = "statistic", "z value" = "statistic",
  "Wald" = "statistic", "Chisq" = "statistic", "L.Ratio" = "statistic", "LRT" = "statistic", "F value" = "statistic",
  "F-value" = "statistic", "X2" = "statistic", "df" = "df", "DF" = "df", "Df" = "df", "Chi Df" = "df", "numDF" = "df", "denDF" = "df_denominator", "DenDF" = "df_denominator",
  
  "Pr(>|t|)" = "p_value", "Pr(>|z|)" = "p_value", "Pr(>|W|)" = "p_value", "p-value" = "p_value", "Pr(>Chisq)" = "p_value",
  "Pr(Chi)" = "p_value", "Pr(>F)" = "p_value", "P(>|Chi|)" = "p_value", "2.5 %" = "conf_low", "97.5 %" = "conf_high",
  "lower" = "conf_low", "upper" = "conf_high", "AIC" = "aic", "BIC" = "bic", "logLik" = "loglik", "npar" = "n_params",
  "QIC" = "qic", "QICu" = "qicu", "CIC" = "cic", "lower.CL" = "conf_low", "upper.CL" = "conf_high")

bare <- function(x) I(as.vector(unname(x)))
rows_first <- function(m) bare(t(as.matrix(m)))
finite <- function(x) bare(x[is.finite(x)])  # infinite degrees of freedom are no numbers of JSON

of_columns <- function(x) {
  x <- as.data.frame(x, check.names = FALSE)
  x <- x[sapply(x, is.numeric)]
  if ("Chi Df" %in% names(x)) names(x)[names(x) == "Df"] <- "npar"
  known <- names(x) %in% names(COLUMNS)
  if (!any(known)) return(list(value = rows_first(x)))
  out <- lapply(x[known], finite)
  names(out) <- COLUMNS[names(x)[known]]
  out[!duplicated(names(out)) & lengths(out) > 0]
}

# Matrices by factor, the factor with most levels first; terms of a factor are blocks of its matrix.
by_factor <- function(matrices, factors, sizes) {
  found <- lapply(unique(factors), function(f) as.matrix(Matrix::bdiag(matrices[factors == f])))
  found[order(-sizes[match(unique(factors), factors)])]
}
flat_matrices <- function(matrices) bare(unlist(lapply(matrices, function(m) as.vector(m))))

of_lme4 <- function(fm) {
  vc <- lme4::VarCorr(fm)
  matrices <- lapply(vc, function(v) matrix(v, nrow(v)))
  factors <- names(fm@cnms)
  out <- list(coef = bare(lme4::fixef(fm)), se = bare(sqrt(diag(as.matrix(vcov(fm))))), loglik = bare(as.numeric(logLik(fm))),
              random_covariance = flat_matrices(by_factor(matrices, factors, lme4::ngrps(fm)[factors])))
  if (lme4::isLMM(fm)) out$sigma <- bare(sigma(fm))
  out
}
of_varcorr <- function(vc) {
  sd <- unlist(lapply(vc, function(v) unname(attr(v, "stddev"))))
  if (isTRUE(attr(vc, "useSc"))) sd <- c(sd, attr(vc, "sc"))
  list(value = flat_matrices(lapply(vc, function(v) matrix(v, nrow(v)))), sd = bare(sd), variance = bare(sd^2))
}
of_lme <- function(fm) {
  matrices <- lapply(rev(fm$modelStruct$reStruct), function(p) nlme::pdMatrix(p) * sigma(fm)^2)
  ordered <- matrices[order(-fm$dims$ngrps[names(matrices)])]
  list(coef = bare(nlme::fixef(fm)), se = bare(sqrt(diag(as.matrix(vcov(fm))))), loglik = bare(as.numeric(logLik(fm))),
       random_covariance = flat_matrices(ordered), sigma = bare(sigma(fm)))
}
of_lme_anova <- function(a) {
  if (is.null(a$L.Ratio)) return(of_columns(a))
  list(statistic = bare(a$L.Ratio[2]), df = bare(abs(diff(a$df))), p_value = bare(a[2, "p-value"]), loglik = bare(a$logLik))
}
of_glmmtmb <- function(fm) {
  vc <- glmmTMB::VarCorr(fm)$cond
  sizes <- sapply(fm$modelInfo$reTrms$cond$flist, nlevels)
  out <- list(coef = bare(glmmTMB::fixef(fm)$cond), se = bare(sqrt(diag(as.matrix(vcov(fm)$cond)))),
              loglik = bare(as.numeric(logLik(fm))))
  if (length(vc)) {
    factors <- sub("\\.[0-9]+$", "", names(vc))
    out$random_covariance <- flat_matrices(by_factor(lapply(vc, function(v) matrix(v, nrow(v))), factors, sizes[factors]))
  }
  if (family(fm)$family == "gaussian") out$sigma <- bare(sigma(fm))
  out
}
of_glm <- function(fm) {
  out <- list(coef = bare(coef(fm)), se = bare(sqrt(diag(as.matrix(vcov(fm))))))
  loglik <- tryCatch(as.numeric(logLik(fm)), error = function(e) NULL, warning = function(w) NULL)
  if (length(loglik) == 1 && is.finite(loglik)) out$loglik <- bare(loglik)
  out
}
of_test <- function(test) {
  df <- unname(test$parameter)
  list(statistic = bare(test$statistic), df = bare(df[1]), p_value = bare(test$p.value))
}

# What an object says, by its class; a page's own converters may be added to this list before the pages are run.
CONVERTERS <- list(
  merMod = of_lme4, VarCorr.merMod = of_varcorr, lme = of_lme, glmmTMB = of_glmmtmb, htest = of_test,
  summary.merMod = function(s) of_columns(s$coefficients), glm = of_glm, gls = of_glm, lm = of_glm,
  ranef.mer = function(r) list(value = bare(unlist(lapply(r, rows_first)))),
  ranef.lme = function(r) list(value = rows_first(r)), summary.lme = function(s) of_columns(s$tTable),
  anova.lme = of_lme_anova, VarCov = function(v) list(value = bare(as.vector(v))), logLik = function(l) list(value = bare(as.numeric(l))),
  data.frame = of_columns)

numbers <- function(x) {
  classes <- is(x)
  if (!isS4(x)) classes <- c(class(x), classes)
  for (class in classes) if (!is.null(CONVERTERS[[class]])) return(CONVERTERS[[class]](x))
  if (is.matrix(x) || is(x, "Matrix")) return(of_columns(as.matrix(x)))
  if (is.list(x) && length(x) && all(names(x) %in% c("coef", "se"))) return(lapply(x, bare))
  if (is.list(x)) x <- unlist(x)
  if (is.factor(x)) x <- as.character(x)
  x <- unname(x)
  if (is.character(x)) x <- as.numeric(x)
  stopifnot(is.numeric(x) || is.logical(x))
  list(value = bare(as.numeric(x)))
}

# ---------------------------------------------------------------------------------------------- run

# geeglm stops at changes of 1e-4, gee of 1e-3, glm and svyglm at 1e-8 of the deviance; here all go on to the end.
everywhere <- function(name, f, package) {
  for (place in list(asNamespace(package), as.environment(paste0("package:", package)))) {
    unlockBinding(name, place)
    assign(name, f, place)
  }
}
tighten <- function(name, package, ...) {
  f <- getExportedValue(package, name)
  formals(f)[names(list(...))] <- list(...)
  everywhere(name, f, package)
}
tighten_glm <- function() tighten("glm.control", "stats", epsilon = 1e-14, maxit = 100)

# lme4's tolerances leave three to five digits of a variance and of the derivatives that glmer's standard errors are from; here
# it goes on.
tighten_lme4 <- function() {
  tight <- list(rhobeg = 0.2, rhoend = 1e-9, maxfun = 1e5)
  for (name in c("lmer", "glmer")) {
    f <- getExportedValue("lme4", name)
    control <- list(as.name(paste0(name, "Control")), optimizer = "bobyqa", optCtrl = tight)
    if (name == "glmer") control$tolPwrss <- 1e-13
    formals(f)$control <- as.call(control)
    assignInNamespace(name, f, "lme4")
  }
}

run_page <- function(page) {
  set.seed(1)
  space <- new.env(parent = globalenv())
  preamble <- r_preamble(page)
  suppressWarnings(suppressMessages(eval(parse(text = preamble), space)))
  lines <- setdiff(r_lines(page), not_compared(page))
  failed <- character()
  one <- function(line) tryCatch({
    # these leave their mark on the fits of lme4, which are passed by reference
    on.exit(if (grepl("confint|profile|refit", line)) suppressMessages(eval(parse(text = preamble), space)))
    result <- suppressWarnings(suppressMessages(eval(parse(text = line), new.env(parent = space))))
    numbers(result)
  }, error = function(e) {
    failed <<- c(failed, paste0(page, ": ", line, "\n    ", conditionMessage(e)))
    NULL
  })
  rows <- Filter(Negate(is.null), sapply(lines, one, simplify = FALSE))
  out <- list(preamble = jsonlite::unbox(preamble), rows = if (length(rows)) rows else setNames(list(), character()))
  cat(page, length(rows), "lines\n", failed, sep = "\n")
  out
}

# With names of pages on the command line only these are run again.
run_pages <- function(pages, path, packages) {
  asked <- intersect(commandArgs(trailingOnly = TRUE), pages)
  if (!length(asked)) asked <- pages
  found <- sapply(asked, run_page, simplify = FALSE)
  old <- if (file.exists(path)) jsonlite::fromJSON(path, simplifyVector = FALSE) else list()
  meta <- list(R = R.version.string, packages = as.list(sapply(packages, function(p) as.character(packageVersion(p)))))
  entries <- c(list(meta = meta), sapply(pages, function(p) if (p %in% asked) found[[p]] else old[[p]], simplify = FALSE))
  json <- jsonlite::toJSON(Filter(Negate(is.null), entries), digits = NA, auto_unbox = TRUE, pretty = TRUE, na = "null",
                           null = "null")
  # one list of numbers a line, to keep the file readable and its diffs short
  json <- gsub("\\[\\s+(?=[-0-9\"n])", "[", json, perl = TRUE)
  json <- gsub("(?<=[-0-9\"l]),\\s+(?=(-?[0-9]|null))", ", ", json, perl = TRUE)
  json <- gsub("(?<=[0-9l\"])\\s+\\]", "]", json, perl = TRUE)
  writeLines(json, path)
}
