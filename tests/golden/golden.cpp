#include "tests/golden/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

namespace subquad {
namespace {

namespace fs = std::filesystem;

bool is_gradient(const std::string& name) { return name.starts_with("d"); }

// Every family of files and the test that compares it. A file of the folder that matches no line
// fails the test below: nothing is passed over silently.
struct Claim {
  const char* prefix;
  const char* test;
};
constexpr Claim kClaims[] = {
    {"op_linear_cross_entropy", "dense_test.cpp"},
    {"op_cross_entropy", "dense_test.cpp"},
    {"op_adamw", "optimizer_test.cpp"},
    {"op_clip", "optimizer_test.cpp"},
    {"op_schedules", "optimizer_test.cpp"},
    {"op_", "ops_test.cpp"},
    {"mlstm_", "linear_core_test.cpp"},
    {"gdn_layer_", "layer_test.cpp"},
    {"gdn_", "linear_core_test.cpp"},
    {"gdn2_", "linear_core_test.cpp"},
    {"deltanet_", "linear_core_test.cpp"},
    {"kda_", "linear_core_test.cpp"},
    {"mamba2_mixer", "layer_test.cpp"},
    {"mamba2_", "linear_core_test.cpp"},
    {"slstm_", "slstm_test.cpp"},
    {"xlstm_slstm_block", "xlstm_block_test.cpp"},
    {"xlstm_", "xlstm_block_test.cpp"},
    {"attention_layer_", "layer_test.cpp"},
    {"attention_", "attention_test.cpp"},
};

TEST(Golden, EveryFileOfTheFolderIsComparedSomewhere) {
  for (const std::string& path : golden_files({""})) {
    const std::string name = fs::path(path).stem();
    const auto claim = std::find_if(std::begin(kClaims), std::end(kClaims),
                                    [&](const Claim& c) { return name.starts_with(c.prefix); });
    ASSERT_NE(claim, std::end(kClaims)) << name << " is compared by no test";
    EXPECT_TRUE(fs::exists(std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/" + claim->test))
        << name << ": " << claim->test << " does not exist";
  }
}

}  // namespace

std::string golden_folder(const std::string& kind) {
  const char* other = std::getenv("SUBQUAD_GOLDEN");
  const fs::path root = other ? other : std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden";
  // SUBQUAD_GOLDEN may be the folder of all kinds, or that of one kind beside the others.
  for (const fs::path& at : {root / kind, root.parent_path() / kind})
    if (fs::is_directory(at)) return at;
  return root;
}

std::vector<std::string> golden_files(const std::vector<std::string>& prefixes,
                                      const std::vector<std::string>& excluded) {
  std::vector<std::string> found;
  const auto starts = [](const std::string& name, const std::vector<std::string>& list) {
    return std::any_of(list.begin(), list.end(),
                       [&](const auto& p) { return name.starts_with(p); });
  };
  for (const auto& entry : fs::directory_iterator(golden_folder("cores"))) {
    const std::string name = entry.path().stem();
    if (entry.path().extension() == ".safetensors" && starts(name, prefixes) &&
        !starts(name, excluded)) {
      found.push_back(entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

Golden::Golden(const std::string& path)
    : name_(fs::path(path).stem()),
      file_(path),
      sizes_(Json::parse(file_.metadata().at("sizes"), path)),
      tolerance_f32_(Json::parse(file_.metadata().at("tolerance_f32"), path)),
      tolerance_f64_(Json::parse(file_.metadata().at("tolerance_f64"), path).as_double()) {
  const Json results = Json::parse(file_.metadata().at("results"), path);
  for (const Json& r : results.as_array()) {
    const Tensor t = file_.read_as(r.as_string(), DType::f64);
    double& largest = is_gradient(r.as_string()) ? largest_gradient_ : largest_value_;
    for (double x : t.host<double>()) largest = std::max(largest, std::abs(x));
  }
}

std::vector<std::string> Golden::names() const {
  std::vector<std::string> out;
  for (const auto& [name, entry] : file_.entries()) out.push_back(name);
  return out;
}

Tensor Golden::input(const std::string& tensor, DType dtype) const {
  return has(tensor) ? file_.read_as(tensor, dtype) : Tensor();
}

Tensor Golden::indices(const std::string& tensor) const {
  return has(tensor) ? file_.read(tensor) : Tensor();
}

void Golden::expect(const std::string& result, const Tensor& got, double slack) const {
  ASSERT_TRUE(has(result)) << name_ << " has no result " << result;
  const Tensor want = file_.read_as(result, DType::f64);
  ASSERT_EQ(got.numel(), want.numel()) << name_ << " " << result << ": got shape "
                                       << got.shape().text() << ", wanted " << want.shape().text();
  double scale = 1e-4 * (is_gradient(result) ? largest_gradient_ : largest_value_);
  for (double x : want.host<double>()) scale = std::max(scale, std::abs(x));
  const double tolerance =
      got.dtype() == DType::f64 ? tolerance_f64_ : tolerance_f32_.at(result).as_double();
  double worst = 0;
  std::int64_t where = 0;
  with_scalar(got.dtype(), [&]<class T>() {
    for (std::int64_t i = 0; i < want.numel(); ++i) {
      const double difference =
          std::abs(static_cast<double>(got.data<T>()[i]) - want.data<double>()[i]);
      if (difference > worst || std::isnan(difference)) {
        worst = difference;
        where = i;
        if (std::isnan(difference)) return;  // nothing is worse
      }
    }
  });
  EXPECT_LE(worst, slack * tolerance * scale)
      << name_ << " " << result << " in " << name_of(got.dtype()) << ": relative deviation "
      << worst / (scale > 0 ? scale : 1) << " at element " << where << " of " << want.shape().text()
      << ", bound " << slack * tolerance;
}

}  // namespace subquad
