// The key-value cache of attention as a state field that grows, (B,capacity,H,D).
#pragma once

#include "subquad/autograd/tape.h"

namespace subquad {

// The cache with the new keys or values (B,T,H,D) at [filled, filled + T). Without a tape it has
// spare room and is written in place if nobody else holds it (a fork copies it first).
Var append_to_cache(Context& cx, Var& cache, const Var& fresh, std::int64_t filled);

// Errors: unsupported if a row is padded: it would leave a hole.
void require_full_rows(const Spans& spans);

}  // namespace subquad
