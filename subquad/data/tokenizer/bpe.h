// Byte-pair merging of one word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace subquad {

class PairMerger {
 public:
  struct Merge {
    std::int32_t left = 0, right = 0, result = 0;
  };

  // `merges` in the order of their rank, all ids in [0, tokens). Where a pair occurs twice, the
  // later rank holds.
  PairMerger(std::vector<Merge> merges, std::int64_t tokens);

  // Buffers of merge(), and how many candidate pairs its queue held so far.
  struct Scratch {
    std::vector<std::int32_t> previous, next;
    std::vector<std::uint64_t> queue;
    std::int64_t candidates = 0;
  };

  // Merges adjacent tokens of the word, again and again the pair of the lowest rank, the leftmost of
  // equals, until no pair is in the list.
  // Ranges: ids.size() < 2^31. Cost: O(n log n), at most 3 n candidates.
  void merge(std::vector<std::int32_t>& ids, Scratch& scratch) const;

 private:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  std::uint32_t rank_of(std::int32_t left, std::int32_t right) const;
  void propose(const std::vector<std::int32_t>& ids, std::int32_t at, Scratch& s) const;

  // The pairs of left token t are pairs_[first_[t]] ... pairs_[first_[t + 1] - 1], sorted by right:
  // found by bisection, for which no file can be made slow, as it can for a hash table.
  struct Pair {
    std::int32_t right = 0;
    std::uint32_t rank = 0;
  };
  std::vector<std::uint32_t> first_;
  std::vector<Pair> pairs_;
  std::vector<std::int32_t> results_;  // by rank
};

}  // namespace subquad
