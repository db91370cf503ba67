#include "subquad/mixer/attention/cache.h"

#include <algorithm>

#include "subquad/autograd/ops.h"

namespace subquad {
namespace {

// A copy of columns [0, filled) of (B,T,H,D) with room for `capacity` columns.
Tensor first_columns(Context& cx, const Tensor& from, std::int64_t filled, std::int64_t capacity) {
  const Shape& s = from.shape();
  const Tensor to = cx.empty({s[0], capacity, s[2], s[3]});
  const std::int64_t row = s[2] * s[3];
  with_scalar(cx.dtype(), [&]<class T>() {
    for (std::int64_t b = 0; b < s[0]; ++b) {
      std::copy_n(from.data<T>() + b * s[1] * row, filled * row, to.data<T>() + b * capacity * row);
    }
  });
  return to;
}

}  // namespace

Var append_to_cache(Context& cx, Var& cache, const Var& fresh, std::int64_t filled) {
  if (cx.tape) {
    if (filled == 0) return cache = fresh;
    Var exact = cache;
    if (cache.shape()[1] != filled) exact = {first_columns(cx, cache.value, filled, filled)};
    return cache = concat_time(cx, exact, fresh);
  }
  const Shape& s = fresh.shape();
  const std::int64_t wanted = filled + s[1], capacity = cache.shape()[1], row = s[2] * s[3];
  if (wanted > capacity || !cache.value.unique()) {
    cache = {
        first_columns(cx, cache.value, filled, wanted > capacity ? wanted + wanted / 2 : capacity)};
  }
  with_scalar(cx.dtype(), [&]<class T>() {
    for (std::int64_t b = 0; b < s[0]; ++b) {
      std::copy_n(fresh.value.data<T>() + b * s[1] * row, s[1] * row,
                  cache.value.data<T>() + (b * cache.shape()[1] + filled) * row);
    }
  });
  return cache;
}

void require_full_rows(const Spans& spans) {
  for (std::int64_t b = 0; b < spans.batch(); ++b) {
    require(spans.valid_length(b) == spans.length(), ErrorCode::unsupported,
            "attention: a padded row would leave holes in the key-value cache; decode rows of "
            "equal length");
  }
}

}  // namespace subquad
