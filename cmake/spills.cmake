# With UNROLL_WERROR the nvcc build fails on register spills that tests/house/spills_allowed.txt does not
# list: ptxas reports them, and a launcher around the compiler reads the report. Without, it does not:
# a user's GPU may be of a generation that nobody has looked at, and a spill is slow, not wrong.
find_program(UNROLL_PYTHON python3)
if(UNROLL_HAVE_CUDA AND UNROLL_PYTHON AND UNROLL_WERROR)
  add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-v>)
  set(CMAKE_CUDA_COMPILER_LAUNCHER
      ${UNROLL_PYTHON} ${CMAKE_SOURCE_DIR}/tests/house/spills.py --launch ${CMAKE_CUDA_COMPILER_LAUNCHER})
endif()
