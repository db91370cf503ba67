#include "subquad/backend/dense.h"

#include <gtest/gtest.h>

#include "subquad/autograd/ops.h"
#include "subquad/model/engine.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

// The blocks of a block-diagonal layer, or with one block a plain layer.
struct Layer {
  Tensor x, w, b, y, dy, dx, dw, db;  // x (N,H*ins)  w (H,outs,ins)  b (H*outs)
  std::vector<LinearPart<float>> forward;
  std::vector<LinearGradient<float>> backward;

  Layer(const Tensor& x_in, const Tensor& w_in, const Tensor& b_in, const Tensor& dy_in)
      : x(x_in), w(w_in), b(b_in), dy(dy_in) {
    const std::int64_t heads = w.shape()[0], outs = w.shape()[1], ins = w.shape()[2];
    y = nan_tensor(dy.shape());
    dx = nan_tensor(x.shape());
    dw = w.clone();
    db = b.clone();
    const auto columns = [](const Tensor& t, std::int64_t first, std::int64_t count) {
      View<float, 2> v = t.view<float, 2>();
      v.data += first;
      v.dims[1] = count;
      return v;
    };
    for (std::int64_t h = 0; h < heads; ++h) {
      const auto matrix = [&](const Tensor& t) { return t.slice(h * outs * ins, {outs, ins}); };
      const auto vector = [&](const Tensor& t) { return t.slice(h * outs, {outs}); };
      forward.push_back({columns(x, h * ins, ins), matrix(w).view<const float, 2>(),
                         vector(b).view<const float, 1>(), columns(y, h * outs, outs)});
      backward.push_back({columns(x, h * ins, ins), matrix(w).view<const float, 2>(),
                          columns(dy, h * outs, outs), columns(dx, h * ins, ins),
                          matrix(dw).view<float, 2>(), vector(db).view<float, 1>()});
    }
  }
  std::vector<Tensor> gradients() const { return {dx, dw, db}; }
};

// Rounded factors are the same everywhere, so bf16 products differ no more than f32 ones.
void compare_linear_implementations(Precision precision) {
  KernelTable table;
  add_dense_cpu(table);
  add_dense_reference(table);
  ThreadPool threads(2);
  for (auto [n, h, outs, ins] : {std::array<std::int64_t, 4>{1, 1, 1, 1},
                                 {3, 1, 17, 5},
                                 {130, 4, 6, 7},
                                 {2, 2, 3, 300},
                                 {97, 1, 41, 300},
                                 {65, 1, 300, 70},
                                 {2100, 1, 70, 33}}) {
    const Tensor x = random_tensor({n, h * ins}, 1), w = random_tensor({h, outs, ins}, 2),
                 b = random_tensor({h * outs}, 3), dy = random_tensor({n, h * outs}, 4);
    std::vector<Tensor> y;
    std::vector<std::string_view> names, backward_names;
    for (const auto& impl : table.all<LinearForward<float>>()) {
      Layer layer(x, w, b, dy);
      const LinearForward<float> args{layer.forward, true, precision};
      if (impl.accepts && !impl.accepts(args)) continue;
      impl.run(args, threads);
      names.push_back(impl.name);
      y.push_back(layer.y);
    }
    std::vector<std::vector<Tensor>> gradients;
    for (const auto& impl : table.all<LinearBackward<float>>()) {
      Layer layer(x, w, b, dy);
      const LinearBackward<float> args{layer.backward, precision};
      if (impl.accepts && !impl.accepts(args)) continue;
      impl.run(args, threads);
      backward_names.push_back(impl.name);
      gradients.push_back(layer.gradients());
    }
    for (std::size_t i = 0; i + 1 < y.size(); ++i)
      EXPECT_LE(deviation(y[i], y.back()), 2e-6) << names[i];
    for (std::size_t i = 0; i + 1 < gradients.size(); ++i) {
      for (std::size_t j = 0; j < 3; ++j)
        EXPECT_LE(deviation(gradients[i][j], gradients.back()[j]), 5e-6)
            << backward_names[i] << ", dx, dw or db: " << j;
    }
  }
}

TEST(Dense, EveryLinearImplementationEqualsTheReference) {
  compare_linear_implementations(Precision::f32);
  compare_linear_implementations(Precision::bf16);
}

