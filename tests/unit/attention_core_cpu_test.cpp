// The tiled attention against the literal softmax in f64: bands on the diagonal, windows, cached
// keys, packed documents, padding, grouped heads and odd head sizes.
#include <gtest/gtest.h>

#include <cmath>

#include "subquad/mixer/attention/core.h"
#include "subquad/mixer/attention/core_tiles.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

struct Case {
  std::int64_t B = 1, Tq = 1, past = 0, Hq = 1, Hk = 1, D = 16, Dv = 16, window = 0;
  bool spans = false;
  double amplitude = 1;

  std::string text() const {
    std::ostringstream s;
    s << "B" << B << " T" << Tq << " past " << past << " heads " << Hq << "/" << Hk << " D" << D
      << "/" << Dv << " window " << window << " spans " << spans << " amplitude " << amplitude;
    return s.str();
  }
};

constexpr const char* kNames[] = {"o", "lse", "dq", "dk", "dv"};

Spans make_spans(const Case& c) {
  std::vector<std::int64_t> starts, valid;
  for (std::int64_t b = 0; c.spans && b < c.B; ++b) {
    valid.push_back(std::max<std::int64_t>(c.Tq - b * 9, 0));
    for (std::int64_t t = b % 2 ? 0 : 3; t < valid.back(); t += 1 + (b * 5 + t * 7) % 83) {
      starts.push_back(b * c.Tq + t);
    }
  }
  return Spans({.document_starts = starts, .valid_lengths = valid}, c.B, c.Tq);
}

template <class T>
struct Problem {
  Tensor q, k, v, d_o;
  std::vector<Tensor> results;  // in the order of kNames
  std::int64_t macs = 0;        // of the forward

  void run(const Case& c, const Spans& spans, std::string_view implementation, int thread_count) {
    KernelTable table;
    add_attention_core_cpu(table);
    add_attention_core_reference(table);
    ThreadPool threads(thread_count);
    const auto nan = [](const Shape& shape) { return nan_tensor(shape, dtype_of<T>()); };
    results = {nan({c.B, c.Tq, c.Hq, c.Dv}), nan({c.B, c.Tq, c.Hq}), nan(q.shape()), nan(k.shape()),
               nan(v.shape())};
    AttentionForward<T> f;
    f.q = q.view<const T, 4>();
    f.k = k.view<const T, 4>();
    f.v = v.view<const T, 4>();
    f.spans = &spans;
    f.scale = 1 / std::sqrt(static_cast<double>(c.D));
    f.window = c.window;
    f.o = results[0].view<T, 4>();
    f.lse = results[1].view<T, 3>();
    const AttentionBackward<T> g{f, d_o.view<const T, 4>(), results[2].view<T, 4>(),
                                 results[3].view<T, 4>(), results[4].view<T, 4>()};
    for (const auto& impl : table.all<AttentionForward<T>>()) {
      if (impl.name == implementation) impl.run(f, threads);
    }
    macs = threads.macs();
    for (const auto& impl : table.all<AttentionBackward<T>>()) {
      if (impl.name == implementation) impl.run(g, threads);
    }
  }
};

Problem<float> draw(const Case& c) {
  const Rng rng{9, stream_id(c.text())};
  std::uint64_t step = 0;
  const auto fill = [&](const Shape& s, double sigma) {
    ++step;
    return filled(s, [&](std::uint64_t i) { return sigma * rng.normal(step, i); });
  };
  const std::int64_t Tk = c.past + c.Tq;
  Problem<float> p;
  p.q = fill({c.B, c.Tq, c.Hq, c.D}, c.amplitude);
  p.k = fill({c.B, Tk, c.Hk, c.D}, c.amplitude);
  p.v = fill({c.B, Tk, c.Hk, c.Dv}, 1);
  p.d_o = fill({c.B, c.Tq, c.Hq, c.Dv}, 1);
  return p;
}

Problem<double> to_double(const Problem<float>& p) {
  return {to_double(p.q), to_double(p.k), to_double(p.v), to_double(p.d_o), {}, 0};
}

void compare(const Case& c) {
  const Spans spans = make_spans(c);
  Problem<float> fast = draw(c);
  Problem<double> truth = to_double(fast);
  fast.run(c, spans, "tiles", 1);
  truth.run(c, spans, "reference", 1);
  for (std::size_t r = 0; r < fast.results.size(); ++r) {
    EXPECT_LE(deviation(fast.results[r], truth.results[r], 0.1), c.amplitude > 2 ? 1e-4 : 1e-5)
        << kNames[r] << " of " << c.text();
  }
}

