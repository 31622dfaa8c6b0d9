# Finds what the build can use and says what it leaves out.
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(Threads REQUIRED)

# OpenBLAS, OpenMP flavour: the pthread flavour's own pool would fight with ours.
set(TESSERA_HAVE_BLAS OFF)
set(TESSERA_BLAS_NAME "none")
if(NOT TESSERA_BLAS STREQUAL "off")
  find_library(TESSERA_OPENBLAS openblas PATH_SUFFIXES openblas-openmp)
  if(TESSERA_OPENBLAS)
    set(TESSERA_HAVE_BLAS ON)
    file(REAL_PATH "${TESSERA_OPENBLAS}" openblas_path)  # its name holds the version
    get_filename_component(TESSERA_BLAS_NAME "${openblas_path}" NAME_WLE)
    if(openblas_path MATCHES "pthread")
      message(WARNING "OpenBLAS here is the pthread flavour (${openblas_path}); install libopenblas-openmp-dev")
    endif()
  elseif(TESSERA_BLAS STREQUAL "on")
    message(FATAL_ERROR "TESSERA_BLAS=on but OpenBLAS was not found: install libopenblas-openmp-dev")
  else()
    message(STATUS "OpenBLAS not found (libopenblas-openmp-dev): the vendor variants of gemm and linalg are off")
  endif()
endif()

find_package(ZLIB REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(PNG)
find_library(TESSERA_MATIO matio)  # MATLAB files of -v7.3; libmatio-dev
