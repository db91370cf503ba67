add_library(subquad_warnings INTERFACE)
target_compile_options(subquad_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion
                       -Werror)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(subquad_warnings INTERFACE -Wno-unknown-warning-option)
endif()
