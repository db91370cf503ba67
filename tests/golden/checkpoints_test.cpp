// Models as they are published (a folder of configuration and weights), run on our engine, with
// logits, greedy text, states and gradients computed by their own packages in f64. A case is a
// folder of `checkpoints`; expected.safetensors holds the results. Bounds in f32: logits 5e-5,
// states 1e-5 of the largest, gradients 1e-4, loss 2e-6; in f64 1e-6, to which the files are rounded.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "subquad/model/engine.h"
#include "subquad/pretrained/pretrained.h"
#include "tests/golden/golden.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> cases() {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(golden_folder("checkpoints")))
    if (entry.is_directory()) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

Tensor ids_of(const Safetensors& file, const std::string& name) {
  const Tensor stored = file.read(name);
  const Tensor ids(stored.shape(), DType::i32);
  std::transform(stored.host<std::int64_t>().begin(), stored.host<std::int64_t>().end(),
                 ids.data<std::int32_t>(),
                 [](std::int64_t id) { return static_cast<std::int32_t>(id); });
  return ids;
}

// Columns [first, first + count) of ids (B,T).
Tensor columns(const Tensor& ids, std::int64_t first, std::int64_t count) {
  const std::int64_t B = ids.shape()[0], T = ids.shape()[1];
  const Tensor out({B, count}, DType::i32);
  for (std::int64_t b = 0; b < B; ++b)
    std::copy_n(ids.data<std::int32_t>() + b * T + first, count,
                out.data<std::int32_t>() + b * count);
  return out;
}

double at(const Tensor& t, std::int64_t i) {
  return t.dtype() == DType::f64 ? t.data<double>()[i] : static_cast<double>(t.data<float>()[i]);
}

struct Opened {
  std::string name;
  std::unique_ptr<Pretrained> model;
  Safetensors expected;
  ParameterStore store;
  Engine engine;

  Opened(const std::string& folder, DType dtype)
      : name(fs::path(folder).filename()),
        model(open_pretrained(folder)),
        expected(folder + "/expected.safetensors"),
        store(model->plan, dtype, 0),
        engine(2) {
    engine.kernels.use_reference_only(dtype == DType::f64);
    model->load(store);
  }
  const Model& net() const { return *model->model; }
  Tensor want(const std::string& name) const { return expected.read_as(name, DType::f64); }
  double bound(double in_f32) const { return store.dtype() == DType::f64 ? 1e-6 : in_f32; }
  ModelState fresh(std::int64_t batch) const { return net().new_state(batch, store.dtype()); }
  Tensor run(const Tensor& ids, const Segments& segments = {}, ModelState* state = nullptr) {
    Context cx = engine.context(store);
    return net().logits(cx, ids, segments, state).value;
  }
};

// Runs check(case) for every folder, in f32 with the fast kernels and in f64 with the references.
template <class Check>
void for_each_case(Check&& check) {
  int seen = 0;
  for (const std::string& folder : cases()) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      Opened opened(folder, dtype);
      SCOPED_TRACE(opened.name + " in " + std::string(name_of(dtype)));
      check(opened);
    }
    ++seen;
  }
  EXPECT_GE(seen, 18) << "cases in " << golden_folder("checkpoints");
}

// Row `b`, position `t` of logits (B,T,V) against another such row.
double difference(const Tensor& got, std::int64_t got_row, const Tensor& want,
                  std::int64_t want_row) {
  const std::int64_t V = want.shape()[-1];
  double worst = 0;
  for (std::int64_t i = 0; i < V; ++i) {
    const double d = std::abs(at(got, got_row * V + i) - at(want, want_row * V + i));
    if (!(d <= worst)) worst = d;  // a NaN stays
    if (std::isnan(d)) return d;
  }
  return worst;
}

TEST(GoldenCheckpoints, LogitsOfAWholeSequence) {
  for_each_case([](Opened& c) {
    const Tensor want = c.want("logits_exact"), got = c.run(ids_of(c.expected, "input_ids"));
    ASSERT_EQ(got.shape(), want.shape());
    double worst = 0;
    for (std::int64_t row = 0; row < want.shape().rows(); ++row) {
      const double d = difference(got, row, want, row);
      ASSERT_LE(d, c.bound(5e-5)) << "row " << row;
      worst = std::max(worst, d);
    }
    ::testing::Test::RecordProperty(c.name + "_" + std::string(name_of(c.store.dtype())),
                                    std::to_string(worst * 1e9) + "e-9");
    if (!c.expected.contains("long.input_ids")) return;
    const Tensor positions = c.expected.read("long.positions"), far = c.want("long.logits_exact"),
                 all = c.run(ids_of(c.expected, "long.input_ids"));
    for (std::int64_t i = 0; i < positions.numel(); ++i) {
      const std::int64_t t = positions.data<std::int64_t>()[i];
      EXPECT_LE(difference(all, t, far, i), c.bound(5e-5)) << "position " << t << " of 150";
    }
  });
}

