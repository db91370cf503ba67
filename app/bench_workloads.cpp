#include "app/bench_workloads.h"

#include <cmath>

#include "subquad/base/rng.h"
#include "subquad/mixer/attention/core.h"
#include "subquad/mixer/common/linear_plan.h"
#include "subquad/mixer/slstm/core.h"
#include "subquad/model/engine.h"

namespace subquad {
namespace {

Tensor random(const Shape& shape, std::uint64_t stream, double sigma = 1, double mean = 0) {
  Tensor t(shape, DType::f32);
  const Rng rng{17, stream};
  std::uint64_t i = 0;
  for (float& x : t.host<float>()) x = static_cast<float>(mean + sigma * rng.normal(0, i++));
  return t;
}

Tensor fresh(const Shape& shape) { return Tensor::zeros(shape, DType::f32); }

float log_sigmoid(float x) { return std::min(x, 0.0f) - std::log1p(std::exp(-std::abs(x))); }

float softplus(float x) { return x - log_sigmoid(x); }

void normalize_rows(const Tensor& t, std::int64_t d) {
  const auto x = t.host<float>();
  for (std::size_t i = 0; i < x.size(); i += static_cast<std::size_t>(d)) {
    const auto row = x.subspan(i, static_cast<std::size_t>(d));
    float sum = 0;
    for (float v : row) sum += v * v;
    for (float& v : row) v /= std::sqrt(sum);
  }
}

// Tensors of one linear core, with the pre-activations that the peers' functions take.
struct LinearBuffers {
  explicit LinearBuffers(const BenchShape& s) : spans(Segments{}, s.B, s.T) {}
  Spans spans;
  Tensor q, k, v, gate_a, A;  // gate_a: forget pre-activation of mlstm, dt of ssd
  Tensor decay, write, o, d_o, dq, dk, dv, ddecay, dwrite, dgate;
  LinearCoreForward<float> forward;
  LinearCoreBackward<float> backward;
};

double linear_flop(const std::string& mixer, const LinearPlan& p, bool backward) {
  const double pairs = static_cast<double>(p.chunk) / 2, d = static_cast<double>(p.Dk);
  const double shared = 1 / static_cast<double>(p.group);
  double flop = 0;
  if (mixer == "gdn" || mixer == "kda") {
    flop = pairs * 8 * d + 6 * d * d;
    if (backward) flop += pairs * 26 * d + 18 * d * d;
  } else {
    flop = pairs * 2 * (shared + 1) * d + 4 * d * d;
    if (backward) flop += pairs * 2 * (3 * shared + 2) * d + 10 * d * d;
  }
  return flop * static_cast<double>(p.B * p.T * p.H);
}

// decay and write from the peers' gate inputs: part of the timed work, as it is on their side.
void make_gates(const std::string& mixer, const LinearBuffers& b) {
  const auto a = b.gate_a.host<float>();
  const auto decay = b.decay.host<float>();
  const auto write = b.write.host<float>();
  const auto A = b.A.host<float>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (mixer == "mlstm") decay[i] = log_sigmoid(a[i]);
    if (mixer == "ssd") {
      decay[i] = a[i] * A[i % A.size()];
      write[i] = a[i];
    }
  }
}

void gate_gradients(const std::string& mixer, const LinearBuffers& b) {
  const auto a = b.gate_a.host<float>();
  const auto ddecay = b.ddecay.host<float>();
  const auto dwrite = b.dwrite.host<float>();
  const auto dgate = b.dgate.host<float>();
  const auto A = b.A.host<float>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (mixer == "mlstm") dgate[i] = ddecay[i] / (1 + std::exp(a[i]));
    if (mixer == "ssd") dgate[i] = ddecay[i] * A[i % A.size()] + dwrite[i];
  }
}

