// What two byte streams of documents (each followed by a zero byte) share.
#pragma once

#include <cstdint>
#include <span>

#include "subquad/io/json.h"

namespace subquad {

// Documents of `test` that are found in `train`. Tokens: runs of letters, digits and _, and every
// other visible character.
struct Overlap {
  std::int64_t documents = 0;  // of test
  std::int64_t exact = 0;      // the same tokens
  // Jaccard similarity of sets of 5 tokens in a row at least 0.7, by 128 MinHash values in 32 bands.
  // Source: Broder 1997.
  std::int64_t near = 0;
  std::int64_t ngram13 = 0;  // 13 tokens in a row in common. Source: Brown et al. 2020, appendix C

  Json to_json() const;
};
Overlap overlap_of(std::span<const std::uint8_t> train, std::span<const std::uint8_t> test);

}  // namespace subquad
