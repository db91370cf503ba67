// Matching in state: the key and value sizes of the mixers' memories.
#include <algorithm>
#include <cmath>
#include <set>

#include "subquad/model/sizing_parts.h"

namespace subquad::sizing {
namespace {

constexpr double kTolerance = 0.05, kNear = 0.01;
constexpr std::int64_t kDepth = 1024, kLargestSize = 512;

const MixerEntry& entry_of(const std::string& kind) {
  const auto& all = all_mixers();
  return *std::find_if(all.begin(), all.end(), [&](const MixerEntry& e) { return e.kind == kind; });
}

StateSpec spec_of(const std::string& kind, const Json& options, const SizingRequest& r) {
  ParameterPlan plan;
  return make_mixer(kind, {.d_model = r.d_model, .heads = r.heads, .options = options}, plan)
      ->state_spec();
}

Json options_of(const Draft& d, const std::string& kind) {
  const Json* own = d.options.find(kind);
  return own ? *own : Json::object();
}

// The options that are free to be solved: a size that the plan sets stays.
MemoryOptions free_options(const Draft& d, const std::string& kind) {
  MemoryOptions free = entry_of(kind).memory;
  const Json options = options_of(d, kind);
  if (options.contains(free.key)) free.key.clear();
  if (options.contains(free.value)) free.value.clear();
  return free;
}

bool is_fixed(const Draft& d, const std::string& kind) {
  const MemoryOptions free = free_options(d, kind);
  return free.key.empty() && free.value.empty();
}

// One mixer's memory with given sizes per head. Absurd combinations are no candidates.
struct Candidate {
  Json options;
  std::int64_t key = 0, value = 0, bytes = 0;
};

class Solver {
 public:
  Solver(const Draft& d, const std::string& kind, const SizingRequest& r)
      : kind_(kind), r_(r), own_(options_of(d, kind)), free_(free_options(d, kind)) {
    const StateField S = spec_of(kind, own_, r).front();  // (heads, Dk, Dv)
    key_ = S.per_sequence[1];
    value_ = S.per_sequence[2];
  }

  // The memory nearest to `target` bytes; among those within 1 % the one whose proportions are
  // nearest to the published ones.
  Candidate nearest(double target) const {
    Candidate best;
    double best_off = 1e300, best_shape = 1e300;
    const auto consider = [&](const Candidate& c) {
      if (c.bytes == 0) return;
      const double off = std::abs(static_cast<double>(c.bytes) / target - 1);
      const double shape = std::abs(
          std::log(static_cast<double>(c.key * value_) / static_cast<double>(c.value * key_)));
      const bool better = off <= kNear ? best_off > kNear || shape < best_shape : off < best_off;
      if (!better) return;
      best = c;
      best_off = off;
      best_shape = shape;
    };
    const std::int64_t values = free_.value.empty() ? 1 : std::max(kLargestSize, 4 * value_);
    for (std::int64_t v = 1; v <= values; ++v) {
      const std::int64_t value = free_.value.empty() ? value_ : v;
      if (free_.key.empty()) {
        consider(with(key_, value));
        continue;
      }
      const Candidate one = with(1, value), two = with(2, value);
      if (one.bytes == 0 || two.bytes <= one.bytes) continue;
      const double exact = 1 + (target - static_cast<double>(one.bytes)) /
                                   static_cast<double>(two.bytes - one.bytes);
      const double key = std::clamp(std::round(exact), 1.0,
                                    16.0 * static_cast<double>(std::max(kLargestSize, key_)));
      consider(with(static_cast<std::int64_t>(key), value));
    }
    return best;
  }

 private:
  Candidate with(std::int64_t key, std::int64_t value) const {
    Candidate c{own_, key, value, 0};
    const auto set = [&](const std::string& name, std::int64_t size) {
      if (name.empty()) return;
      if (free_.of_width) {
        c.options[name] = static_cast<double>(size * r_.heads) / static_cast<double>(r_.d_model);
      } else {
        c.options[name] = size;
      }
    };
    set(free_.key, key);
    set(free_.value, value);
    try {
      c.bytes = subquad::state_bytes(spec_of(kind_, c.options, r_), kDepth);
    } catch (const Error&) {  // not a size this mixer takes
    }
    return c;
  }

  std::string kind_;
  const SizingRequest& r_;
  Json own_;
  MemoryOptions free_;
  std::int64_t key_ = 0, value_ = 0;
};

struct Bytes {
  std::int64_t fixed = 0, free = 0, free_layers = 0;
  std::int64_t total() const { return fixed + free; }
};

Bytes bytes_of(const Draft& d, const SizingRequest& r) {
  Bytes b;
  for (const std::string& kind : d.layers) {
    const std::int64_t bytes = subquad::state_bytes(spec_of(kind, options_of(d, kind), r), kDepth);
    (is_fixed(d, kind) ? b.fixed : b.free) += bytes;
    b.free_layers += is_fixed(d, kind) ? 0 : 1;
  }
  return b;
}

bool grows(const Draft& d, const SizingRequest& r) {
  return std::any_of(d.layers.begin(), d.layers.end(), [&](const std::string& kind) {
    const StateSpec spec = spec_of(kind, options_of(d, kind), r);
    return std::any_of(spec.begin(), spec.end(),
                       [](const StateField& f) { return f.grows_with_time; });
  });
}

// See size_arms in sizing.h.
struct Target {
  double bytes = 0;
  std::string from;  // the arm that set it; empty: the request
};

Target target_of(const std::vector<Draft>& drafts, const SizingRequest& r) {
  if (r.state_bytes > 0) return {static_cast<double>(r.state_bytes), ""};
  Target target;
  for (const Draft& d : drafts) {
    if (!d.note.empty()) continue;
    const Bytes b = bytes_of(d, r);
    if (b.free_layers == 0) return {static_cast<double>(b.total()), d.arm};
    if (static_cast<double>(b.total()) > target.bytes)
      target = {static_cast<double>(b.total()), d.arm};
  }
  return target;
}

}  // namespace

void match_states(std::vector<Draft>& drafts, const SizingRequest& r) {
  for (Draft& d : drafts) {
    if (grows(d, r))
      d.note = "its state grows with the sequence and has no size to match: parameters only";
  }
  const auto [target, from] = target_of(drafts, r);
  for (Draft& d : drafts) {
    if (!d.note.empty()) continue;
    const Bytes before = bytes_of(d, r);
    Json solved = d.options;
    for (const std::string& kind : std::set(d.layers.begin(), d.layers.end())) {
      if (is_fixed(d, kind)) continue;
      const double share =
          (target - static_cast<double>(before.fixed)) / static_cast<double>(before.free_layers);
      solved[kind] = Solver(d, kind, r).nearest(std::max(share, 1.0)).options;
    }
    Draft done = d;
    done.options = solved;
    const auto reached = static_cast<double>([&] {
      std::int64_t bytes = 0;
      for (const std::string& kind : d.layers)
        bytes += subquad::state_bytes(spec_of(kind, options_of(done, kind), r), kDepth);
      return bytes;
    }());
    require(std::abs(reached / target - 1) <= kTolerance, ErrorCode::invalid_argument, "arm ",
            d.arm, " cannot have a state of ", target, " bytes",
            from.empty() ? "" : " like " + from, ": nearest is ", reached, " (",
            100 * std::abs(reached / target - 1), " % off, wanted at most ", 100 * kTolerance,
            " %)", before.free_layers == 0 ? "; its state follows from the width alone" : "",
            "; set model.state_bytes, or leave the arm out");
    d.options = solved;
  }
}

}  // namespace subquad::sizing
