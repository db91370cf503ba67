// The SIMD linear core against the literal recurrence in f64, over shapes, switches and hard
// inputs.
#include <gtest/gtest.h>

#include <cmath>

#include "subquad/mixer/common/linear_core.h"
#include "subquad/mixer/common/linear_plan.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

enum class Kind {
  mlstm,
  sigmoid_input,
  mamba2,
  gdn,
  signed_decay,
  signed_erase,
  erase_normalizer,
  // A decay per key channel.
  channels,
  channel_erase,
  channel_signed_erase
};

bool per_channel(Kind kind) { return kind >= Kind::channels; }

enum class Inputs { ordinary, extreme, same_keys, bursts };

struct Case {
  Kind kind = Kind::mlstm;
  std::int64_t B = 2, T = 1, Hk = 1, H = 1, Dk = 8, Dv = 8;
  bool state = false, spans = false;
  Inputs inputs = Inputs::ordinary;

  std::string text() const {
    std::ostringstream s;
    s << "kind " << static_cast<int>(kind) << " B" << B << " T" << T << " Hk" << Hk << " H" << H
      << " Dk" << Dk << " Dv" << Dv << " state " << state << " spans " << spans << " inputs "
      << static_cast<int>(inputs);
    return s.str();
  }
};

LinearCoreOptions options(Kind kind) {
  LinearCoreOptions o;
  o.scale = 0.5;
  o.exponential_input = kind == Kind::mlstm;
  o.normalizer =
      kind == Kind::mlstm || kind == Kind::sigmoid_input || kind == Kind::erase_normalizer;
  o.erase = kind == Kind::gdn || kind == Kind::signed_erase || kind == Kind::erase_normalizer ||
            kind == Kind::channel_erase || kind == Kind::channel_signed_erase;
  o.signed_decay = kind == Kind::signed_decay || kind == Kind::signed_erase ||
                   kind == Kind::channel_signed_erase;
  o.eps = o.normalizer ? 1e-6 : 0;
  return o;
}

struct Names {
  static constexpr const char* all[] = {"o",      "S_final",    "n_final",    "m_final",
                                        "dq",     "dk",         "dv",         "ddecay",
                                        "dwrite", "dS_initial", "dn_initial", "dm_initial"};
};

// All tensors of one problem. The f32 one is drawn, the f64 one copied from it.
template <class T>
struct Problem {
  Tensor q, k, v, decay, write, S, n, m, d_o, dS, dn, dm;
  std::vector<Tensor> results;  // in the order of Names::all
  bool has_state;
  LinearCoreOptions o;
  std::int64_t macs = 0;  // of the forward

  void run(const Case& c, const Spans& spans, std::string_view implementation, int thread_count) {
    KernelTable table;
    add_linear_core_cpu(table);
    add_linear_core_reference(table);
    ThreadPool threads(thread_count);
    const auto nan = [](const Shape& shape) { return nan_tensor(shape, dtype_of<T>()); };
    const Shape keys{c.B, c.T, c.Hk, c.Dk}, values{c.B, c.T, c.H, c.Dv}, gates{c.B, c.T, c.H, 1};
    const Shape states{c.B, c.H, c.Dk, c.Dv}, norms{c.B, c.H, c.Dk}, scalars{c.B, c.H};
    results = {nan(values), nan(states),        nan(norms), nan(scalars), nan(keys),  nan(keys),
               nan(values), nan(decay.shape()), nan(gates), nan(states),  nan(norms), nan(scalars)};
    LinearCoreForward<T> f;
    f.q = q.view<const T, 4>();
    f.k = k.view<const T, 4>();
    f.v = v.view<const T, 4>();
    f.decay = decay.view<const T, 4>();
    f.write = write.view<const T, 4>();
    f.spans = &spans;
    f.options = o;
    LinearCoreBackward<T> b;
    if (has_state) {
      f.S_initial = S.view<const T, 4>();
      b.dS_final = dS.view<const T, 4>();
      if (o.normalizer) f.n_initial = n.view<const T, 3>();
      if (o.normalizer) b.dn_final = dn.view<const T, 3>();
      if (o.exponential_input) f.m_initial = m.view<const T, 2>();
      if (o.exponential_input) b.dm_final = dm.view<const T, 2>();
    }
    f.o = results[0].view<T, 4>();
    f.S_final = results[1].view<T, 4>();
    if (o.normalizer) f.n_final = results[2].view<T, 3>();
    if (o.exponential_input) f.m_final = results[3].view<T, 2>();
    b.f = f;
    b.d_o = d_o.view<const T, 4>();
    b.dq = results[4].view<T, 4>();
    b.dk = results[5].view<T, 4>();
    b.dv = results[6].view<T, 4>();
    b.ddecay = results[7].view<T, 4>();
    b.dwrite = results[8].view<T, 4>();
    b.dS_initial = results[9].view<T, 4>();
    if (o.normalizer) b.dn_initial = results[10].view<T, 3>();
    if (o.exponential_input) b.dm_initial = results[11].view<T, 2>();
    for (const auto& impl : table.all<LinearCoreForward<T>>()) {
      if (impl.name != implementation) continue;
      ASSERT_TRUE(!impl.accepts || impl.accepts(f));
      impl.run(f, threads);
    }
    macs = threads.macs();
    for (const auto& impl : table.all<LinearCoreBackward<T>>()) {
      if (impl.name == implementation) impl.run(b, threads);
    }
    if (!o.normalizer) results[2] = results[10] = Tensor();
    if (!o.exponential_input) results[3] = results[11] = Tensor();
  }
};

