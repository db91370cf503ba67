// The SIMD sLSTM against the literal recurrence in f64, over tile shapes, resets and padding.
#include <gtest/gtest.h>

#include <cmath>

#include "subquad/mixer/slstm/core.h"
#include "subquad/mixer/slstm/row_tiles.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

struct Case {
  std::int64_t B = 1, T = 1, H = 1, D = 16;
  bool state = false, spans = false, bias = false, exponential_forget = false;
  double amplitude = 1;
  bool gates_first = false;  // x and dx lie as (B,T,4,H,D)

  std::string text() const {
    std::ostringstream s;
    s << "B" << B << " T" << T << " H" << H << " D" << D << " state " << state << " spans " << spans
      << " bias " << bias << " exponential " << exponential_forget << " amplitude " << amplitude;
    return s.str();
  }
};

constexpr const char* kNames[] = {"h",          "h_final",    "c_final",    "n_final",
                                  "m_final",    "dx",         "dR",         "db",
                                  "dh_initial", "dc_initial", "dn_initial", "dm_initial"};
constexpr const char* kInputs[] = {"x",         "R",         "b",         "h_initial",
                                   "c_initial", "n_initial", "m_initial", "dh",
                                   "dh_final",  "dc_final",  "dn_final",  "dm_final"};

Spans make_spans(const Case& c) {
  std::vector<std::int64_t> starts, valid;
  for (std::int64_t b = 0; c.spans && b < c.B; ++b) {
    valid.push_back(std::max<std::int64_t>(c.T - b * 5 % 7, 0));
    for (std::int64_t t = b % 3; t < c.T && b % 4 != 1; t += 1 + (b * 3 + t) % 6) {
      starts.push_back(b * c.T + t);
    }
  }
  return Spans({.document_starts = starts, .valid_lengths = valid}, c.B, c.T);
}

// The f32 tensors are drawn, the f64 ones copied from them.
template <class T>
struct Problem {
  std::vector<Tensor> inputs;   // in the order of kInputs
  std::vector<Tensor> results;  // in the order of kNames

  void run(const Case& c, const Spans& spans, std::string_view implementation, int thread_count) {
    KernelTable table;
    add_slstm_core_cpu(table);
    add_slstm_core_reference(table);
    ThreadPool threads(thread_count);
    const auto nan = [](const Shape& shape) { return nan_tensor(shape, dtype_of<T>()); };
    const Shape unit{c.B, c.H, c.D};
    results = {nan({c.B, c.T, c.H, c.D})};
    for (int i = 0; i < 4; ++i) results.push_back(nan(unit));
    results.push_back(nan({c.B, c.T, c.H, 4, c.D}));
    for (const Shape& s : {Shape{c.H, c.D, 4, c.D}, Shape{c.H, 4, c.D}}) {
      results.push_back(Tensor::zeros(s, dtype_of<T>()));
    }
    for (int i = 0; i < 4; ++i) results.push_back(nan(unit));
    const Tensor saved = nan({c.B, c.T, c.H, 7, c.D});
    const auto by_head = [&](auto view) {  // (B,T,H,4,D) on the same memory
      if (c.gates_first) {
        view.strides[2] = c.D;
        view.strides[3] = c.H * c.D;
      }
      return view;
    };
    const auto in3 = [&](std::size_t i) { return inputs[i].view<const T, 3>(); };
    const auto out3 = [&](std::size_t i) { return results[i].view<T, 3>(); };
    SlstmForward<T> f;
    f.x = by_head(inputs[0].view<const T, 5>());
    f.R = inputs[1].view<const T, 4>();
    if (c.bias) f.b = in3(2);
    f.spans = &spans;
    f.exponential_forget = c.exponential_forget;
    f.h = results[0].view<T, 4>();
    f.saved = saved.view<T, 5>();
    SlstmBackward<T> g;
    if (c.state) {
      f.h_initial = in3(3), f.c_initial = in3(4), f.n_initial = in3(5), f.m_initial = in3(6);
      g.dh_final = in3(8), g.dc_final = in3(9), g.dn_final = in3(10), g.dm_final = in3(11);
    }
    f.h_final = out3(1), f.c_final = out3(2), f.n_final = out3(3), f.m_final = out3(4);
    g.f = f;
    g.dh = inputs[7].view<const T, 4>();
    g.dx = by_head(results[5].view<T, 5>());
    g.dR = results[6].view<T, 4>();
    if (c.bias) g.db = out3(7);
    if (c.state) {
      g.dh_initial = out3(8), g.dc_initial = out3(9), g.dn_initial = out3(10);
      g.dm_initial = out3(11);
    } else {
      results.resize(8);
    }
    for (const auto& impl : table.all<SlstmForward<T>>()) {
      if (impl.name == implementation) impl.run(f, threads);
    }
    for (const auto& impl : table.all<SlstmBackward<T>>()) {
      if (impl.name == implementation) impl.run(g, threads);
    }
  }
};

