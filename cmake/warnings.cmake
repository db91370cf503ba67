add_library(subquad_warnings INTERFACE)
target_compile_options(subquad_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion
                       -Werror)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(subquad_warnings INTERFACE -Wno-unknown-warning-option)
endif()
# GCC 12 sees uninitialised members in moved-from std::variants that are never read (GCC bug 105562 and kin), and overflows in
# std::string's concatenation (bugs 105329 and 105651). Clang and the address sanitizer look for both.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(subquad_warnings INTERFACE -Wno-maybe-uninitialized -Wno-array-bounds
                         -Wno-stringop-overflow)
endif()