Problem<double> to_double(const Problem<float>& p) {
  return {to_double(p.q),
          to_double(p.k),
          to_double(p.v),
          to_double(p.decay),
          to_double(p.write),
          to_double(p.S),
          to_double(p.n),
          to_double(p.m),
          to_double(p.d_o),
          to_double(p.dS),
          to_double(p.dn),
          to_double(p.dm),
          {},
          p.has_state,
          p.o};
}

Problem<float> draw(const Case& c) {
  std::uint64_t step = 0;
  const Rng rng{5, stream_id(c.text())};
  const auto fill = [&](const Shape& s, auto&& value) {
    ++step;
    return filled(s, value);
  };
  const auto normal = [&](double sigma) {
    return [&rng, &step, sigma](std::uint64_t i) { return sigma * rng.normal(step, i); };
  };
  const auto uniform = [&](std::uint64_t i) { return rng.uniform(step, i); };
  const Shape keys{c.B, c.T, c.Hk, c.Dk}, values{c.B, c.T, c.H, c.Dv}, gates{c.B, c.T, c.H, 1};
  Problem<float> p;
  p.o = options(c.kind);
  p.has_state = c.state;
  p.q = fill(keys, normal(1));
  p.k = fill(keys, normal(1));
  p.v = fill(values, normal(1));
  p.d_o = fill(values, normal(1));
  if (p.o.erase) {
    float* k = p.k.data<float>();
    for (std::int64_t i = 0; i < c.B * c.T * c.Hk; ++i) {
      float* row = k + i * c.Dk;
      if (c.inputs == Inputs::same_keys) std::copy_n(k, c.Dk, row);
      float sum = 0;
      for (std::int64_t d = 0; d < c.Dk; ++d) sum += row[d] * row[d];
      const bool zero = c.inputs == Inputs::extreme && i % 3 == 1;
      for (std::int64_t d = 0; d < c.Dk; ++d) row[d] = zero ? 0 : row[d] / std::sqrt(sum);
    }
  }
  p.decay = fill({c.B, c.T, c.H, per_channel(c.kind) ? c.Dk : 1}, [&](std::uint64_t i) {
    const double u = uniform(i);
    if (p.o.signed_decay) return u < 0.1 ? 0.0 : u > 0.95 ? -1.0 : 2 * u - 1;
    if (c.inputs == Inputs::same_keys) return -1e-6;
    if (c.inputs == Inputs::extreme) return u < 0.2 ? -100.0 : u < 0.4 ? -1e-7 : -30 * u;
    // Some chunks keep factored gates, some come close to their limit, some are beyond it.
    if (c.inputs == Inputs::bursts) return u < 0.04 ? -80.0 : u < 0.1 ? -19.0 : -0.05 * u;
    return -0.3 * u;
  });
  p.write = fill(gates, [&](std::uint64_t i) {
    const double u = uniform(i);
    if (p.o.exponential_input) {
      if (c.inputs == Inputs::extreme) return u < 0.5 ? 30.0 * u : -30.0 * u;
      return 4 * u - 2;
    }
    if (c.inputs == Inputs::same_keys) return 1.97;
    return u < 0.1 ? 0.0 : p.o.erase ? 1.9 * u : u;
  });
  const Shape states{c.B, c.H, c.Dk, c.Dv}, norms{c.B, c.H, c.Dk}, scalars{c.B, c.H};
  p.S = fill(states, normal(0.3));
  p.n = fill(norms, normal(0.3));
  p.m = fill(scalars, normal(1));
  p.dS = fill(states, normal(0.3));
  p.dn = fill(norms, normal(0.3));
  p.dm = fill(scalars, normal(0.3));
  return p;
}