TEST(AttentionCoreCpu, EqualsTheLiteralSoftmax) {
  for (const std::int64_t D : {1, 3, 8, 16, 20, 64}) {
    for (const std::int64_t T : {1, 2, 7, 16, 33, 64, 65, 131}) {
      compare({2, T, 0, 2, 2, D, D, 0, T % 2 != 0});
      compare({2, T, 5, 4, 2, D, 24 - D % 8, T % 3 * 11, T % 2 == 0});
    }
  }
}

// A token's step reads the cache in stretches of 512 keys and joins them.
TEST(AttentionCoreCpu, StepsOverLongCachesEqualTheLiteralSoftmax) {
  for (const std::int64_t past : {0, 62, 63, 64, 510, 511, 512, 1700}) {
    for (const std::int64_t window : {0, 3, 600}) {
      compare({3, 1, past, 4, 2, 20, 12, window, false});
      compare({3, 1, past, 2, 1, 64, 64, window, true});
    }
  }
}

TEST(AttentionCoreCpu, EqualsTheLiteralSoftmaxFull) {
  for (const std::int64_t T : {9, 40, 64, 100, 200}) {
    for (const std::int64_t window : {0, 1, 2, 8, 9, 63, 64, 70, 150}) {
      for (const std::int64_t past : {0, 1, 8, 67, 200}) {
        compare({2, T, past, 4, 2, 8, 16, window, window % 2 == 0 && past == 0});
        compare({1, T, past, 1, 1, 20, 8, window, past == 8});
      }
    }
  }
  for (const std::int64_t D : {64, 100, 128}) compare({1, 150, 3, 2, 1, D, D, 0, false});
}

// A hidden key must not decide the shift: its score lies far above all visible ones.
TEST(AttentionCoreCpu, LargeScoresStayExact) {
  for (const double amplitude : {3.0, 6.0}) compare({1, 90, 0, 1, 1, 16, 16, 0, false, amplitude});
  const Case c{1, 20, 0, 1, 1, 16, 16};
  Problem<float> p = draw(c);
  for (std::int64_t i = 0; i < 16; ++i)
    p.k.data<float>()[19 * 16 + i] = 200 * p.q.data<float>()[18 * 16 + i];
  Problem<double> truth = to_double(p);
  p.run(c, make_spans(c), "tiles", 1);
  truth.run(c, make_spans(c), "reference", 1);
  for (std::int64_t i = 0; i < 19 * 16; ++i) {
    EXPECT_NEAR(p.results[0].data<float>()[i], truth.results[0].data<double>()[i], 1e-5);
  }
}

// Scores of one visible key have no gradient: exactly none.
TEST(AttentionCoreCpu, DocumentsOfOneTokenPassTheirValue) {
  const std::vector<std::int64_t> starts = {0, 1, 2, 3};
  const Case c{1, 4, 0, 1, 1, 16, 24};
  Problem<float> p = draw(c);
  p.run(c, Spans({.document_starts = starts}, 1, 4), "tiles", 1);
  for (std::int64_t i = 0; i < p.v.numel(); ++i) {
    EXPECT_EQ(p.results[0].data<float>()[i], p.v.data<float>()[i]);
    EXPECT_NEAR(p.results[4].data<float>()[i], p.d_o.data<float>()[i], 2e-6);
  }
  for (const std::size_t r : {2, 3}) {
    for (const float d : p.results[r].host<float>()) EXPECT_EQ(d, 0);
  }
}

TEST(AttentionCoreCpu, ADecodedRowsBitsDoNotDependOnItsNeighbours) {
  const Case c{5, 1, 150, 4, 2, 16, 20}, one{1, 1, 150, 4, 2, 16, 20};
  Problem<float> all = draw(c);
  all.run(c, make_spans(c), "tiles", 2);
  for (const std::int64_t b : {0, 4}) {
    Problem<float> alone = draw(one);
    const std::pair<Tensor*, Tensor*> pairs[] = {
        {&all.q, &alone.q}, {&all.k, &alone.k}, {&all.v, &alone.v}, {&all.d_o, &alone.d_o}};
    for (const auto& [from, to] : pairs) {
      std::copy_n(from->data<float>() + b * to->numel(), to->numel(), to->data<float>());
    }
    alone.run(one, make_spans(one), "tiles", 1);
    EXPECT_TRUE(same_bits(alone.results[0], all.results[0].rows(b, 1)));
  }
}

