# One spelling of includes, "tessera/runtime/tensor.hpp", in the tree and installed: a link named tessera
# to the source root.
set(TESSERA_INCLUDE_ROOT "${PROJECT_BINARY_DIR}/include")
file(MAKE_DIRECTORY "${TESSERA_INCLUDE_ROOT}")
file(CREATE_LINK "${PROJECT_SOURCE_DIR}" "${TESSERA_INCLUDE_ROOT}/tessera" SYMBOLIC)

set(TESSERA_LIBRARY_DIR "${PROJECT_BINARY_DIR}/lib")

# Flags that every target of the project gets.
add_library(tessera_flags INTERFACE)
target_compile_features(tessera_flags INTERFACE cxx_std_20)
target_compile_options(tessera_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wno-unknown-pragmas>)
if(TESSERA_SANITIZE)
  target_compile_options(tessera_flags INTERFACE
    -fsanitize=${TESSERA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(tessera_flags INTERFACE -fsanitize=${TESSERA_SANITIZE})
endif()

if(TESSERA_TIDY)
  find_program(TESSERA_CLANG_TIDY NAMES clang-tidy-19 clang-tidy REQUIRED)
endif()

# tessera_library(<name> SOURCES ... [PUBLIC targets...] [PRIVATE targets...])
# A shared library lib<tessera_name>.so with alias tessera::<name>.
function(tessera_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  set(target tessera_${name})
  add_library(${target} SHARED ${ARG_SOURCES})
  add_library(tessera::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES
    EXPORT_NAME ${name}
    VERSION ${PROJECT_VERSION} SOVERSION 0
    LIBRARY_OUTPUT_DIRECTORY "${TESSERA_LIBRARY_DIR}"
    INSTALL_RPATH "$ORIGIN")
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${TESSERA_INCLUDE_ROOT}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} $<BUILD_INTERFACE:tessera_flags>)
  if(TESSERA_TIDY)
    set_target_properties(${target} PROPERTIES CXX_CLANG_TIDY "${TESSERA_CLANG_TIDY};--quiet")
  endif()
  set_property(GLOBAL APPEND PROPERTY TESSERA_INSTALL_TARGETS ${target})
endfunction()