Spans make_spans(const Case& c) {
  std::vector<std::int64_t> starts, valid;
  for (std::int64_t b = 0; c.spans && b < c.B; ++b) {
    valid.push_back(std::max<std::int64_t>(c.T - 3 * b - 1, 0));
    for (std::int64_t t = b % 2 ? 0 : c.T / 5; t < valid.back(); t += c.T / 3 + b + 1) {
      starts.push_back(b * c.T + t);
    }
  }
  Segments s;
  s.document_starts = starts;
  s.valid_lengths = valid;
  return Spans(s, c.B, c.T);
}

// max|got - want| relative to max(max|want|, floor times the largest result of the same kind). The
// floor is 1e-4; behind a denominator 3e-2, because the gates' effects on numerator and denominator
// cancel there, down to O(eps) where a single token dominates.
std::vector<double> deviations(const Problem<float>& got, const Problem<double>& want) {
  std::vector<double> result(std::size(Names::all), 0);
  double outputs = 0, gradients = 0;
  for (std::size_t r = 0; r < result.size(); ++r) {
    double& of_kind = r < 4 ? outputs : gradients;
    if (want.results[r]) of_kind = std::max(of_kind, largest(want.results[r]));
  }
  for (std::size_t r = 0; r < result.size(); ++r) {
    if (!want.results[r]) continue;
    const double floor = (want.o.normalizer ? 3e-2 : 1e-4) * (r < 4 ? outputs : gradients);
    result[r] = deviation(got.results[r], want.results[r], std::max(floor, 1e-30));
  }
  return result;
}

// Within 2e-5, or, where the problem itself is ill-conditioned (a denominator near zero), within 30
// times the error of the literal recurrence in f32.
void compare(const Case& c) {
  SCOPED_TRACE(c.text());
  const Spans spans = make_spans(c);
  Problem<float> fast = draw(c), literal = draw(c);
  Problem<double> truth = to_double(fast);
  fast.run(c, spans, "highway", 1);
  truth.run(c, spans, "reference", 1);
  const auto error = deviations(fast, truth);
  std::vector<double> noise;
  for (std::size_t r = 0; r < error.size(); ++r) {
    if (error[r] <= 2e-5) continue;
    if (noise.empty()) {
      literal.run(c, spans, "reference", 1);
      noise = deviations(literal, truth);
    }
    EXPECT_LE(error[r], std::max(2e-5, 30 * noise[r])) << Names::all[r] << " of " << c.text();
  }
}

constexpr Kind kKinds[] = {
    Kind::mlstm,         Kind::sigmoid_input,       Kind::mamba2,           Kind::gdn,
    Kind::signed_decay,  Kind::signed_erase,        Kind::erase_normalizer, Kind::channels,
    Kind::channel_erase, Kind::channel_signed_erase};

struct Sizes {
  std::int64_t T, Hk, H, Dk, Dv;
};

void compare_over(std::initializer_list<Sizes> sizes) {
  for (Kind kind : kKinds) {
    for (const Sizes& s : sizes) {
      for (Inputs inputs : {Inputs::ordinary, Inputs::extreme, Inputs::same_keys}) {
        for (int flags = 0; flags < 4; ++flags) {
          compare(
              {kind, 2, s.T, s.Hk, s.H, s.Dk, s.Dv, (flags & 1) != 0, (flags & 2) != 0, inputs});
        }
      }
    }
  }
}

TEST(LinearCoreCpu, EqualsTheLiteralRecurrence) {
  compare_over({{1, 1, 1, 1, 1},
                {2, 1, 2, 3, 8},
                {5, 2, 2, 8, 3},
                {17, 1, 4, 16, 17},
                {33, 2, 4, 17, 16},
                {40, 1, 1, 32, 32},
                {71, 1, 2, 64, 33}});
}

TEST(LinearCoreCpu, EqualsTheLiteralRecurrenceFull) {
  compare_over({{3, 1, 3, 1, 16},
                {16, 1, 1, 16, 16},
                {64, 2, 2, 8, 64},
                {65, 1, 1, 64, 64},
                {129, 1, 4, 32, 16},
                {200, 1, 2, 33, 3},
                {99, 2, 2, 80, 96}});
}

// The sizes with kernels of their own, over several chunks.
TEST(LinearCoreCpu, EqualsTheLiteralRecurrenceAtFixedSizes) {
  for (Kind kind : kKinds) {
    for (const Sizes& s : {Sizes{75, 2, 2, 16, 16}, Sizes{50, 1, 4, 8, 16}, Sizes{32, 1, 1, 16, 16},
                           Sizes{77, 1, 2, 32, 32}, Sizes{64, 1, 1, 24, 32}}) {
      for (Inputs inputs : {Inputs::ordinary, Inputs::extreme, Inputs::bursts}) {
        for (int flags = 0; flags < 4; ++flags) {
          compare(
              {kind, 3, s.T, s.Hk, s.H, s.Dk, s.Dv, (flags & 1) != 0, (flags & 2) != 0, inputs});
        }
      }
    }
  }
}

