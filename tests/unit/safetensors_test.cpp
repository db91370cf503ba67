#include "subquad/io/safetensors.h"
#include "tests/support/support.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <filesystem>

namespace subquad {
namespace {

class SafetensorsTest : public testing::Test {
 protected:
  std::string path_ = temporary_path("t.safetensors");
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
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
                             12),
                 "bytes 4 to 8 of the data section belong to no tensor");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8),
                 "its tensors end at 4");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                             R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                             4),
                 "appears twice");
  expect_refused(with_header("[1]", 0), "does not start with {");
  expect_refused(with_header("", 0), "does not start with {");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4),
                 "unknown key \"x\"");
  expect_refused(
      with_header(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
      "\"dtype\" appears twice");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4),
                 "wanted an integer");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4),
                 "tensor a");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4),
                 "bytes 4 to 0");
  expect_refused(with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4),
                 "bytes -4 to 0");
  expect_refused(with_header(R"({"__metadata__":{"format":1}})", 0), "__metadata__");
  expect_refused(with_header("{\"a\xff\":1}", 0), "not valid JSON");
  expect_refused(
      with_header(R"({"a\u001b[2J":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
      "not printable ASCII");
  expect_refused(with_header("{\"" + std::string(513, 'n') + "\":1}", 0), "name of 513 bytes");
}

// A header says how much is allocated only within bounds that no model reaches.
TEST_F(SafetensorsTest, RefusesHugeHeaders) {
  const auto tensors = [](int count) {
    std::string header = "{";
    for (int i = 0; i < count; ++i)
      header.append("\"t")
          .append(std::to_string(i))
          .append(R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)");
    header.back() = '}';
    return header;
  };
  write_file_atomically(path_, with_header(tensors(65536), 0));
  EXPECT_EQ(Safetensors(path_).entries().size(), 65536U);
  expect_refused(with_header(tensors(65537), 0), "65537 tensors");
  expect_refused(with_header(std::string("{") + std::string(16 << 20, ' ') + "}", 0),
                 "header of 16777218 bytes, wanted at most 16777216");
  std::string values = R"({"a":{"dtype":"F32","shape":[0)";
  for (int i = 0; i < 700000; ++i) values += ",0";
  expect_refused(with_header(values + "]}}", 0), "values");
  expect_refused(with_header(R"({"a":)" + std::string(1000000, '['), 0), "nested deeper than 3");
  // More bytes than there are, by a count that wraps around.
  expect_refused(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}"), "truncated");
  expect_refused(std::string("\xf8\xff\xff\xff\xff\xff\xff\x7f{}"), "truncated");
}

// What is no regular file is refused: a device has no end, and a pipe would be waited for.
TEST_F(SafetensorsTest, RefusesDevicesAndPipes) {
  EXPECT_THROW(Safetensors("/dev/zero"), Error);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THROW(Safetensors file(path_), Error);
  EXPECT_THROW(read_regular_file(path_, 100), Error);
  EXPECT_THROW(read_regular_file("/dev/zero", 100), Error);
}

TEST_F(SafetensorsTest, HalfPrecisionAndStridesAreExact) {
  // 1, -2, 65504, the smallest normal 2^-14, subnormals 2^-24 and -1023/1024 2^-14, infinity, -0.
  const std::uint16_t bits[] = {0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x83ff, 0x7c00, 0x8000};
  const float values[] = {1, -2, 65504, 0x1p-14F, 0x1p-24F, -0x1.ff8p-15F, INFINITY, -0.0F};
  std::string file =
      with_header(R"({"h":{"dtype":"F16","shape":[2,4],"data_offsets":[1,17]},"u":{"dtype":"U8",)"
                  R"("shape":[1],"data_offsets":[0,1]}})",
                  17);
  std::memcpy(file.data() + file.size() - 16, bits, 16);  // at an odd address
  write_file_atomically(path_, file);
  const Safetensors f(path_);
  const Tensor all = f.read_as("h", DType::f32);
  EXPECT_EQ(std::memcmp(all.raw(), values, sizeof values), 0);
  float column[2];
  f.read_elements<float>("h", 1, 4, column);
  EXPECT_EQ(column[0], values[1]);
  EXPECT_EQ(column[1], values[5]);
  EXPECT_THROW(f.read_elements<float>("h", 5, 4, column), Error);  // beyond the end
  EXPECT_THROW(f.read_as("u", DType::f32), Error);
}

}  // namespace
}  // namespace subquad
