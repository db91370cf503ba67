// Which elements of which published tensors our parameters are. Nothing is computed on the way: a
// parameter is a concatenation of pieces, each a nested loop over the elements of one tensor, so the
// same description loads weights and writes values or gradients back.
#pragma once

#include <string>
#include <vector>

#include "subquad/autograd/params.h"
#include "subquad/pretrained/weight_files.h"

namespace subquad {

struct Loop {
  std::int64_t count, stride;  // stride in elements of the published tensor
};

// Elements of one published tensor, in our order.
struct Piece {
  std::string tensor;
  Shape shape;                // as published
  std::int64_t first = 0;     // element
  std::vector<Loop> loops{};  // outermost first; empty: every element in order

  static Piece whole(std::string tensor, Shape shape);
  // Rows of a tensor: `count` from row `first`, of dimension 0.
  static Piece rows(std::string tensor, Shape shape, std::int64_t first, std::int64_t count);
  // From each of `groups` equal groups of rows, `count` rows from the group's row `first`.
  static Piece grouped_rows(std::string tensor, Shape shape, std::int64_t groups,
                            std::int64_t first, std::int64_t count);
  static Piece transposed(std::string tensor, Shape shape);  // of a matrix

  std::int64_t count() const;
};

struct MappedParameter {
  std::string parameter;  // our name
  std::vector<Piece> pieces;
};
using WeightMap = std::vector<MappedParameter>;

// Fails, naming file and tensor, unless every tensor of the map is there with its shape, and every
// tensor there is in the map; names in `spare` may be there beside it. Elements are floating-point
// numbers, or codes (stored_weights.h) if `packed`.
void check_weights(const WeightFiles& files, const WeightMap& map,
                   const std::vector<std::string>& spare, const std::string& family,
                   bool packed = false);
// Fails unless the map gives every parameter of the plan each of its elements, and takes every
// element of every published tensor once.
void check_complete(const WeightMap& map, const ParameterPlan& plan);

// Elements of one piece in our order, converted to f32 or f64; `to` has piece.count() of them.
template <class T>
void read_piece(const WeightFiles& files, const Piece& piece, std::span<T> to);
// A parameter in f32.
Tensor read_parameter(const WeightFiles& files, const MappedParameter& m, const ParamInfo& p);
// Fills a store of f32 or f64. Errors: unsupported if a tensor is packed.
void load_weights(const WeightFiles& files, const WeightMap& map, const ParameterStore& store);

// The inverse: values (or gradients) of a store as published tensors, sorted by name.
// flat: the store's flat_values() or flat_grads().
NamedTensors published_tensors(const WeightMap& map, const ParameterPlan& plan, const Tensor& flat);

}  // namespace subquad
