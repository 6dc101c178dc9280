# unroll_gpu_test: tests whose CUDA kernels are compiled by the host compilers and executed thread by
# thread on the CPU. Needs no CUDA toolkit.
#
# Three builds of every kernel file, and five orders of execution:
#   plain   as the compiler of the host has it; the order that differs most from the simple one as well
#   asan    AddressSanitizer and UndefinedBehaviorSanitizer, on the kernels; what addresses a thread forms
#           does not depend on when it runs, unless it races
#   race    clang's thread-sanitizer instrumentation linked to the engine's own race detector; every order,
#           and every result is compared here too
find_package(GTest REQUIRED)
find_program(UNROLL_CLANGXX NAMES clang++ clang++-19 clang++-18 clang++-17 clang++-16 clang++-15 clang++-14)
find_program(UNROLL_OBJCOPY NAMES objcopy llvm-objcopy)
set(UNROLL_GPU_BUILDS plain asan)
if(UNROLL_CLANGXX AND UNROLL_OBJCOPY)
  list(APPEND UNROLL_GPU_BUILDS race)
else()
  message(WARNING "unroll: clang++ or objcopy is missing, so the kernels are tested without the race "
                  "detector; install clang and binutils")
endif()
set(UNROLL_GPU_ORDERS_plain ascend random)
set(UNROLL_GPU_ORDERS_asan randwarp)
set(UNROLL_GPU_ORDERS_race ascend descend randwarp random lockstep)

set(gpu_dir ${CMAKE_SOURCE_DIR}/tests/gpu_on_cpu)
set(UNROLL_GPU_INCLUDES ${gpu_dir}/runtime/include ${CMAKE_SOURCE_DIR} ${CBLAS_INCLUDE_DIR})
set(UNROLL_GPU_DEFINES UNROLL_GPU_ON_CPU UNROLL_WITH_CUDA UNROLL_SOURCE_ROOT="${CMAKE_SOURCE_DIR}")
# Reports name files from the root.
set(UNROLL_GPU_FLAGS -fmacro-prefix-map=${CMAKE_SOURCE_DIR}/= -Wall -Wextra -Wno-unknown-pragmas)
set(UNROLL_GPU_FLAGS_plain -O2 -g1)
set(UNROLL_GPU_FLAGS_asan -O1 -g1 -fsanitize=address,undefined -fsanitize-recover=address,undefined)
set(UNROLL_GPU_FLAGS_race -O1 -gline-tables-only -fPIC -fsanitize=thread -mllvm -tsan-instrument-atomics=0
  -mllvm -tsan-instrument-func-entry-exit=0)
set(UNROLL_GPU_LINK_asan -fsanitize=address,undefined)

# unroll_gpu_kernels(OUT BUILD sources...): object files of kernel sources in one build, into OUT.
function(unroll_gpu_kernels out build)
  set(objects "")
  if(build STREQUAL race)
    list(TRANSFORM UNROLL_GPU_DEFINES PREPEND -D OUTPUT_VARIABLE defines)
    list(TRANSFORM UNROLL_GPU_INCLUDES PREPEND -I OUTPUT_VARIABLE includes)
    foreach(source ${ARGN})
      file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR} ${source})
      set(object ${CMAKE_BINARY_DIR}/gpu_on_cpu_race/${name}.o)
      get_filename_component(folder ${object} DIRECTORY)
      file(MAKE_DIRECTORY ${folder})
      # memcpy and its like are renamed so that copies in kernels are seen, and only those.
      add_custom_command(OUTPUT ${object} DEPENDS ${source} DEPFILE ${object}.d VERBATIM
        COMMENT "Building race-detecting object ${name}.o"
        COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${UNROLL_CLANGXX} -std=c++20 -x c++ ${defines} ${includes}
          ${UNROLL_GPU_FLAGS} ${UNROLL_GPU_FLAGS_race} -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
        COMMAND ${UNROLL_OBJCOPY} --redefine-sym memcpy=__unroll_memcpy --redefine-sym memmove=__unroll_memmove
          --redefine-sym memset=__unroll_memset ${object})
      list(APPEND objects ${object})
    endforeach()
  else()
    string(MD5 key "${ARGN}")
    set(target gpu_on_cpu_${build}_${key})
    if(NOT TARGET ${target})
      set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX)
      add_library(${target} OBJECT ${ARGN})
      target_compile_definitions(${target} PRIVATE ${UNROLL_GPU_DEFINES})
      target_include_directories(${target} PRIVATE ${UNROLL_GPU_INCLUDES})
      target_compile_options(${target} PRIVATE ${UNROLL_GPU_FLAGS} ${UNROLL_GPU_FLAGS_${build}})
    endif()
    set(objects $<TARGET_OBJECTS:${target}>)
  endif()
  set(${out} ${objects} PARENT_SCOPE)
