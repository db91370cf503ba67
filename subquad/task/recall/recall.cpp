#include "subquad/task/recall/recall.h"

#include <numeric>
#include <vector>

#include "subquad/task/synthetic/synthetic.h"

namespace subquad {

std::unique_ptr<Task> make_mqar(const TaskOptions& options) {
  constexpr std::int64_t kPairs = 8, kHalf = 32;  // filler 0, keys 1..32, values 33..64
  SyntheticTask t;
  t.spec = {.name = "mqar",
            .vocabulary = 2 * kHalf + 1,
            .classes = 2 * kHalf + 1,
            .train_length = 64,
            .batch_size = 16,
            .lengths = {64, 128, 512, 2048},
            .chance = 1.0 / kHalf,
            .primary = "accuracy",
            .primary_length = 512,
            .default_tokens = 2500000,
            .learning_rate = 2e-3};
  t.rows = {256, 128, 64, 16};
  t.legend =
      "ids 0 filler, 1-32 keys, 33-64 values; 8 pairs, then each key once more: target is its "
      "value";
  t.row = [](Draw& d, std::int64_t length, std::span<std::int32_t> in,
             std::span<std::int32_t> target) {
    std::vector<std::int32_t> keys(kHalf);
    std::iota(keys.begin(), keys.end(), 1);
    std::vector<std::size_t> slots(static_cast<std::size_t>(length - 2 * kPairs));
    std::iota(slots.begin(), slots.end(), static_cast<std::size_t>(2 * kPairs));
    for (std::size_t p = 0; p < kPairs; ++p) {
      std::swap(keys[p],
                keys[p + static_cast<std::size_t>(d.below(kHalf - static_cast<std::int64_t>(p)))]);
      std::swap(slots[p], slots[p + static_cast<std::size_t>(
                                        d.below(static_cast<std::int64_t>(slots.size() - p)))]);
      const auto value = static_cast<std::int32_t>(kHalf + 1 + d.below(kHalf));
      in[2 * p] = keys[p];
      in[2 * p + 1] = value;
      in[slots[p]] = keys[p];
      target[slots[p]] = value;
    }
  };
  return make_synthetic(std::move(t), options);
}

}  // namespace subquad
