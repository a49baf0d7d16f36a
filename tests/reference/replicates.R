# Reference results for replicate weights that survey.json has not: strata of a single unit, replicates without estimates,
# what a type says of a matrix, every replicate's estimates, and totals by balanced half-samples. Writes replicates.json.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages(library(survey))

entries <- list()
add <- function(name, value) {
  stopifnot(is.null(entries[[name]]))
  entries[[name]] <<- value
}
parts <- function(r) list(factors = square(weights(r, "replication")), scale = r$scale, rscales = plain(r$rscales),
                          degf = degf(r))

# ------------------------------------------------------------------------------------------ strata of a single unit

lonely <- data.frame(stratum = rep(1:4, c(3, 4, 2, 1)), unit = 1:10, y = c(3, 1, 4, 1, 5, 9, 2, 6, 5, 7),
                     w = c(1:9, 3), population = rep(c(10, 20, 9, 5), c(3, 4, 2, 1)))
add("lonely_data", as.list(lonely))
for (finite in c(FALSE, TRUE)) for (policy in c("remove", "adjust")) {
  options(survey.lonely.psu = policy)
  design <- svydesign(~unit, strata = ~stratum, weights = ~w, fpc = if (finite) ~population, data = lonely)
  r <- as.svrepdesign(design, type = "JKn")
  add(paste0("lonely_", policy, if (finite) "_fpc"),
      c(parts(r), list(total = as.numeric(vcov(svytotal(~y, r))), mean = as.numeric(vcov(svymean(~y, r))))))
}
options(survey.lonely.psu = "fail")

# ------------------------------------------------------------------------- what is left out, and what a type says

estimates <- rbind(c(1, 2), c(2, 2), c(NA, NA), c(3, 5))
add("missing", list(estimates = estimates, full = c(2, 3), scale = 1 / 3, rscales = c(1, 2, 1, 3),
                    variance = matrix(suppressWarnings(
                      survey:::svrVar(estimates, 1 / 3, c(1, 2, 1, 3), mse = FALSE, coef = c(2, 3))), 2)))
set.seed(20240609)
m <- matrix(runif(48), 6)
types <- list()
for (type in c("BRR", "Fay", "JK2", "bootstrap", "ACS", "successive-difference")) {
  r <- svrepdesign(weights = rep(1, 6), repweights = m, type = type, rho = if (type == "Fay") 0.3,
                   combined.weights = TRUE, data = data.frame(y = 1:6))
  types[[type]] <- list(scale = r$scale, rscales = unique(r$rscales), degf = degf(r))
}
add("types", c(list(weights = m), types))

# ------------------------------------------------------------------------------------- every replicate's estimates

api <- dataset("apiclus1")
api$wide <- as.numeric(api$sch.wide == "Yes")
by_district <- as.svrepdesign(svydesign(~dnum, weights = ~pw, fpc = ~fpc, data = api), type = "JK1")
ctl <- glm.control(epsilon = 1e-14, maxit = 100)
for (domain in c(FALSE, TRUE)) {
  r <- if (domain) subset(by_district, stype == "E") else by_district
  fit <- svyglm(wide ~ ell + meals + mobility, design = r, family = quasibinomial(), return.replicates = TRUE, control = ctl)
  add(if (domain) "elementary" else "districts",
      list(coef = plain(coef(fit)), replicates = unname(unclass(fit$replicates))[seq_len(ncol(weights(r, "analysis"))), ],
           cov = square(vcov(fit)), degf = degf(r), df_residual = fit$df.residual))
}

# ------------------------------------------------------------------------------------------ balanced half-samples

people <- subset(dataset("nhanes"), !is.na(HI_CHOL))
pairs <- names(which(tapply(people$SDMVPSU, people$SDMVSTRA, function(u) length(unique(u))) == 2))
people <- people[people$SDMVSTRA %in% pairs, ]
people$stratum <- people$SDMVSTRA
design <- svydesign(~SDMVPSU, strata = ~SDMVSTRA, weights = ~WTMEC2YR, data = people, nest = TRUE)
brr <- as.svrepdesign(design, type = "BRR")
fay <- as.svrepdesign(design, type = "Fay", fay.rho = 0.3)
entry <- function(d) list(cov = square(vcov(svytotal(~HI_CHOL + race + RIAGENDR, d))), degf = degf(d))
add("half_samples", list(strata = as.numeric(pairs), linearised = entry(design), brr = entry(brr), fay = entry(fay)))

write_reference(entries, "replicates.json", c("survey", "jsonlite"))