TEST(GoldenCheckpoints, LogitsOnePositionAtATime) {
  for_each_case([](Opened& c) {
    const Tensor ids = ids_of(c.expected, "input_ids"), want = c.want("logits_exact");
    const std::int64_t B = ids.shape()[0], T = ids.shape()[1];
    for (const std::int64_t prefill : {std::int64_t{1}, std::int64_t{19}}) {
      ModelState state = c.fresh(B);
      c.run(columns(ids, 0, prefill), {}, &state);
      for (std::int64_t t = prefill; t < T; ++t) {
        const Tensor got = c.run(columns(ids, t, 1), {}, &state);
        for (std::int64_t b = 0; b < B; ++b)
          ASSERT_LE(difference(got, b, want, b * T + t), c.bound(5e-5))
              << "row " << b << " position " << t << " after " << prefill;
      }
    }
  });
}

TEST(GoldenCheckpoints, GreedyTextTokenForToken) {
  for_each_case([](Opened& c) {
    const Tensor ids = ids_of(c.expected, "input_ids"), want = ids_of(c.expected, "greedy");
    const std::int64_t B = ids.shape()[0], steps = want.shape()[1];
    ModelState state = c.fresh(B);
    Tensor logits = c.run(ids, {}, &state);
    const std::int64_t V = logits.shape()[2];
    for (std::int64_t step = 0; step < steps; ++step) {
      const std::int64_t T = logits.shape()[1];
      const Tensor next({B, 1}, DType::i32);
      for (std::int64_t b = 0; b < B; ++b) {
        const std::int64_t row = (b * T + T - 1) * V;
        std::int64_t best = 0;
        for (std::int64_t i = 1; i < V; ++i)
          if (at(logits, row + i) > at(logits, row + best)) best = i;
        next.data<std::int32_t>()[b] = static_cast<std::int32_t>(best);
        ASSERT_EQ(best, want.data<std::int32_t>()[b * steps + step])
            << "row " << b << " step " << step;
      }
      logits = c.run(next, {}, &state);
    }
  });
}

// These logits were computed in f32, so the bound is the same in f64.
TEST(GoldenCheckpoints, PaddedRowsGiveWhatTheyGiveAlone) {
  for_each_case([](Opened& c) {
    if (!c.expected.contains("pad.input_ids")) return;
    const Tensor stored = ids_of(c.expected, "pad.input_ids"),
                 mask = c.expected.read("pad.attention_mask"), want = c.want("pad.logits");
    const std::int64_t B = stored.shape()[0], T = stored.shape()[1];
    // Our rows are padded on the right: what is padded on the left is moved.
    const Tensor ids = Tensor::zeros({B, T}, DType::i32);
    std::vector<std::int64_t> first, valid;
    for (std::int64_t b = 0; b < B; ++b) {
      const std::int64_t* m = mask.data<std::int64_t>() + b * T;
      first.push_back(std::find(m, m + T, 1) - m);
      valid.push_back(std::count(m, m + T, 1));
      std::copy_n(stored.data<std::int32_t>() + b * T + first.back(), valid.back(),
                  ids.data<std::int32_t>() + b * T);
    }
    const Tensor got = c.run(ids, {.document_starts = {}, .valid_lengths = valid});
    for (std::int64_t b = 0; b < B; ++b) {
      const auto i = static_cast<std::size_t>(b);
      for (std::int64_t t = 0; t < valid[i]; ++t)
        EXPECT_LE(difference(got, b * T + t, want, b * T + first[i] + t), 5e-5)
            << "row " << b << " position " << t;
    }
  });
}

// A published state tensor as indices into ours: field, our element of each of its elements (-1: it
// has none), and a factor that ours is multiplied by.
struct StateView {
  std::string field;
  std::function<std::int64_t(std::span<const std::int64_t>)> element;
  double factor = 1;
};

// Our conv states hold the last K-1 inputs, theirs the last K.
std::int64_t conv_element(const Tensor& ours, std::int64_t b, std::int64_t column,
                          std::int64_t channel) {
  const std::int64_t K1 = ours.shape()[1], C = ours.shape()[2];
  return column == 0 ? -1 : (b * K1 + column - 1) * C + channel;
}

