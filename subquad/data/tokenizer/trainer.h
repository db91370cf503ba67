// Learns a byte-level byte-pair vocabulary from text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/base/thread_pool.h"
#include "subquad/data/tokenizer/definition.h"

namespace subquad {

struct TrainerOptions {
  std::int64_t vocabulary = 8192;  // special tokens and the 256 bytes included
  WordPattern pattern = WordPattern::qwen2;
  std::vector<std::string> special_tokens = {"<|endoftext|>"};  // ids 0, 1, ...
  std::int64_t min_count = 2;  // a pair that occurs less often is not merged
};

// Words longer than this are not counted: encoded data, not language.
inline constexpr std::int64_t kLongestTrainedWord = 256;

// Ids: special tokens, then the bytes in the order of their letters' code points, then merges. Each
// merge joins the adjacent pair of tokens that occurs most often inside words, of equals the one with
// the smaller left id, then the smaller right id. Stops early when no pair occurs min_count times.
// The same for any number of threads. Words do not span documents.
// Errors: invalid_argument if the vocabulary is below 256 + special tokens or above 2^20, or if a
// special token is empty or given twice.
// Source: Sennrich et al. 2016 (arXiv 1508.07909), on bytes as in GPT-2.
TokenizerDefinition train_tokenizer(std::span<const std::string_view> documents,
                                    const TrainerOptions& options, ThreadPool& pool);

}  // namespace subquad