endfunction()

# unroll_gpu_test(NAME name SOURCES a_test.cc.. [KERNELS own.cu..] [BARE] [ORDERS o..] [ORDERS_<build> o..]
# [TIMEOUT s]): one program per build and one CTest entry per build and order, with the labels gpu_on_cpu
# and gpu_on_cpu_<build>. The programs hold the whole product, on the simulated CUDA runtime; BARE ones hold
# only the engine and what it needs. ORDERS replaces the list of orders in every build, ORDERS_<build> in one.
function(unroll_gpu_test)
  cmake_parse_arguments(arg "BARE" "NAME;TIMEOUT"
    "SOURCES;KERNELS;ORDERS;ORDERS_plain;ORDERS_asan;ORDERS_race" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  list(TRANSFORM arg_SOURCES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ REGEX "^[^/]")
  list(TRANSFORM arg_KERNELS PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ REGEX "^[^/]")
  # The test itself is the same object in all builds.
  add_library(gpu_${arg_NAME}_test OBJECT ${arg_SOURCES})
  target_compile_definitions(gpu_${arg_NAME}_test PRIVATE ${UNROLL_GPU_DEFINES})
  target_include_directories(gpu_${arg_NAME}_test PRIVATE ${UNROLL_GPU_INCLUDES})
  target_compile_options(gpu_${arg_NAME}_test PRIVATE ${UNROLL_GPU_FLAGS} -O1 -g1)
  target_link_libraries(gpu_${arg_NAME}_test PRIVATE GTest::gtest)
  foreach(build ${UNROLL_GPU_BUILDS})
    set(program gpu_${arg_NAME}_${build})
    set(objects "")
    if(arg_KERNELS)
      unroll_gpu_kernels(objects ${build} ${arg_KERNELS})
    endif()
    # The engine's copies of inline functions come first, so that it never runs instrumented ones.
    add_executable(${program} $<TARGET_OBJECTS:gpu_on_cpu_engine> $<TARGET_OBJECTS:gpu_${arg_NAME}_test>)
    if(NOT arg_BARE)
      target_sources(${program} PRIVATE $<TARGET_OBJECTS:gpu_on_cpu_runtime>)
      target_link_libraries(${program} PRIVATE gpu_on_cpu_product gpu_on_cpu_kernels_${build} gpu_on_cpu_product
        gpu_on_cpu_libraries)
    endif()
    target_sources(${program} PRIVATE ${objects})
    target_link_libraries(${program} PRIVATE gpu_on_cpu_errors GTest::gtest_main Threads::Threads)
    target_link_options(${program} PRIVATE ${UNROLL_GPU_LINK_${build}})
    set_target_properties(${program} PROPERTIES LINKER_LANGUAGE CXX)
    set(orders ${UNROLL_GPU_ORDERS_${build}})
    foreach(replaced ORDERS ORDERS_${build})
      if(arg_${replaced})
        set(orders ${arg_${replaced}})
      endif()
    endforeach()
    foreach(order ${orders})
      set(test gpu.${arg_NAME}.${build}.${order})
      add_test(NAME ${test} COMMAND ${program})
      set_tests_properties(${test} PROPERTIES LABELS "gpu_on_cpu;gpu_on_cpu_${build}"
        TIMEOUT ${arg_TIMEOUT} ENVIRONMENT "UNROLL_GPU_ORDER=${order};OMP_NUM_THREADS=1")
    endforeach()
  endforeach()
endfunction()
