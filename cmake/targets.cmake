# Libraries of the distribution, and helpers that every folder uses.
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(dnnl REQUIRED)

set(BLA_VENDOR OpenBLAS)
if(UNROLL_STATIC)
  set(BLA_STATIC ON)
endif()
find_package(BLAS REQUIRED)
find_path(CBLAS_INCLUDE_DIR cblas.h
          PATH_SUFFIXES openblas x86_64-linux-gnu/openblas-openmp x86_64-linux-gnu REQUIRED)

# unroll_library(NAME sources...): a static library with our flags, included from the root.
function(unroll_library name)
  add_library(${name} STATIC ${ARGN})
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}> $<INSTALL_INTERFACE:include/unroll>)
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:unroll_flags>)
  if(UNROLL_HAVE_CUDA)
    target_compile_options(${name} PRIVATE
      $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -Werror=all-warnings>)
    target_compile_definitions(${name} PUBLIC UNROLL_WITH_CUDA)
  endif()
endfunction()
