# cmake --install: the program, the static libraries with their headers under include/unroll, and the package
# that find_package(unroll) reads; programs link unroll::unroll and include <unroll/unroll.h>.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

add_library(unroll_library INTERFACE)
target_link_libraries(unroll_library INTERFACE unroll_models)
target_include_directories(unroll_library INTERFACE $<INSTALL_INTERFACE:include>)
foreach(part kernels host models library)
  set_target_properties(unroll_${part} PROPERTIES EXPORT_NAME ${part})
endforeach()
set_target_properties(unroll_library PROPERTIES EXPORT_NAME unroll)

install(TARGETS unroll RUNTIME)
install(TARGETS unroll_kernels unroll_host unroll_models unroll_library EXPORT unroll-targets)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/unroll)
install(EXPORT unroll-targets NAMESPACE unroll:: DESTINATION ${package})

# Headers that need no CUDA compiler; kernels/base/gpu.h and what includes it stay in the source tree.
foreach(layer kernels host models)
  install(DIRECTORY ${layer} DESTINATION include/unroll FILES_MATCHING
    PATTERN "*.h" PATTERN "*.def"
    PATTERN gpu.h EXCLUDE PATTERN gpu_nvcc*.h EXCLUDE PATTERN cuda_check.h EXCLUDE
    PATTERN models/cli EXCLUDE PATTERN models/demo EXCLUDE PATTERN models/recipes EXCLUDE)
endforeach()
install(FILES models/unroll.h DESTINATION include/unroll)

configure_package_config_file(cmake/unroll-config.cmake.in ${CMAKE_BINARY_DIR}/unroll-config.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/unroll-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/unroll-config.cmake ${CMAKE_BINARY_DIR}/unroll-config-version.cmake
  DESTINATION ${package})