StateView view_of(const State& s, const std::string& kind, const std::string& name,
                  const Shape& shape) {
  using Index = std::span<const std::int64_t>;
  if (kind == "latent_attention") {  // (B,1,T,D), latent and key; ours (B,capacity,1,latent | key)
    const Shape ours = s["latent"].shape();
    const std::int64_t first = name == "k" ? 0 : ours[3] - shape[3];
    return {"latent",
            [ours, first](Index i) { return (i[0] * ours[1] + i[2]) * ours[3] + first + i[3]; }};
  }
  if (name == "k" || name == "v") {  // (B,H,T,D); ours (B,capacity,H,D)
    const Shape ours = s[name].shape();
    return {name, [ours](Index i) {
              return ((i[0] * ours[1] + i[2]) * ours[2] + i[1]) * ours[3] + i[3];
            }};
  }
  if (name == "recurrent" && kind == "mamba2") {  // (B,H,P,N); ours (B,H,N,P)
    const Shape ours = s["S"].shape();
    return {"S", [ours](Index i) {
              return ((i[0] * ours[1] + i[1]) * ours[2] + i[3]) * ours[3] + i[2];
            }};
  }
  const bool time_first = name == "conv" && (kind == "mlstm_block" || kind == "slstm");
  if (name.starts_with("conv")) {  // (B,C,K), or (B,K,C) of the NeurIPS package
    const Tensor ours = s["conv"].value;
    const std::int64_t keys = shape[1];
    const std::int64_t first = name == "conv_k"   ? keys
                               : name == "conv_v" ? ours.shape()[2] - keys
                                                  : 0;
    return {"conv", [ours, first, time_first](Index i) {
              return time_first ? conv_element(ours, i[0], i[1], i[2])
                                : conv_element(ours, i[0], i[2], first + i[1]);
            }};
  }
  const auto in_order = [shape](Index i) {
    std::int64_t e = 0;
    for (int a = 0; a < shape.rank; ++a) e = e * shape[a] + i[static_cast<std::size_t>(a)];
    return e;
  };
  // The NeurIPS package keeps its keys divided by the root of their size.
  const double factor =
      kind == "mlstm_block" ? 1 / std::sqrt(static_cast<double>(s["S"].shape()[2])) : 1;
  if (name == "recurrent") return {"S", in_order};
  if (name == "C") return {"S", in_order, factor};
  if (name == "n") return {"n", in_order, factor};
  return {name, in_order};
}

// Stored as the packages computed them, in f32: the bound is the same in f64.
void compare_state(const State& s, const std::string& result, const StateView& view,
                   const Tensor& want) {
  const Tensor ours = s[view.field].value;
  double largest = 1, worst = 0;
  std::vector<std::int64_t> index(static_cast<std::size_t>(want.shape().rank), 0);
  for (std::int64_t e = 0; e < want.numel(); ++e) {
    largest = std::max(largest, std::abs(want.data<double>()[e]));
    if (const std::int64_t at_ours = view.element(index); at_ours >= 0) {
      const double d = std::abs(view.factor * at(ours, at_ours) - want.data<double>()[e]);
      ASSERT_FALSE(std::isnan(d)) << result << " element " << e;
      worst = std::max(worst, d);
    }
    for (int a = want.shape().rank - 1; a >= 0; --a) {
      if (++index[static_cast<std::size_t>(a)] < want.shape()[a]) break;
      index[static_cast<std::size_t>(a)] = 0;
    }
  }
  EXPECT_LE(worst, 1e-5 * largest) << result;
}

TEST(GoldenCheckpoints, StatesAfterTheSequence) {
  int compared = 0;
  for_each_case([&](Opened& c) {
    const Tensor ids = ids_of(c.expected, "input_ids");
    ModelState state = c.fresh(ids.shape()[0]);
    c.run(ids, {}, &state);
    for (const auto& [result, entry] : c.expected.entries()) {
      if (!result.starts_with("state.")) continue;
      const auto dot = result.find('.', 6);
      const auto layer = static_cast<std::size_t>(std::stoll(result.substr(6, dot - 6)));
      const std::string name = result.substr(dot + 1), kind = c.net().config().layers.at(layer);
      const State& s = state.at(layer);
      const Tensor want = c.want(result);
      ++compared;
      if (name != "slstm") {
        compare_state(s, result, view_of(s, kind, name, want.shape()), want);
        continue;
      }
      std::int64_t part = 0;  // (4,B,D): h, c, n, m
      for (const char* field : {"h", "c", "n", "m"}) {
        const Tensor one = want.rows(part++, 1);
        compare_state(s, result + " " + field, view_of(s, kind, field, one.shape()), one);
      }
    }
  });
  EXPECT_GT(compared, 100);
}

