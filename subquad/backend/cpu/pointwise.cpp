// Pointwise kernels. Schedule: flat blocks of 16k elements, or blocks of rows; one load, one
// function, one store per vector. Roofline: cache bandwidth; the sigmoid family costs about 0.25 ns
// per element with AVX-512.
#include "subquad/backend/cpu/cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/pointwise.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kFlatBlock = 16384;

void unary_forward(const UnaryForward<float>& a, ThreadPool& threads) {
  const std::int64_t n = a.x.dim(0);
  vm::with_kind(a.kind, [&]<Unary kKind>() {
    threads.run((n + kFlatBlock - 1) / kFlatBlock, [&](std::int64_t block, Scratch&) {
      for (std::int64_t i = block * kFlatBlock; i < std::min(n, (block + 1) * kFlatBlock);
           i += vm::kWidth) {
        vm::store(vm::value<kKind>(vm::load(a.x.data + i, n - i)), a.y.data + i, n - i);
      }
    });
  });
}

void unary_backward(const UnaryBackward<float>& a, ThreadPool& threads) {
  const std::int64_t n = a.x.dim(0);
  vm::with_kind(a.kind, [&]<Unary kKind>() {
    threads.run((n + kFlatBlock - 1) / kFlatBlock, [&](std::int64_t block, Scratch&) {
      for (std::int64_t i = block * kFlatBlock; i < std::min(n, (block + 1) * kFlatBlock);
           i += vm::kWidth) {
        const auto dy = vm::load(a.dy.data + i, n - i);
        vm::store(vm::hn::Mul(dy, vm::slope<kKind>(vm::load(a.x.data + i, n - i))), a.dx.data + i,
                  n - i);
      }
    });
  });
}

void gated_forward(const GatedForward<float>& a, ThreadPool& threads) {
  const std::int64_t width = a.y.dim(1);
  vm::with_kind(a.kind, [&]<Unary kKind>() {
    for_row_blocks(threads, a.y.dim(0),
                   [&](std::int64_t begin, std::int64_t end, std::int64_t, Scratch&) {
                     for (std::int64_t n = begin; n < end; ++n) {
                       const float *gate = a.gate.at(n), *x = a.x.at(n);
                       float* y = a.y.at(n);
                       for (std::int64_t i = 0; i < width; i += vm::kWidth) {
                         const auto g = vm::value<kKind>(vm::load(gate + i, width - i));
                         vm::store(vm::hn::Mul(g, vm::load(x + i, width - i)), y + i, width - i);
                       }
                     }
                   });
  });
}

void gated_backward(const GatedBackward<float>& a, ThreadPool& threads) {
  const std::int64_t width = a.dy.dim(1);
  vm::with_kind(a.kind, [&]<Unary kKind>() {
    for_row_blocks(
        threads, a.dy.dim(0), [&](std::int64_t begin, std::int64_t end, std::int64_t, Scratch&) {
          for (std::int64_t n = begin; n < end; ++n) {
            const float *gate = a.gate.at(n), *x = a.x.at(n), *dy = a.dy.at(n);
            float *dgate = a.dgate.at(n), *dx = a.dx.at(n);
            for (std::int64_t i = 0; i < width; i += vm::kWidth) {
              const std::int64_t rest = width - i;
              const auto g = vm::load(gate + i, rest), d = vm::load(dy + i, rest);
              const auto dg =
                  vm::hn::Mul(vm::hn::Mul(d, vm::load(x + i, rest)), vm::slope<kKind>(g));
              vm::store(vm::hn::Mul(d, vm::value<kKind>(g)), dx + i, rest);
              vm::store(dg, dgate + i, rest);
            }
          }
        });
  });
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(unary_forward);
HWY_EXPORT(unary_backward);
HWY_EXPORT(gated_forward);
HWY_EXPORT(gated_backward);

// Those of with_kind() in vector_math-inl.h.
template <class Args>
bool vector_form(const Args& a) {
  switch (a.kind) {
    case Unary::silu:
    case Unary::sigmoid:
    case Unary::tanh:
    case Unary::softplus:
    case Unary::log_sigmoid:
    case Unary::square:
    case Unary::relu:
    case Unary::exp: return true;
    case Unary::gelu:
    case Unary::gelu_tanh:
    case Unary::one_minus_exp: return false;
  }
  return false;
}

}  // namespace

void add_pointwise_cpu(KernelTable& table) {
  table.add(Impl<UnaryForward<float>>{"highway", vector_form,
                                      [](const UnaryForward<float>& a, ThreadPool& t) {
                                        HWY_DYNAMIC_DISPATCH(unary_forward)(a, t);
                                      }});
  table.add(Impl<UnaryBackward<float>>{"highway", vector_form,
                                       [](const UnaryBackward<float>& a, ThreadPool& t) {
                                         HWY_DYNAMIC_DISPATCH(unary_backward)(a, t);
                                       }});
  table.add(Impl<GatedForward<float>>{"highway", vector_form,
                                      [](const GatedForward<float>& a, ThreadPool& t) {
                                        HWY_DYNAMIC_DISPATCH(gated_forward)(a, t);
                                      }});
  table.add(Impl<GatedBackward<float>>{"highway", vector_form,
                                       [](const GatedBackward<float>& a, ThreadPool& t) {
                                         HWY_DYNAMIC_DISPATCH(gated_backward)(a, t);
                                       }});
}

}  // namespace subquad
#endif
