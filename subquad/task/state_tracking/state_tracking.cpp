#include "subquad/task/state_tracking/state_tracking.h"

#include <array>

#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

using Permutation = std::array<int, 3>;
constexpr std::array<Permutation, 6> kS3 = {{{0, 1, 2},
                                             {1, 2, 0},
                                             {2, 0, 1},
                                             {1, 0, 2},
                                             {0, 2, 1},
                                             {2, 1, 0}}};  // identity, two rotations, three swaps

// x after s: first s, then x.
std::int32_t compose(std::int32_t x, std::int32_t s) {
  Permutation p{};
  for (std::size_t i = 0; i < 3; ++i) {
    p[i] = kS3[static_cast<std::size_t>(x)]
              [static_cast<std::size_t>(kS3[static_cast<std::size_t>(s)][i])];
  }
  for (std::int32_t j = 0; j < 6; ++j) {
    if (kS3[static_cast<std::size_t>(j)] == p) return j;
  }
  return -1;
}

}  // namespace

std::unique_ptr<Task> make_parity(const TaskOptions& options) {
  SyntheticTask t;
  t.spec = {.name = "parity",
            .vocabulary = 2,
            .classes = 2,
            .train_length = 32,
            .batch_size = 32,
            .lengths = {32, 64, 256, 1024},
            .chance = 0.5,
            .primary = "tail_accuracy",
            .primary_length = 1024,
            .default_tokens = 800000,
            .learning_rate = 2e-3};
  t.rows = {256, 256, 128, 32};
  t.legend = "target: number of ones so far, modulo 2";
  t.row = [](Draw& d, std::int64_t length, std::span<std::int32_t> in,
             std::span<std::int32_t> target) {
    std::int32_t state = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(length); ++i) {
      in[i] = static_cast<std::int32_t>(d.below(2));
      target[i] = state ^= in[i];
    }
  };
  return make_synthetic(std::move(t), options);
}

std::unique_ptr<Task> make_s3(const TaskOptions& options) {
  SyntheticTask t;
  t.spec = {.name = "s3",
            .vocabulary = 6,
            .classes = 6,
            .train_length = 32,
            .batch_size = 64,
            .lengths = {32, 64, 256, 1024},
            .chance = 1.0 / 6,
            .primary = "tail_accuracy",
            .primary_length = 1024,
            .default_tokens = 6000000,
            .learning_rate = 2e-3};
  t.rows = {256, 256, 128, 32};
  t.curriculum = true;
  t.legend = "ids 0 identity, 1-2 rotations, 3-5 swaps; target: product of all elements so far";
  t.row = [](Draw& d, std::int64_t length, std::span<std::int32_t> in,
             std::span<std::int32_t> target) {
    std::int32_t state = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(length); ++i) {
      in[i] = static_cast<std::int32_t>(d.below(6));
      target[i] = state = compose(in[i], state);
    }
  };
  return make_synthetic(std::move(t), options);
}

}  // namespace subquad