Problem<float> draw(const Case& c) {
  const Rng rng{7, stream_id(c.text())};
  const Shape unit{c.B, c.H, c.D}, h{c.B, c.T, c.H, c.D};
  const Shape shapes[] = {{c.B, c.T, c.H, 4, c.D},
                          {c.H, c.D, 4, c.D},
                          {c.H, 4, c.D},
                          unit,
                          unit,
                          unit,
                          unit,
                          h,
                          unit,
                          unit,
                          unit,
                          unit};
  Problem<float> p;
  for (std::size_t i = 0; i < std::size(kInputs); ++i) {
    const std::string_view name = kInputs[i];
    const double sigma = name == "x"   ? c.amplitude
                         : name == "R" ? 1 / std::sqrt(static_cast<double>(c.D))
                                       : 0.5;
    p.inputs.push_back(filled(shapes[i], [&](std::uint64_t k) {
      const double x = sigma * rng.normal(i, k);
      return name == "n_initial" ? 1 + std::abs(x) : x;
    }));
  }
  return p;
}

Problem<double> to_double(const Problem<float>& p) {
  Problem<double> d;
  for (const Tensor& t : p.inputs) d.inputs.push_back(to_double(t));
  return d;
}

void compare(const Case& c) {
  const Spans spans = make_spans(c);
  Problem<float> fast = draw(c);
  Problem<double> truth = to_double(fast);
  fast.run(c, spans, "highway", 1);
  truth.run(c, spans, "reference", 1);
  for (std::size_t r = 0; r < fast.results.size(); ++r) {
    EXPECT_LE(deviation(fast.results[r], truth.results[r], 1e-3), 2e-5)
        << kNames[r] << " of " << c.text();
  }
}

TEST(SlstmCoreCpu, EqualsTheLiteralRecurrence) {
  for (const std::int64_t D : {1, 3, 8, 16, 20, 33, 64}) {
    for (const std::int64_t B : {1, 2, 3, 5, 8, 11}) {
      for (const std::int64_t T : {1, 2, 9, 23}) {
        const bool odd = (B + T + D) % 2 != 0;
        compare({B, T, 2, D, odd, !odd, odd, B == 3, 1});
        compare({B, T, 2, D, !odd, !odd, !odd, B == 2, 3});
      }
    }
  }
}

TEST(SlstmCoreCpu, EqualsTheLiteralRecurrenceFull) {
  for (const std::int64_t D : {8, 16, 20, 64, 128}) {
    for (const std::int64_t B : {1, 4, 7, 9, 17}) {
      for (int flags = 0; flags < 16; flags += D < 64 ? 1 : 5) {
        compare({B, D < 64 ? 41 : 10, 1 + B % 3, D, (flags & 1) != 0, (flags & 2) != 0,
                 (flags & 4) != 0, (flags & 8) != 0, flags % 3 == 0 ? 0.01 : 2});
      }
    }
  }
}

TEST(SlstmCoreCpu, SaturatedGatesStayExact) {
  for (const double amplitude : {30.0, 200.0})
    compare({3, 12, 2, 16, true, true, false, false, amplitude});
}

// The same work in other tiles and panels, and R packed or read in place.
TEST(SlstmCoreCpu, ARowsBitsDoNotDependOnItsNeighbours) {
  for (const std::int64_t D : {8, 16, 20, 64}) {
    for (const std::int64_t T : {1, 6}) {
      const Case c{11, T, 2, D, true, false, true};
      const Spans spans = make_spans(c);
      Problem<float> all = draw(c);
      all.run(c, spans, "highway", 1);
      for (const std::int64_t b : {0, 3, 10}) {
        Case one = c;
        one.B = 1;
        Problem<float> alone = draw(one);
        for (std::size_t i = 0; i < std::size(kInputs); ++i) {
          const std::int64_t n = alone.inputs[i].numel();
          const std::int64_t from = all.inputs[i].numel() == n ? 0 : b * n;  // R and b have no rows
          std::copy_n(all.inputs[i].data<float>() + from, n, alone.inputs[i].data<float>());
        }
        alone.run(one, Spans({}, 1, T), "highway", 1);
        for (std::size_t r = 0; r < 5; ++r) {
          EXPECT_TRUE(same_bits(alone.results[r], all.results[r].rows(b, 1)))
              << kNames[r] << " of row " << b << " " << c.text();
        }
      }
    }
  }
}