std::shared_ptr<LinearBuffers> linear_buffers(const std::string& mixer, const BenchShape& s) {
  const std::int64_t key_heads = mixer == "ssd" ? 1 : s.H;
  const Shape keys{s.B, s.T, key_heads, s.D}, values{s.B, s.T, s.H, s.D}, gates{s.B, s.T, s.H, 1},
      decays{s.B, s.T, s.H, mixer == "kda" ? s.D : 1};
  auto b = std::make_shared<LinearBuffers>(s);
  b->q = random(keys, 1);
  b->k = random(keys, 2);
  b->v = random(values, 3);
  b->gate_a = random(decays, 4, 1, mixer == "ssd" ? -2 : 3);
  b->write = random(gates, 5);
  b->A = random(Shape{s.H}, 6);
  b->decay = fresh(decays);
  LinearCoreOptions options;
  options.scale = 1 / std::sqrt(static_cast<double>(s.D));
  if (mixer == "mlstm") {
    options.exponential_input = options.normalizer = true;
    options.eps = 1e-6;
  } else if (mixer == "ssd") {
    options.scale = 1;
    for (float& x : b->gate_a.host<float>()) x = softplus(x);
    for (float& x : b->A.host<float>()) x = -std::exp(std::min(std::max(x, -1.0f), 1.0f));
  } else {
    options.erase = true;
    normalize_rows(b->q, s.D);
    normalize_rows(b->k, s.D);
    const auto decay = b->decay.host<float>();
    for (std::size_t i = 0; i < decay.size(); ++i)
      decay[i] = log_sigmoid(b->gate_a.host<float>()[i]);
    for (float& x : b->write.host<float>()) x = 1 / (1 + std::exp(-x));
  }
  b->d_o = random(values, 7);
  for (Tensor* t : {&b->o, &b->dv}) *t = fresh(values);
  for (Tensor* t : {&b->dq, &b->dk}) *t = fresh(keys);
  for (Tensor* t : {&b->dwrite, &b->dgate}) *t = fresh(gates);
  b->ddecay = fresh(decays);
  auto& f = b->forward;
  f.q = b->q.view<const float, 4>();
  f.k = b->k.view<const float, 4>();
  f.v = b->v.view<const float, 4>();
  f.decay = b->decay.view<const float, 4>();
  f.write = b->write.view<const float, 4>();
  f.spans = &b->spans;
  f.options = options;
  f.o = b->o.view<float, 4>();
  auto& g = b->backward;
  g.f = f;
  g.d_o = b->d_o.view<const float, 4>();
  g.dq = b->dq.view<float, 4>();
  g.dk = b->dk.view<float, 4>();
  g.dv = b->dv.view<float, 4>();
  g.ddecay = b->ddecay.view<float, 4>();
  g.dwrite = b->dwrite.view<float, 4>();
  return b;
}

Workload linear_workload(const std::string& mixer, const BenchShape& shape, bool backward,
                         const std::shared_ptr<Engine>& engine) {
  const auto b = linear_buffers(mixer, shape);
  Workload w;
  w.variant = engine->kernels.select(b->forward).name;
  w.useful_flop = linear_flop(mixer, plan_linear_core(b->forward, backward), backward);
  w.run = [b, mixer, backward, engine] {
    make_gates(mixer, *b);
    engine->kernels.run(b->forward, engine->threads);
    if (!backward) return;
    engine->kernels.run(b->backward, engine->threads);
    gate_gradients(mixer, *b);
  };
  return w;
}

Workload slstm_workload(const BenchShape& s, bool backward, const std::shared_ptr<Engine>& engine) {
  struct Buffers {
    explicit Buffers(const BenchShape& s) : spans(Segments{}, s.B, s.T) {}
    Spans spans;
    Tensor x, R, b, h, saved, dh, dx, dR, db;
    SlstmForward<float> forward;
    SlstmBackward<float> backward;
  };
  const auto b = std::make_shared<Buffers>(s);
  const Shape x{s.B, s.T, s.H, 4, s.D}, h{s.B, s.T, s.H, s.D};
  b->x = random(x, 1);
  b->R = random(Shape{s.H, s.D, 4, s.D}, 2, 1 / std::sqrt(static_cast<double>(s.D)));
  b->b = fresh(Shape{s.H, 4, s.D});
  for (std::int64_t i = 0; i < s.H * 4 * s.D; ++i) {
    if (i / s.D % 4 == 1) b->b.data<float>()[i] = 3;  // forget gates start open
  }
  b->h = fresh(h);
  b->saved = fresh(Shape{s.B, s.T, s.H, 7, s.D});
  b->dh = random(h, 3);
  b->dx = fresh(x);
  b->dR = fresh(b->R.shape());
  b->db = fresh(b->b.shape());
  auto& f = b->forward;
  f.x = b->x.view<const float, 5>();
  f.R = b->R.view<const float, 4>();
  f.b = b->b.view<const float, 3>();
  f.spans = &b->spans;
  f.h = b->h.view<float, 4>();
  if (backward) f.saved = b->saved.view<float, 5>();
  auto& g = b->backward;
  g.f = f;
  g.dh = b->dh.view<const float, 4>();
  g.dx = b->dx.view<float, 5>();
  g.dR = b->dR.view<float, 4>();
  g.db = b->db.view<float, 3>();
  Workload w;
  w.variant = engine->kernels.select(f).name;
  w.useful_flop = static_cast<double>(s.B * s.T * s.H * s.D * s.D) * (backward ? 24 : 8);
  w.run = [b, backward, engine] {
    engine->kernels.run(b->forward, engine->threads);
    if (backward) engine->kernels.run(b->backward, engine->threads);
  };
  return w;
}

