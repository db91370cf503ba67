// Multiply-adds: 12 independent accumulator chains, enough for two units of latency 4 to 5, no
// memory.
#include "subquad/backend/machine_peaks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/machine_peaks.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "subquad/backend/dense.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Number of floating-point operations; `sink` keeps the chains alive.
double multiply_adds(std::int64_t rounds, float* sink) {
  const hn::ScalableTag<float> d;
  const auto x = hn::Set(d, sink[0]), y = hn::Set(d, sink[1]);
  // The chains start from different values, or the compiler would see that they are one.
  auto a0 = hn::Iota(d, 0.0f), a1 = hn::Iota(d, 0.1f), a2 = hn::Iota(d, 0.2f);
  auto a3 = hn::Iota(d, 0.3f), a4 = hn::Iota(d, 0.4f), a5 = hn::Iota(d, 0.5f);
  auto a6 = hn::Iota(d, 0.6f), a7 = hn::Iota(d, 0.7f), a8 = hn::Iota(d, 0.8f);
  auto a9 = hn::Iota(d, 0.9f), a10 = hn::Iota(d, 1.0f), a11 = hn::Iota(d, 1.1f);
  for (std::int64_t i = 0; i < rounds; ++i) {
    a0 = hn::MulAdd(a0, x, y);
    a1 = hn::MulAdd(a1, x, y);
    a2 = hn::MulAdd(a2, x, y);
    a3 = hn::MulAdd(a3, x, y);
    a4 = hn::MulAdd(a4, x, y);
    a5 = hn::MulAdd(a5, x, y);
    a6 = hn::MulAdd(a6, x, y);
    a7 = hn::MulAdd(a7, x, y);
    a8 = hn::MulAdd(a8, x, y);
    a9 = hn::MulAdd(a9, x, y);
    a10 = hn::MulAdd(a10, x, y);
    a11 = hn::MulAdd(a11, x, y);
  }
  a0 = hn::Add(hn::Add(a0, a1), hn::Add(a2, a3));
  a4 = hn::Add(hn::Add(a4, a5), hn::Add(a6, a7));
  a8 = hn::Add(hn::Add(a8, a9), hn::Add(a10, a11));
  sink[2] = hn::GetLane(hn::SumOfLanes(d, hn::Add(a0, hn::Add(a4, a8))));
  return 2.0 * 12.0 * static_cast<double>(hn::Lanes(d)) * static_cast<double>(rounds);
}

// Reads `count` floats, a multiple of 8 vectors; returns something that depends on all of them.
float read_floats(const float* x, std::int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto a = hn::Zero(d), b = hn::Zero(d), c = hn::Zero(d), e = hn::Zero(d);
  for (std::int64_t i = 0; i < count; i += 4 * lanes) {
    a = hn::Max(a, hn::LoadU(d, x + i));
    b = hn::Max(b, hn::LoadU(d, x + i + lanes));
    c = hn::Max(c, hn::LoadU(d, x + i + 2 * lanes));
    e = hn::Max(e, hn::LoadU(d, x + i + 3 * lanes));
  }
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(a, b), hn::Max(c, e))));
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {
HWY_EXPORT(multiply_adds);
HWY_EXPORT(read_floats);

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

double measure_fma_peak() {
  float sink[3] = {0.5f, 1.0f, 0.0f};
  double best = 0;
  for (int i = 0; i < 12; ++i) {
    const auto start = Clock::now();
    const double operations = HWY_DYNAMIC_DISPATCH(multiply_adds)(400000, sink);
    best = std::max(best, operations / seconds_since(start));
  }
  return best;
}

double measure_gemm_peak() {
  constexpr std::int64_t m = 1024, n = 512, k = 512;
  const std::vector<float> x(m * k, 0.5f), w(n * k, 0.25f);
  std::vector<float> y(m * n);
  const LinearPart<float> part{
      {x.data(), {m, k}, {k, 1}}, {w.data(), {n, k}, {k, 1}}, {}, {y.data(), {m, n}, {n, 1}}};
  KernelTable table;
  add_dense_cpu(table);
  ThreadPool one(1);
  double best = 0;
  for (int i = 0; i < 6; ++i) {
    const auto start = Clock::now();
    table.run(LinearForward<float>{{&part, 1}}, one);
    best = std::max(best, 2.0 * m * n * k / seconds_since(start));
  }
  return best;
}

double measure_read_bandwidth(ThreadPool& threads) {
  constexpr std::int64_t kParts = 64, kFloats = 1 << 20;
  static_assert(kFloats % 128 == 0);
  const std::vector<float> data(kParts * kFloats, 1.0f);
  std::vector<float> sink(kParts);
  double best = 0;
  for (int i = 0; i < 4; ++i) {
    const auto start = Clock::now();
    threads.run(kParts, [&](std::int64_t part, Scratch&) {
      sink[static_cast<std::size_t>(part)] =
          HWY_DYNAMIC_DISPATCH(read_floats)(data.data() + part * kFloats, kFloats);
    });
    best = std::max(best, 4.0 * kParts * kFloats / seconds_since(start));
  }
  return best;
}

}  // namespace subquad
#endif
