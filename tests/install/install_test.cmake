# The steps of the test install.example: BUILD, EXAMPLE, WORK, COMPILER and GENERATOR are given.
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE output)
  set(output "${output}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} -S ${EXAMPLE} -B ${WORK}/build -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${COMPILER}
  -DCMAKE_PREFIX_PATH=${WORK}/prefix)
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/prefix/bin/unroll --version)

# A text in which every word but one in six follows from the one before; 10 words with <eos>.
set(text "")
foreach(line RANGE 999)
  math(EXPR animal "${line} * 7 % 5")
  list(GET "cat;dog;cow;hen;fox" ${animal} name)
  string(APPEND text "the ${name} sat on mat\n")
endforeach()
file(WRITE ${WORK}/train.txt "${text}")
string(SUBSTRING "${text}" 0 2000 text)
file(WRITE ${WORK}/valid.txt "${text}")

run(${WORK}/build/train_lm ${WORK}/train.txt ${WORK}/valid.txt ${WORK}/run)
message("${output}")
if(NOT output MATCHES "epoch 1: valid perplexity.*epoch 2: valid perplexity.*\n([0-9.]+)\n$")
  message(FATAL_ERROR "unexpected output of the example")
endif()
# Learnt, that is a perplexity of 5^(1/6) = 1.3.
if(CMAKE_MATCH_1 GREATER 2)
  message(FATAL_ERROR "perplexity ${CMAKE_MATCH_1}: the example does not learn; expected below 2")
endif()
if(NOT EXISTS ${WORK}/run/model.safetensors)
  message(FATAL_ERROR "the example left no model.safetensors")
endif()