TEST(Dense, AgreesOnEveryInstructionSet) {
  for_each_instruction_set([] {
    compare_linear_implementations(Precision::f32);
    compare_linear_implementations(Precision::bf16);
  });
}

// Parts that read the first columns of one x, all of them unless it says otherwise.
struct SharedPart {
  std::int64_t outs, ins;
};

// Outputs of all parts, dx, and their weight and bias gradients. With add_all every part adds to
// what dx holds, else the first writes it.
template <class T>
std::vector<Tensor> run_shared(const std::vector<SharedPart>& parts, std::int64_t rows,
                               std::int64_t columns, bool add_all, bool reference, int threads) {
  KernelTable table;
  add_dense_cpu(table);
  add_dense_reference(table);
  table.use_reference_only(reference);
  ThreadPool pool(threads);
  const auto draw = [](const Shape& shape, std::uint64_t stream) {
    const Tensor t = random_tensor(shape, stream);
    return dtype_of<T>() == DType::f64 ? to_double(t) : t;
  };
  const Tensor x = draw({rows, columns}, 1),
               dx = add_all ? draw({rows, columns}, 2) : nan_tensor({rows, columns}, dtype_of<T>());
  std::vector<Tensor> ys, dws, dbs, inputs;
  std::vector<LinearPart<T>> forward;
  std::vector<LinearGradient<T>> backward;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& [outs, ins] = parts[i];
    const auto first_columns = [ins = ins](const Tensor& t) {
      View<T, 2> v = t.view<T, 2>();
      v.dims[1] = ins;
      return v;
    };
    const Tensor w = inputs.emplace_back(draw({outs, ins}, 10 + i)),
                 b = inputs.emplace_back(draw({outs}, 20 + i)),
                 dy = inputs.emplace_back(draw({rows, outs}, 30 + i));
    ys.push_back(nan_tensor({rows, outs}, dtype_of<T>()));
    dws.push_back(draw({outs, ins}, 40 + i));
    dbs.push_back(draw({outs}, 50 + i));
    forward.push_back(
        {first_columns(x), w.view<const T, 2>(), b.view<const T, 1>(), ys.back().view<T, 2>()});
    backward.push_back({first_columns(x), w.view<const T, 2>(), dy.view<const T, 2>(),
                        first_columns(dx), dws.back().view<T, 2>(), dbs.back().view<T, 1>(),
                        add_all || i > 0});
  }
  table.run(LinearForward<T>{forward}, pool);
  table.run(LinearBackward<T>{backward}, pool);
  std::vector<Tensor> results = ys;
  results.push_back(dx);
  results.insert(results.end(), dws.begin(), dws.end());
  results.insert(results.end(), dbs.begin(), dbs.end());
  return results;
}

// Against the reference in f64, in every instruction set, with the same bits on 1 and 3 threads.
void compare_shared(const std::vector<SharedPart>& parts, std::int64_t rows, std::int64_t columns,
                    bool add_all) {
  const auto truth = run_shared<double>(parts, rows, columns, add_all, true, 1);
  for_each_instruction_set([&] {
    const auto one = run_shared<float>(parts, rows, columns, add_all, false, 1),
               three = run_shared<float>(parts, rows, columns, add_all, false, 3);
    for (std::size_t i = 0; i < truth.size(); ++i) {
      EXPECT_LE(deviation(one[i], truth[i]), 5e-6) << "result " << i << " of K " << columns;
      EXPECT_TRUE(same_bits(one[i], three[i])) << "result " << i << " of K " << columns;
    }
  });
}

// The weight gradient is one product of 337 rows, split over tasks in the middle of parts.
TEST(Dense, PartsThatShareTheirInputEqualTheReference) {
  for (const std::int64_t K : {70, 300}) {
    compare_shared({{200, K}, {0, K}, {130, K}, {7, K}}, 2100, K, false);
    compare_shared({{200, K}, {0, K}, {130, K}, {7, K}}, 100, K, true);
    compare_shared({{0, K}, {130, K}, {200, K}}, 100, K, false);  // nothing, but dx is written
  }
}

