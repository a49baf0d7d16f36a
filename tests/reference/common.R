# Helpers shared by gee.R, logit.R and mixed.R.

args <- commandArgs(trailingOnly = TRUE)
file_arg <- grep("^--file=", commandArgs(FALSE), value = TRUE)
if (length(file_arg)) setwd(dirname(normalizePath(sub("^--file=", "", file_arg[1]))))

# The folder with ohio.csv, epil.csv, dietox.csv and respiratory.csv; relative to this folder.
dataset_dir <- if (length(args)) args[1] else "../../skdep/datasets/data"
dataset <- function(name) read.csv(file.path(dataset_dir, paste0(name, ".csv")))

# Writes simulated data and reads them back, so that R and Python see the same digits.
write_sim <- function(d, name) {
  path <- file.path("data", paste0(name, ".csv"))
  write.csv(d, path, row.names = FALSE, quote = FALSE)
  read.csv(path)
}

named <- function(x) as.list(x)                     # {"name": value}
plain <- function(x) I(as.vector(unname(x)))        # [value, ...], also for length one
square <- function(m) unname(as.matrix(m))          # [[...], ...]
se_of <- function(v) plain(sqrt(diag(as.matrix(v))))
version_of <- function(p) paste(p, packageVersion(p))
squish <- function(s) gsub("\\s+", " ", trimws(s))

# glm() and svyglm() keep the working weights of the last step but one; one more step from the solution makes their
# covariance as exact as their coefficients.
polish <- function(fit) {
  call <- fit$call
  call$start <- coef(fit)
  eval(call, globalenv())
}

write_reference <- function(entries, path, packages) {
  meta <- list(R = R.version.string, packages = as.list(sapply(packages, function(p) as.character(packageVersion(p)))))
  json <- jsonlite::toJSON(c(list(meta = meta), entries), digits = NA, auto_unbox = TRUE, pretty = TRUE, null = "null",
                           na = "null")
  # one row of numbers per line, to keep the file readable and its diffs short
  json <- gsub("\\[\\s+(?=[-0-9\"n])", "[", json, perl = TRUE)
  json <- gsub("(?<=[-0-9\"l]),\\s+(?=(-?[0-9]|null|\"[^\"]*\"\\s*[,\\]]))", ", ", json, perl = TRUE)
  json <- gsub("(?<=[0-9l\"])\\s+\\]", "]", json, perl = TRUE)
  writeLines(json, path)
  cat("wrote", path, "with", length(entries), "entries\n")
}
