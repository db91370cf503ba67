// A model's weights in fewer bits, and what that changes.
#pragma once

#include <string>
#include <vector>

#include "subquad/autograd/params.h"
#include "subquad/base/thread_pool.h"

namespace subquad {

// Whether only products and embeddings read this parameter: matrices of at least 32 columns.
// Norms, biases, decays, convolutions, block-diagonal and recurrent weights are not packed.
bool packable(const ParamInfo& p);

// One parameter of any store, in f32; shared where the store holds it so.
Tensor exact_value(const ParameterStore& store, ParamId id);

// A read-only store with every packable parameter in `packing` (int8 in place of int4 where that is
// not larger: rows of less than 96), but exact rows (ParamInfo) in f32; the others are those of
// `from`, shared.
// Errors: numeric, naming the parameter and the element, if one is not finite.
ParameterStore packed_store(const ParameterStore& from, Packing packing, ThreadPool& threads);

// How far packed parameters are from what they were made of: |packed - exact| / |exact| in the
// Euclidean norm, over one parameter or over all of a class (its name without block numbers).
struct PackingError {
  std::string name;
  std::int64_t parameters = 0, bytes = 0;  // elements, and how they are stored
  double relative_error = 0;
  std::string worst = {};  // of a class: the parameter with the largest error, and that
  double worst_error = 0;
};
// By class, in the order of their first parameter; the class "(f32)" is what is not packed.
std::vector<PackingError> packing_errors(const ParameterStore& exact, const ParameterStore& packed);

}  // namespace subquad