Workload attention_workload(const BenchShape& s, bool backward,
                            const std::shared_ptr<Engine>& engine) {
  struct Buffers {
    explicit Buffers(const BenchShape& s) : spans(Segments{}, s.B, s.T) {}
    Spans spans;
    Tensor q, k, v, o, lse, d_o, dq, dk, dv;
    AttentionForward<float> forward;
    AttentionBackward<float> backward;
  };
  const auto b = std::make_shared<Buffers>(s);
  const Shape x{s.B, s.T, s.H, s.D};
  b->q = random(x, 1);
  b->k = random(x, 2);
  b->v = random(x, 3);
  b->d_o = random(x, 4);
  for (Tensor* t : {&b->o, &b->dq, &b->dk, &b->dv}) *t = fresh(x);
  b->lse = fresh(Shape{s.B, s.T, s.H});
  auto& f = b->forward;
  f.q = b->q.view<const float, 4>();
  f.k = b->k.view<const float, 4>();
  f.v = b->v.view<const float, 4>();
  f.spans = &b->spans;
  f.scale = 1 / std::sqrt(static_cast<double>(s.D));
  f.o = b->o.view<float, 4>();
  f.lse = b->lse.view<float, 3>();
  auto& g = b->backward;
  g.f = f;
  g.d_o = b->d_o.view<const float, 4>();
  g.dq = b->dq.view<float, 4>();
  g.dk = b->dk.view<float, 4>();
  g.dv = b->dv.view<float, 4>();
  Workload w;
  w.variant = engine->kernels.select(f).name;
  w.useful_flop = static_cast<double>(s.B * s.T * s.H * s.T * s.D) * 2 * (backward ? 3.5 : 1);
  w.run = [b, backward, engine] {
    engine->kernels.run(b->forward, engine->threads);
    if (backward) engine->kernels.run(b->backward, engine->threads);
  };
  return w;
}

// One token through the recurrence; the state is updated where it lies.
Workload step_workload(const std::string& mixer, const BenchShape& shape,
                       const std::shared_ptr<Engine>& engine) {
  const auto b = linear_buffers(mixer, shape);
  const Shape states{shape.B, shape.H, shape.D, shape.D};
  const Tensor state = random(states, 8, 0.1);
  b->forward.S_initial = state.view<const float, 4>();
  b->forward.S_final = state.view<float, 4>();
  Workload w;
  w.variant = engine->kernels.select(b->forward).name;
  w.useful_flop = static_cast<double>(states.numel()) * (b->forward.options.erase ? 6 : 4);
  w.run = [b, state, mixer, engine] {
    make_gates(mixer, *b);
    engine->kernels.run(b->forward, engine->threads);
  };
  return w;
}

const std::vector<BenchShape>& step_shapes() {
  static const std::vector<BenchShape> shapes{
      {"b1h4d64", 1, 1, 4, 64}, {"b1h16d128", 1, 1, 16, 128}, {"b8h16d128", 8, 1, 16, 128}};
  return shapes;
}

struct CoreName {
  std::string mixer;
  bool backward;
  const BenchShape* shape;
  std::string text() const {
    return "core/" + mixer + (backward ? "/fwdbwd/" : "/fwd/") + shape->name;
  }
};

std::vector<CoreName> core_names() {
  std::vector<CoreName> names;
  for (const BenchShape& shape : bench_shapes()) {
    for (const char* mixer : {"mlstm", "slstm", "ssd", "gdn", "kda", "attention"}) {
      for (const bool backward : {false, true}) names.push_back({mixer, backward, &shape});
    }
  }
  return names;
}

}  // namespace

const std::vector<BenchShape>& bench_shapes() {
  static const std::vector<BenchShape> shapes{
      {"b8t512h4d64", 8, 512, 4, 64},   {"b32t128h4d16", 32, 128, 4, 16},
      {"b4t1024h8d64", 4, 1024, 8, 64}, {"b1t2048h4d128", 1, 2048, 4, 128},
      {"b2t512h2d256", 2, 512, 2, 256}, {"b1t16384h2d64", 1, 16384, 2, 64}};
  return shapes;
}

std::vector<std::string> core_bench_names() {
  std::vector<std::string> names;
  for (const CoreName& n : core_names()) names.push_back(n.text());
  for (const std::string mixer : {"gdn", "kda", "ssd"}) {
    for (const BenchShape& s : step_shapes()) names.push_back("step/" + mixer + "/" + s.name);
  }
  return names;
}

Workload core_workload(const std::string& name, int threads) {
  for (const std::string mixer : {"gdn", "kda", "ssd"}) {
    for (const BenchShape& s : step_shapes()) {
      if (name != "step/" + mixer + "/" + s.name) continue;
      const auto engine = std::make_shared<Engine>(threads);
      Workload w = step_workload(mixer, s, engine);
      w.tokens = s.B;
      w.engine = engine;
      return w;
    }
  }
  for (const CoreName& n : core_names()) {
    if (n.text() != name) continue;
    const auto engine = std::make_shared<Engine>(threads);
    Workload w = n.mixer == "slstm"       ? slstm_workload(*n.shape, n.backward, engine)
                 : n.mixer == "attention" ? attention_workload(*n.shape, n.backward, engine)
                                          : linear_workload(n.mixer, *n.shape, n.backward, engine);
    w.tokens = n.shape->B * n.shape->T;
    w.engine = engine;
    return w;
  }
  fail(ErrorCode::invalid_argument, "no workload is named \"", name, "\"");
}

}  // namespace subquad