TEST(LinearCoreCpu, GivesTheSameBitsOnAnyNumberOfThreads) {
  for (Kind kind : kKinds) {
    const Case c{kind, 3, 50, 2, 4, 16, 24, true, true, Inputs::ordinary};
    const Spans spans = make_spans(c);
    Problem<float> one = draw(c), three = draw(c);
    one.run(c, spans, "highway", 1);
    three.run(c, spans, "highway", 3);
    for (std::size_t r = 0; r < std::size(Names::all); ++r) {
      if (!one.results[r]) continue;
      EXPECT_TRUE(same_bits(one.results[r], three.results[r])) << Names::all[r] << " " << c.text();
    }
  }
}

TEST(LinearCoreCpu, AgreesOnEveryInstructionSet) {
  for_each_instruction_set([] {
    for (Kind kind : kKinds) {
      for (std::int64_t T : {2, 37}) compare({kind, 2, T, 1, 2, 24, 40, true, true});
    }
  });
}

TEST(LinearCoreCpu, CountsChannelsOnEveryInstructionSet) {
  for_each_instruction_set([] {
    for (Kind kind : {Kind::channels, Kind::channel_erase}) {
      for (const std::int64_t T : {1, 3, 16, 21, 64}) {
        const Case c{kind, 2, T, 1, 2, 24, 40};
        Problem<float> p = draw(c);
        p.run(c, make_spans(c), "highway", 2);
        EXPECT_EQ(static_cast<double>(p.macs),
                  4 * linear_core_executed_macs(p.o, T, c.Dk, c.Dv, 2, true))
            << c.text();
      }
    }
  });
}

TEST(LinearCoreCpu, RefusesWhatOnlyTheReferenceDoes) {
  KernelTable table;
  add_linear_core_cpu(table);
  add_linear_core_reference(table);
  const Tensor scalar = Tensor::zeros({1, 1, 1, 1}, DType::f32);
  const Tensor channels = Tensor::zeros({1, 1, 1, 4}, DType::f32);
  LinearCoreForward<float> f;
  f.decay = f.write = scalar.view<const float, 4>();
  EXPECT_EQ(table.select(f).name, "highway");
  f.decay = channels.view<const float, 4>();
  EXPECT_EQ(table.select(f).name, "highway");
  f.write = channels.view<const float, 4>();
  EXPECT_EQ(table.select(f).name, "reference");
  f.write = scalar.view<const float, 4>();
  f.decay = scalar.view<const float, 4>();
  f.erase = channels.view<const float, 4>();
  EXPECT_EQ(table.select(f).name, "reference");
}

TEST(LinearCoreCpu, CountsWhatTheScheduleExecutes) {
  LinearCoreOptions o;
  // A step costs about what the recurrence costs.
  EXPECT_NEAR(linear_core_executed_macs(o, 1, 64, 64, 1), linear_core_macs(o, 64, 64), 128);
  // Two chunks of 32: q kᵀ and the pairs by tiles of 8 x 16, 4 x 8 or 4 x 4, then one pass over the
  // state from the first to the second chunk and one that reads it there.
  const auto [rows, lanes] = linear_core_tiles();
  ASSERT_TRUE((rows == 8 && lanes == 16) || (rows == 4 && lanes <= 8));
  double scores = 0, pairs = 0;
  for (std::int64_t row = rows; row <= 32; row += rows) {  // the last row of a block, plus one
    scores += static_cast<double>(rows * ((row + lanes - 1) / lanes * lanes));
    pairs += static_cast<double>(rows * row);
  }
  const double state = 32 * 64 * 64;
  EXPECT_EQ(linear_core_executed_macs(o, 64, 64, 64, 1), 2 * 64 * (scores + pairs) + 2 * state);
  // Of a single chunk nothing but the pairs is left; of three, two more passes.
  EXPECT_EQ(linear_core_executed_macs(o, 32, 64, 64, 1), 64 * (scores + pairs));
  EXPECT_EQ(linear_core_executed_macs(o, 96, 64, 64, 1), 3 * 64 * (scores + pairs) + 4 * state);
  // A signed decay reads the zero state, too.
  o.signed_decay = true;
  EXPECT_EQ(linear_core_executed_macs(o, 64, 64, 64, 1), 2 * 64 * (scores + pairs) + 3 * state);
  o.signed_decay = false;
  o.erase = true;
  EXPECT_GT(linear_core_executed_macs(o, 64, 64, 64, 1), 1.5 * 2 * (64 * (scores + pairs)));
}

}  // namespace
}  // namespace subquad
