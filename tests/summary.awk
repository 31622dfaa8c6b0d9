# Reads ctest's LastTest.log and prints "N passed, N failed[, N skipped]", counted in GoogleTest cases where
# an entry is a GoogleTest binary and in ctest entries elsewhere.
function close_entry() {
  if (!open) return
  if (!cases_ok && !cases_failed && !cases_skipped) {  # not GoogleTest, or it died before its first case
    if (entry == "passed") cases_ok = 1
    else if (entry == "skipped") cases_skipped = 1
    else cases_failed = 1
  } else if (entry == "failed" && !cases_failed) {     # a crash or a timeout in the middle
    cases_failed = 1
  }
  passed += cases_ok; failed += cases_failed; skipped += cases_skipped
  cases_ok = cases_failed = cases_skipped = open = 0
}
/^[0-9]+\/[0-9]+ Testing: / { close_entry(); open = 1; entry = "failed" }
/^\[       OK \] /             { ++cases_ok }
/^\[  FAILED  \] .* \([0-9]+ ms\)$/ { ++cases_failed }
/^\[  SKIPPED \] .* \([0-9]+ ms\)$/ { ++cases_skipped }
/^Test Passed\./               { entry = "passed" }
/^Test Skipped\./              { entry = "skipped" }
END {
  close_entry()
  printf "%d passed, %d failed%s\n", passed, failed, skipped ? sprintf(", %d skipped", skipped) : ""
}
