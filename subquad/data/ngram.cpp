#include "subquad/data/ngram.h"

#include <algorithm>

namespace subquad {

ByteNgram::ByteNgram(std::span<const std::uint8_t> text) {
  // Counting by sorting: contexts of length n are the n bytes before a position, as one integer.
  for (std::size_t n = 0; n < kOrder; ++n) {
    std::vector<std::uint64_t> grams;
    grams.reserve(text.size());
    std::uint64_t window = 0;
    const std::uint64_t mask = (std::uint64_t{1} << (8 * (n + 1))) - 1;
    for (std::size_t i = 0; i < text.size(); ++i) {
      window = ((window << 8) | text[i]) & mask;
      if (i >= n) grams.push_back(window);
    }
    std::sort(grams.begin(), grams.end());
    for (std::size_t i = 0; i < grams.size();) {
      std::size_t j = i;
      while (j < grams.size() && grams[j] == grams[i]) ++j;
      counts_[n].emplace(grams[i], static_cast<std::uint32_t>(j - i));
      Context& c = contexts_[n][grams[i] >> 8];
      c.total += static_cast<std::uint32_t>(j - i);
      ++c.different;
      i = j;
    }
  }
}

double ByteNgram::probability(std::span<const std::uint8_t> context, std::uint8_t next) const {
  double p = 1.0 / 256;
  const std::size_t longest = std::min<std::size_t>(context.size(), kOrder - 1);
  std::uint64_t h = 0;
  for (std::size_t n = 0; n <= longest; ++n) {
    if (n > 0) h |= std::uint64_t{context[context.size() - n]} << (8 * (n - 1));
    const auto c = contexts_[n].find(h);
    if (c == contexts_[n].end()) break;
    const auto seen = counts_[n].find((h << 8) | next);
    const double count = seen == counts_[n].end() ? 0 : seen->second,
                 different = c->second.different;
    p = (count + different * p) / (c->second.total + different);
  }
  return p;
}

std::int64_t ByteNgram::contexts() const {
  std::int64_t n = 0;
  for (const auto& c : contexts_) n += static_cast<std::int64_t>(c.size());
  return n;
}

}  // namespace subquad
