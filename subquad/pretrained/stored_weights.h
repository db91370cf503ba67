// The weights of model files as kernels read them, used in place where the files allow it.
#pragma once

#include "subquad/autograd/params.h"
#include "subquad/pretrained/weight_map.h"

namespace subquad {

// Names beside a packed tensor (tensor/packed.h) and inside a parameter stored in several runs.
std::string scales_name(const std::string& tensor);                   // "NAME.scale"
std::string run_name(const std::string& parameter, std::size_t run);  // "NAME.rows.0"

// Packed tensors of `shape` (rows,ins): int8 as I8 (rows,ins) and F32 scales (rows,1); int4 as U8
// (rows, bytes of a row) and F32 scales (rows, groups). Fails, naming file and tensor, if the entry
// is neither these nor floating point of this shape.
Packing check_stored(const WeightFiles& files, const std::string& tensor, const Shape& shape);

// A read-only store. Matrices of products are the files' own bytes, f32, bf16 or packed; other
// parameters are f32, shared with the file if it stores them so. Copied, widened to f32 unless they
// are bf16 matrices: elements in another order than ours, f16, f64, and what is not aligned.
// The files must not be changed while the store lives.
ParameterStore stored_weights(const WeightFiles& files, const WeightMap& map,
                              const ParameterPlan& plan);

// The inverse for our own layout: every run of every parameter under its name, scales beside it.
NamedTensors named_weights(const ParameterStore& store);

}  // namespace subquad