TEST(AttentionCoreCpu, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Case c{3, 150, 10, 4, 2, 24, 16, 40, true};
  Problem<float> one = draw(c), three = draw(c);
  one.run(c, make_spans(c), "tiles", 1);
  three.run(c, make_spans(c), "tiles", 3);
  for (std::size_t r = 0; r < one.results.size(); ++r) {
    EXPECT_TRUE(same_bits(one.results[r], three.results[r])) << kNames[r];
  }
}

TEST(AttentionCoreCpu, AgreesAndCountsOnEveryInstructionSet) {
  for_each_instruction_set([] {
    for (const std::int64_t D : {4, 16, 40}) {
      for (const std::int64_t window : {0, 5, 30, 90}) {
        const Case c{1, 133, 0, 1, 1, D, D, window};
        compare(c);
        for (const std::int64_t T : {1, 3, 64, 65, 200}) {
          const Case fresh{2, T, 0, 1, 1, D, D, window};
          Problem<float> p = draw(fresh);
          p.run(fresh, make_spans(fresh), "tiles", 1);
          EXPECT_EQ(static_cast<double>(p.macs), 2 * attention_core_executed_macs(T, window, D))
              << fresh.text();
          const Case narrow{2, T, 0, 1, 1, D, D / 2, window};  // values
          Problem<float> n = draw(narrow);
          n.run(narrow, make_spans(narrow), "tiles", 1);
          EXPECT_EQ(static_cast<double>(n.macs),
                    2 * attention_core_executed_macs(T, window, D, D / 2))
              << narrow.text();
        }
      }
      compare({2, 70, 9, 2, 1, D, 12, 20, true});
    }
    for (const std::int64_t D : {1, 3, 5, 7, 9, 15, 17, 31, 33, 65}) {
      compare({1, 70, 3, 2, 1, D, D, 0, false});
      compare({2, 70, 0, 2, 2, D, 68 - D, 11, true});
      compare({2, 1, 70, 2, 2, D, 68 - D, 0, false});
    }
  });
}

// A window that reaches past the first key is none, whatever its size: no sum with it overflows.
TEST(AttentionCoreCpu, AnEndlessWindowIsNone) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  for (const auto& [T, past] : {std::pair<std::int64_t, std::int64_t>{1, 40}, {130, 0}, {70, 9}}) {
    Case c{2, T, past, 2, 1, 16, 16, 0, past == 0};
    const Problem<float> drawn = draw(c);
    Problem<float> none = drawn;
    none.run(c, make_spans(c), "tiles", 1);
    for (const std::int64_t window :
         {T + past, std::int64_t{1} << 31, std::int64_t{1} << 62, kMost - 64, kMost - 1, kMost}) {
      for (const char* implementation : {"tiles", "reference"}) {
        Problem<float> endless = drawn;
        c.window = window;
        endless.run(c, make_spans(c), implementation, 1);
        for (std::size_t r = 0; r < none.results.size(); ++r) {
          EXPECT_LE(deviation(endless.results[r], none.results[r], 0.1), 1e-5)
              << kNames[r] << " of " << implementation << ", " << c.text();
        }
      }
      if (past == 0 && window > T) {
        EXPECT_EQ(attention_core_executed_macs(T, window, 16),
                  attention_core_executed_macs(T, 0, 16));
        EXPECT_EQ(attention_core_macs(T, window, 16), attention_core_macs(T, 0, 16));
      }
    }
    c.window = 0;
  }
}

TEST(AttentionCoreCpu, ANanReachesTheOutputsThatSeeIt) {
  const Case c{1, 70, 0, 1, 1, 16, 16};
  for (Tensor Problem<float>::*of : {&Problem<float>::q, &Problem<float>::k, &Problem<float>::v}) {
    Problem<float> p = draw(c);
    (p.*of).data<float>()[20 * 16 + 3] = NAN;
    p.run(c, make_spans(c), "tiles", 1);
    const float* o = p.results[0].data<float>();
    EXPECT_TRUE(std::isnan(o[20 * 16 + 3]));
    EXPECT_FALSE(std::isnan(o[10 * 16 + 3]));
    if (of != &Problem<float>::q) EXPECT_TRUE(std::isnan(o[69 * 16 + 3]));
  }
}

}  // namespace
}  // namespace subquad
