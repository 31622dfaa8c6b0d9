# Installation: libraries, device and instruction set modules, headers, the program, and what find_package
# and pkg-config read. Everything is relocatable: the tree may be moved after installation.
include(CMakePackageConfigHelpers)

get_property(libraries GLOBAL PROPERTY TESSERA_INSTALL_TARGETS)
get_property(modules GLOBAL PROPERTY TESSERA_INSTALL_MODULES)

install(TARGETS ${libraries} EXPORT tessera-targets
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT runtime NAMELINK_COMPONENT development
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development
        INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
if(modules)  # loaded by runtime/device.cpp from lib/tessera, never linked
  install(TARGETS ${modules} LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}/tessera" COMPONENT runtime)
endif()
if(TARGET tessera)
  install(TARGETS tessera RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT runtime)
endif()

foreach(layer runtime kernels autograd models algorithms)
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/${layer}"
          DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/tessera" COMPONENT development
          FILES_MATCHING PATTERN "*.hpp"
          PATTERN cpu EXCLUDE PATTERN cuda EXCLUDE PATTERN simt EXCLUDE)
endforeach()

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/tessera")
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/tessera-config.cmake.in"
  "${PROJECT_BINARY_DIR}/tessera-config.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/tessera-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/tessera-config.cmake" "${PROJECT_BINARY_DIR}/tessera-config-version.cmake"
        DESTINATION "${package_dir}" COMPONENT development)
install(EXPORT tessera-targets NAMESPACE tessera:: DESTINATION "${package_dir}" COMPONENT development)

# pkg-config finds the prefix from the place of the .pc file.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
  set(pc_libdir "${CMAKE_INSTALL_LIBDIR}")
else()
  file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(pc_prefix "\${pcfiledir}/${up}")
  set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
set(pc_libraries "")
foreach(library IN LISTS libraries)  # layers come lowest first; a linker wants users before providers
  string(PREPEND pc_libraries "-l${library} ")
endforeach()
configure_file("${CMAKE_CURRENT_LIST_DIR}/tessera.pc.in" "${PROJECT_BINARY_DIR}/tessera.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/tessera.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
        COMPONENT development)
