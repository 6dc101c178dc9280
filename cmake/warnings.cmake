# Interface target with the warnings and code generation flags of all our own C++ code. -Wrestrict is off:
# g++ 12 reports it falsely inside std::string (GCC bug 105651).
add_library(unroll_flags INTERFACE)
target_compile_options(unroll_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-restrict>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${UNROLL_WERROR}>>:-Werror>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${UNROLL_NATIVE}>>:-march=native>)
if(UNROLL_SANITIZE)
  target_compile_options(unroll_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${UNROLL_SANITIZE} -fno-omit-frame-pointer>)
  target_link_options(unroll_flags INTERFACE -fsanitize=${UNROLL_SANITIZE})
endif()
