#include "subquad/io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

namespace subquad {
namespace {

class SafetensorsTest : public testing::Test {
 protected:
  std::string path_ = testing::TempDir() + "/t.safetensors";
  ~SafetensorsTest() override { std::filesystem::remove(path_); }

  void expect_refused(std::string bytes, const std::string& because) {
    write_file_atomically(path_, bytes);
    try {
      const Safetensors f(path_);
      FAIL() << "accepted: " << because;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(because), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find(path_), std::string::npos) << e.what();
    }
  }
  static std::string with_header(const std::string& header, std::size_t data) {
    const std::uint64_t n = header.size();
    return std::string(reinterpret_cast<const char*>(&n), 8) + header + std::string(data, '\0');
  }
};

TEST_F(SafetensorsTest, RoundTripIsExact) {
  const std::vector<float> a = {1, -2.5F, 3e-30F};
  const std::vector<std::int32_t> b = {7};
  write_safetensors(
      path_, {{"a", Tensor::from<float>({3}, a)}, {"b", Tensor::from<std::int32_t>({1, 1}, b)}},
      {{"k", "v"}});
  const Safetensors f(path_);
  EXPECT_EQ(f.metadata().at("k"), "v");
  const Tensor t = f.read("a");
  EXPECT_EQ(std::memcmp(t.raw(), a.data(), 12), 0);
  EXPECT_EQ(f.read("b").shape(), (Shape{1, 1}));
  EXPECT_EQ(f.read_as("a", DType::f64).data<double>()[1], -2.5);
  EXPECT_THROW(f.read("c"), Error);
}

TEST_F(SafetensorsTest, RefusesDamagedFiles) {
  expect_refused("abc", "too short");
  expect_refused(std::string(8, '\xff'), "truncated");
  expect_refused(with_header("{", 0), "JSON");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4),
                 "truncated");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
                 "shape (3)");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4),
                 "dimension");
  expect_refused(with_header(R"({"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,4]}})", 4), "Q9");
  expect_refused(
      with_header(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})",
                  0),
      "2^62");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                             R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                             12),
                 "overlap");
  expect_refused(with_header(R"({"a":{"shape":[2]}})", 8), "tensor a");
}

}  // namespace
}  // namespace subquad
