// Which program this is, and on which machine.
#pragma once

#include <string>

#include "subquad/io/json.h"

namespace subquad::app {

std::string machine();       // processor, cores, kernel, in words
std::string build_digest();  // SHA-256 of this very program: a new build is another program
// {"version", "revision" (commit of the sources, "+" and a digest of what was changed since;
// "unknown" outside a checkout), "program_sha256", "compiler", "libraries", "machine",
// "instructions" (vector instruction sets of the processor that kernels choose from), "threads"}.
Json manifest();

}  // namespace subquad::app