// The same first element, but not the same matrix.
TEST(Dense, PartsOfOneBufferMayReadDifferentlyManyColumns) {
  compare_shared({{40, 90}, {50, 33}, {60, 90}}, 500, 90, false);
  compare_shared({{50, 33}, {40, 90}}, 500, 90, true);
  compare_shared({{200, 300}, {130, 70}}, 700, 300, true);
}

// Outputs and gradients of a linear layer on this many threads.
std::vector<Tensor> layer(int threads, const Tensor& x, const Tensor& w, bool single_position) {
  KernelTable table;
  add_dense_cpu(table);
  ThreadPool pool(threads);
  const std::int64_t n = x.shape()[0], outs = w.shape()[1];
  Layer l(x, w, Tensor::zeros({outs}, DType::f32), random_tensor({n, outs}, 5));
  table.run(LinearForward<float>{l.forward, single_position}, pool);
  table.run(LinearBackward<float>{l.backward}, pool);
  return {l.y, l.dx, l.dw, l.db};
}

TEST(Dense, SameBitsForAnyThreadCount) {
  const Tensor x = random_tensor({3000, 64}, 1), w = random_tensor({1, 192, 64}, 2);
  for (const bool single : {false, true}) {
    const auto one = layer(1, x, w, single);
    for (int threads : {2, 3}) {
      const auto many = layer(threads, x, w, single);
      for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(same_bits(one[i], many[i])) << i;
    }
  }
}

TEST(Dense, ARowHasTheSameBitsInAnyBatch) {
  const Tensor x = random_tensor({200, 300}, 1), w = random_tensor({1, 70, 300}, 2);
  for (const bool single : {false, true}) {
    const Tensor all = layer(1, x, w, single)[0];
    for (const auto& [first, count] :
         {std::pair<std::int64_t, std::int64_t>{0, 1}, {199, 1}, {50, 3}, {97, 103}, {1, 8}}) {
      EXPECT_TRUE(same_bits(layer(1, x.rows(first, count).clone(), w, single)[0],
                            all.rows(first, count).clone()))
          << first << " " << count;
    }
  }
}

// Loss and gradients of the head in bf16, the fast kernels against the reference.
TEST(Dense, TheHeadRoundsForwardAndBackward) {
  ParameterPlan plan;
  const ParamId w = plan.declare("head", {50, 40}, Init::normal(0.3), true);
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < 70; ++i) ids.push_back(i % 51 - 1);
  std::vector<std::vector<Tensor>> results;
  for (const auto& [precision, reference] :
       {std::pair{Precision::bf16, true}, {Precision::bf16, false}, {Precision::f32, false}}) {
    Engine engine(1, precision);
    engine.kernels.use_reference_only(reference);
    ParameterStore store(plan, DType::f32, 1);
    store.zero_grads();
    Tape tape;
    Context cx = engine.context(store, &tape);
    const Var x = tape.leaf(random_tensor({70, 40}, 1));
    const Var loss = linear_cross_entropy(cx, x, w, {}, Tensor::from<std::int32_t>({70}, ids), {});
    tape.backward(cx, loss);
    results.push_back({loss.value, tape.grad(x), store.grad(w)});
  }
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LE(deviation(results[1][i], results[0][i]), 1e-5) << i;
    if (i > 0) EXPECT_GT(deviation(results[2][i], results[0][i]), 1e-4) << i;
  }
}

TEST(Dense, WrongShapesAndIdsTeach) {
  KernelTable table;
  add_dense_reference(table);
  ThreadPool threads;
  StoragePool storage;
  ParameterPlan plan;
  const ParamId w = plan.declare("blocks.0.w", {4, 3}, Init::normal(1), true);
  ParameterStore store(plan, DType::f32, 0);
  Context cx{.kernels = table, .params = store, .threads = threads, .storage = storage};
  try {
    linear(cx, {random_tensor({2, 5}, 1)}, w);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("blocks.0.w"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("(2, 5)"), std::string::npos);
  }
  const std::vector<std::int32_t> ids = {4};
  EXPECT_THROW(embedding(cx, Tensor::from<std::int32_t>({1, 1}, ids), w), Error);
  EXPECT_THROW(linear_cross_entropy(cx, {random_tensor({1, 3}, 1)}, w, {},
                                    Tensor::from<std::int32_t>({1}, ids), {}),
               Error);
}

}  // namespace
}  // namespace subquad