TEST(SlstmCoreCpu, TheGatesOfXMayLieOutermost) {
  for (const std::int64_t D : {16, 20, 64}) {
    Case c{5, 9, 3, D, true, D != 16, true};
    const Spans spans = make_spans(c);
    Problem<float> plain = draw(c), moved = draw(c);
    const auto move = [&](const Tensor& from, const Tensor& to) {  // (B,T,H,4,D) to (B,T,4,H,D)
      for (std::int64_t i = 0; i < c.B * c.T * c.H * 4; ++i) {
        const std::int64_t bt = i / (4 * c.H), h = i / 4 % c.H, gate = i % 4;
        std::copy_n(from.data<float>() + i * D, D,
                    to.data<float>() + ((bt * 4 + gate) * c.H + h) * D);
      }
    };
    move(plain.inputs[0], moved.inputs[0]);
    plain.run(c, spans, "highway", 1);
    c.gates_first = true;
    moved.run(c, spans, "highway", 1);
    const Tensor dx = nan_tensor(plain.results[5].shape());
    move(plain.results[5], dx);
    plain.results[5] = dx;
    for (std::size_t r = 0; r < plain.results.size(); ++r) {
      EXPECT_TRUE(same_bits(plain.results[r], moved.results[r])) << kNames[r] << " of " << c.text();
    }
  }
}

TEST(SlstmCoreCpu, GivesTheSameBitsOnAnyNumberOfThreads) {
  for (const bool with_spans : {false, true}) {
    const Case c{13, 60, 3, 24, true, with_spans, true};
    const Spans spans = make_spans(c);
    Problem<float> one = draw(c), three = draw(c);
    one.run(c, spans, "highway", 1);
    three.run(c, spans, "highway", 3);
    for (std::size_t r = 0; r < one.results.size(); ++r) {
      EXPECT_TRUE(same_bits(one.results[r], three.results[r])) << kNames[r];
    }
  }
}

TEST(SlstmCoreCpu, AgreesOnEveryInstructionSet) {
  for_each_instruction_set([] {
    for (const std::int64_t D : {16, 20}) {
      for (const std::int64_t B : {1, 2, 8}) compare({B, 19, 2, D, true, true, true});
    }
  });
}

TEST(SlstmCoreCpu, ANanReachesItsRowOnly) {
  const Case c{8, 10, 1, 16};
  const Spans spans = make_spans(c);
  for (std::int64_t gate = 0; gate < 4; ++gate) {
    Problem<float> p = draw(c);
    p.inputs[0].data<float>()[((2 * c.T + 4) * 4 + gate) * c.D + 5] = NAN;
    p.run(c, spans, "highway", 1);
    for (std::int64_t b = 0; b < c.B; ++b) {
      const float* last = p.results[0].data<float>() + (b * c.T + c.T - 1) * c.D;
      EXPECT_EQ(std::any_of(last, last + c.D, [](float h) { return h != h; }), b == 2) << gate;
    }
  }
}

TEST(SlstmRowTiles, LongestRowsFirstAndATileOnlyAsLargeAsLeavesTasks) {
  const std::vector<std::int64_t> starts = {0, 3, 12}, valid = {5, 0, 7};
  const auto tiles =
      slstm_row_tiles(Spans({.document_starts = starts, .valid_lengths = valid}, 3, 7), 4);
  ASSERT_EQ(tiles.size(), 1U);
  const RowTile& t = tiles[0];
  EXPECT_EQ(t.row[0], 2);
  EXPECT_EQ(t.row[1], 0);
  EXPECT_EQ(t.row[2], 1);
  EXPECT_EQ(t.tokens(), 12);
  ASSERT_EQ(t.stretches.size(), 3U);  // a document of row 0 starts at 3 and the row ends at 5
  EXPECT_EQ(t.stretches[1].begin, 3);
  EXPECT_TRUE(t.stretches[0].reset[1]);
  EXPECT_TRUE(t.stretches[1].reset[1]);
  EXPECT_FALSE(t.stretches[1].reset[0]);
  EXPECT_EQ(t.stretches[2].active, 1);
  EXPECT_EQ(slstm_row_tiles(Spans({}, 32, 4), 4).size(), 4U);
  EXPECT_EQ(slstm_row_tiles(Spans({}, 9, 4), 4).size(), 2U);
  EXPECT_EQ(slstm_row_tiles(Spans({}, 4, 4), 1).size(), 4U);
}

}  // namespace
}  // namespace subquad
