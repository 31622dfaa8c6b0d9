# Installs `build` and moves the result to `prefix`: an installed tree must not depend on where it was made.
set(first "${prefix} first")
file(REMOVE_RECURSE "${first}" "${prefix}")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${build}" --prefix "${first}"
                COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
file(RENAME "${first}" "${prefix}")