// The next id of every position, -1 behind the last.
Tensor next_ids(const Tensor& ids) {
  const Tensor targets(ids.shape(), DType::i32);
  const std::int64_t B = ids.shape()[0], T = ids.shape()[1];
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t t = 0; t < T; ++t)
      targets.data<std::int32_t>()[b * T + t] =
          t + 1 < T ? ids.data<std::int32_t>()[b * T + t + 1] : -1;
  }
  return targets;
}

bool has_gradients(const Safetensors& expected) {
  const auto& all = expected.entries();
  return std::any_of(all.begin(), all.end(),
                     [](const auto& e) { return e.first.starts_with("grad."); });
}

// Where no gradients were published: those of the fast kernels against the references in f64, which
// equal finite differences.
TEST(GoldenCheckpoints, GradientsInF32AreThoseOfTheReference) {
  int compared = 0;
  for (const std::string& folder : cases()) {
    SCOPED_TRACE(folder);
    std::vector<Tensor> gradients;
    for (const DType dtype : {DType::f32, DType::f64}) {
      Opened c(folder, dtype);
      if (has_gradients(c.expected)) break;
      const Tensor ids = ids_of(c.expected, "input_ids");
      Tape tape;
      Context cx = c.engine.context(c.store, &tape);
      tape.backward(cx, c.net().loss(cx, ids, next_ids(ids), {}));
      std::int32_t index = 0;
      for (std::size_t i = 0; i < c.model->plan.all().size(); ++i)
        gradients.push_back(c.store.grad({index++}).clone());
    }
    const std::size_t count = gradients.size() / 2;
    double largest = 0;
    for (std::size_t i = 0; i < count; ++i) {
      for (const double x : gradients[count + i].host<double>())
        largest = std::max(largest, std::abs(x));
    }
    for (std::size_t i = 0; i < count; ++i) {
      double scale = 1e-3 * largest, worst = 0;
      for (std::int64_t e = 0; e < gradients[i].numel(); ++e) {
        scale = std::max(scale, std::abs(at(gradients[count + i], e)));
        const double d = std::abs(at(gradients[i], e) - at(gradients[count + i], e));
        ASSERT_FALSE(std::isnan(d)) << "parameter " << i;
        worst = std::max(worst, d);
      }
      EXPECT_LE(worst, 1e-4 * scale) << "parameter " << i;
    }
    compared += count > 0;
  }
  EXPECT_GE(compared, 1);
}

TEST(GoldenCheckpoints, LossAndItsGradients) {
  int with_gradients = 0;
  for_each_case([&](Opened& c) {
    const Tensor ids = ids_of(c.expected, "input_ids"), targets = next_ids(ids);
    Tape tape;
    Context cx = c.engine.context(c.store, &tape);
    const Var loss = c.net().loss(cx, ids, targets, {});
    EXPECT_NEAR(at(loss.value, 0), at(c.want("loss"), 0), c.bound(2e-6));
    if (!has_gradients(c.expected)) return;
    ++with_gradients;
    tape.backward(cx, loss);
    const NamedTensors got =
        published_tensors(c.model->published.weights, c.model->plan, c.store.flat_grads());
    double largest = 0;
    for (const auto& [name, gradient] : got) {
      ASSERT_TRUE(c.expected.contains("grad." + name)) << name;
      const Tensor want = c.want("grad." + name);
      for (double x : want.host<double>()) largest = std::max(largest, std::abs(x));
    }
    for (const auto& [name, gradient] : got) {
      const Tensor want = c.want("grad." + name);
      ASSERT_EQ(gradient.shape(), want.shape()) << name;
      double scale = 1e-3 * largest, worst = 0;
      for (std::int64_t i = 0; i < want.numel(); ++i) {
        scale = std::max(scale, std::abs(at(want, i)));
        const double d = std::abs(at(gradient, i) - at(want, i));
        ASSERT_FALSE(std::isnan(d)) << name;
        worst = std::max(worst, d);
      }
      EXPECT_LE(worst, c.bound(1e-4) * scale) << name;
    }
  });
  EXPECT_GE(with_gradients, 12);  // six or more families, twice
}

}  // namespace
}  // namespace subquad
