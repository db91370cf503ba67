#include "subquad/data/tokenizer/bpe.h"

#include <algorithm>
#include <functional>

namespace subquad {

PairMerger::PairMerger(std::vector<Merge> merges, std::int64_t tokens)
    : first_(static_cast<std::size_t>(tokens) + 1), results_(merges.size()) {
  struct Ranked {
    Merge merge;
    std::uint32_t rank;
  };
  std::vector<Ranked> sorted;
  sorted.reserve(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    sorted.push_back({merges[i], static_cast<std::uint32_t>(i)});
    results_[i] = merges[i].result;
  }
  std::sort(sorted.begin(), sorted.end(), [](const Ranked& a, const Ranked& b) {
    if (a.merge.left != b.merge.left) return a.merge.left < b.merge.left;
    if (a.merge.right != b.merge.right) return a.merge.right < b.merge.right;
    return a.rank > b.rank;  // the later one first: it stays
  });
  const Merge* kept = nullptr;
  for (const Ranked& r : sorted) {
    if (kept && kept->left == r.merge.left && kept->right == r.merge.right) continue;
    kept = &r.merge;
    pairs_.push_back({r.merge.right, r.rank});
    ++first_[static_cast<std::size_t>(r.merge.left) + 1];
  }
  for (std::size_t t = 1; t < first_.size(); ++t) first_[t] += first_[t - 1];
}

std::uint32_t PairMerger::rank_of(std::int32_t left, std::int32_t right) const {
  const auto t = static_cast<std::size_t>(left);
  const Pair* low = pairs_.data() + first_[t];
  const Pair* const end = pairs_.data() + first_[t + 1];
  low =
      std::lower_bound(low, end, right, [](const Pair& p, std::int32_t r) { return p.right < r; });
  return low != end && low->right == right ? low->rank : kNone;
}

// Queue entries are rank << 32 | position: the smallest is the next merge.
void PairMerger::propose(const std::vector<std::int32_t>& ids, std::int32_t at, Scratch& s) const {
  const auto i = static_cast<std::size_t>(at);
  if (at < 0 || s.next[i] == static_cast<std::int32_t>(ids.size())) return;
  const std::uint32_t rank = rank_of(ids[i], ids[static_cast<std::size_t>(s.next[i])]);
  if (rank == kNone) return;
  s.queue.push_back(std::uint64_t{rank} << 32 | static_cast<std::uint32_t>(at));
  ++s.candidates;
}

void PairMerger::merge(std::vector<std::int32_t>& ids, Scratch& s) const {
  const auto n = static_cast<std::int32_t>(ids.size());
  s.previous.resize(ids.size());
  s.next.resize(ids.size());
  s.queue.clear();
  for (std::int32_t i = 0; i < n; ++i) {
    s.previous[static_cast<std::size_t>(i)] = i - 1;
    s.next[static_cast<std::size_t>(i)] = i + 1;
  }
  for (std::int32_t i = 0; i < n; ++i) propose(ids, i, s);
  if (s.queue.empty()) return;
  std::make_heap(s.queue.begin(), s.queue.end(), std::greater<>());
  constexpr std::int32_t kMergedAway = -1;
  while (!s.queue.empty()) {
    std::pop_heap(s.queue.begin(), s.queue.end(), std::greater<>());
    const std::uint64_t top = s.queue.back();
    s.queue.pop_back();
    const auto left = static_cast<std::size_t>(top & 0xFFFFFFFF);
    const std::int32_t result = results_[top >> 32], right_at = s.next[left];
    if (ids[left] == kMergedAway || right_at == n) continue;
    const auto right = static_cast<std::size_t>(right_at);
    // The neighbours may have changed since this was queued. What counts is, as in the reference
    // library, that they still merge into the same token.
    const std::uint32_t rank = rank_of(ids[left], ids[right]);
    if (rank == kNone || results_[rank] != result) continue;
    ids[left] = result;
    ids[right] = kMergedAway;
    s.next[left] = s.next[right];
    if (s.next[left] < n) {
      s.previous[static_cast<std::size_t>(s.next[left])] = static_cast<std::int32_t>(left);
    }
    for (const std::int32_t at : {s.previous[left], static_cast<std::int32_t>(left)}) {
      const std::size_t before = s.queue.size();
      propose(ids, at, s);
      if (s.queue.size() > before) {
        std::push_heap(s.queue.begin(), s.queue.end(), std::greater<>());
      }
    }
  }
  std::erase(ids, kMergedAway);
}

}  // namespace subquad
