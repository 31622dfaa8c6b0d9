# Included by ctest: asks a GoogleTest binary for its suites and makes each one a ctest entry, large ones
# several by sharding. One process per suite keeps a crash local and costs far fewer starts than one per case.
# Expects test_binary, test_layer, suppressions (of the thread sanitizer).
set(cases_per_entry 48)

function(add_suite suite cases)
  if(cases EQUAL 0)
    return()
  endif()
  math(EXPR shards "(${cases} + ${cases_per_entry} - 1) / ${cases_per_entry}")
  math(EXPR last "${shards} - 1")
  foreach(shard RANGE ${last})
    set(name "${test_layer}.${suite}")
    # Tests ask for more memory than there is: sanitizers are to answer as malloc does.
    set(environment OMP_WAIT_POLICY=passive ASAN_OPTIONS=allocator_may_return_null=1
                    "TSAN_OPTIONS=allocator_may_return_null=1:suppressions='${suppressions}'")
    if(shards GREATER 1)
      string(APPEND name "#${shard}")
      list(APPEND environment GTEST_TOTAL_SHARDS=${shards} GTEST_SHARD_INDEX=${shard})
    endif()
    add_test("${name}" "${test_binary}" "--gtest_filter=${suite}.*" --gtest_color=no)
    set_tests_properties("${name}" PROPERTIES
      LABELS "${test_layer}" TIMEOUT 1200 ENVIRONMENT "${environment}")
  endforeach()
endfunction()

if(NOT EXISTS "${test_binary}")
  add_test("${test_layer}.not_built" "${test_binary}")
  return()
endif()
execute_process(COMMAND "${test_binary}" --gtest_list_tests
                OUTPUT_VARIABLE listing ERROR_VARIABLE message RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${test_binary} --gtest_list_tests failed (${status}):\n${message}")
endif()
string(REGEX REPLACE "[[;]|]" "_" listing "${listing}")  # would upset CMake's lists
string(REPLACE "\n" ";" listing "${listing}")
set(suite "")
set(cases 0)
foreach(line IN LISTS listing)
  if(line MATCHES "^  [^ ]")
    math(EXPR cases "${cases} + 1")
  elseif(line MATCHES "^([A-Za-z0-9_/]+)\\.")
    add_suite("${suite}" ${cases})
    set(suite "${CMAKE_MATCH_1}")
    set(cases 0)
  endif()
endforeach()
add_suite("${suite}" ${cases})
