// The kernels are compiled for several instruction sets and choose the widest of the processor; here
// a narrower one is chosen, to measure or to test it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace subquad {

// Those that the processor has, narrowest first: of "sse4", "avx2", "avx512".
std::vector<std::string> instruction_sets();
// Every kernel from now on, of all threads, runs in this one. Errors: invalid_argument if it is not
// one of instruction_sets().
void use_instruction_set(std::string_view name);
// False while a narrower one than the processor's is in use: then kernels for extensions of the
// widest (bf16 products) stand back, too.
bool widest_instructions_allowed();

}  // namespace subquad
