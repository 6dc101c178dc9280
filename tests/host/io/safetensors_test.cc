// safetensors: what is written comes back; layout as the reference writer makes it; conversions.
#include "host/io/safetensors.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "host/io/atomic_file.h"
#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::error_of;
using test::expect_contains;
using test::TempDir;

TEST(Safetensors, RoundTripOfEveryDtype) {
  const TempDir dir;
  const std::vector<float> f32 = {1.5f,   -0.0f, std::numeric_limits<float>::infinity(),
                                  3e-42f, 7,     8};
  const std::vector<double> f64 = {M_PI, -1e300, std::nan("")};
  const std::vector<uint16_t> bf16 = {0x3f80, 0xc000, 0x7f80};
  const std::vector<int32_t> i32 = {-1, 0, 2147483647};
  const std::vector<int64_t> i64 = {-1, int64_t(1) << 62};
  const std::vector<uint64_t> u64 = {~uint64_t(0)};
  const std::vector<uint8_t> u8 = {1, 2, 3, 4, 5};
  const Metadata metadata = {{"format", "pt"}, {"text", "line\n\"quoted\" \\ \xc3\xa9"}};
  write_safetensors(dir / "a.safetensors",
                    {{"b.f32", "F32", {2, 3}, f32.data()},
                     {"f64", "F64", {3}, f64.data()},
                     {"bf16", "BF16", {3, 1}, bf16.data()},
                     {"i32", "I32", {3}, i32.data()},
                     {"i64", "I64", {2}, i64.data()},
                     {"u64", "U64", {}, u64.data()},
                     {"u8", "U8", {5}, u8.data()},
                     {"a.f32", "F32", {1}, f32.data()},
                     {"none", "F32", {0, 7}, nullptr}},
                    metadata);
  const SafetensorsFile file = SafetensorsFile::open(dir / "a.safetensors");
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), 9u);
  auto same = [&](const char* name, const char* dtype, std::vector<int64_t> shape, const void* data,
                  size_t bytes) {
    const TensorInfo& t = file.tensor(name);
    EXPECT_EQ(t.dtype, dtype);
    EXPECT_EQ(t.shape, shape) << name;
    ASSERT_EQ(t.end - t.begin, bytes) << name;
    EXPECT_EQ(std::memcmp(file.data(t), data, bytes), 0) << name;
    std::vector<std::byte> copy(bytes);
    file.copy(name, dtype, copy.data(), bytes);
    EXPECT_EQ(std::memcmp(copy.data(), data, bytes), 0) << name;
    // Every tensor of a file of ours can be used where it lies.
    EXPECT_EQ(reinterpret_cast<uintptr_t>(file.data(t)) % safetensors_dtype_bytes(dtype), 0u);
  };
  same("b.f32", "F32", {2, 3}, f32.data(), 24);
  same("f64", "F64", {3}, f64.data(), 24);
  same("bf16", "BF16", {3, 1}, bf16.data(), 6);
  same("i32", "I32", {3}, i32.data(), 12);
  same("i64", "I64", {2}, i64.data(), 16);
  same("u64", "U64", {}, u64.data(), 8);
  same("u8", "U8", {5}, u8.data(), 5);
  EXPECT_EQ(file.tensor("none").count(), 0);
  EXPECT_EQ(file.tensor("none").shape_text(), "[0,7]");
  EXPECT_TRUE(file.read<float>("none").empty());
}

TEST(Safetensors, LargeAlignmentFirstThenNameAndPaddedHeader) {
  const TempDir dir;
  const double data[2] = {1, 2};
  write_safetensors(dir / "a",
                    {{"z", "U8", {1}, data},
                     {"y", "F32", {1}, data},
                     {"x", "F32", {1}, data},
                     {"w", "F64", {1}, data}},
                    {});
  std::vector<std::string> order;
  const SafetensorsFile file = SafetensorsFile::open(dir / "a");
  for (const TensorInfo& t : file.tensors()) order.push_back(t.name);
  EXPECT_EQ(order, (std::vector<std::string>{"w", "x", "y", "z"}));
  const std::string bytes = read_file(dir / "a");
  uint64_t header;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0u);
  EXPECT_EQ(bytes[8], '{');
  EXPECT_EQ(bytes.size(), 8 + header + 8 + 4 + 4 + 1);
}

TEST(Safetensors, ReadsAsFloatOrDouble) {
  const TempDir dir;
  const float f32[] = {0.1f, -2};
  const double f64[] = {0.1, -2};
  const uint16_t bf16[] = {0x3dcd, 0xc000};
  // 1, -2, the largest half, the smallest normal, the smallest subnormal, -0, inf, 1/3 rounded
  const uint16_t f16[] = {0x3c00, 0xc000, 0x7bff, 0x0400, 0x8001, 0x8000, 0x7c00, 0x3555};
  const int32_t i32[] = {1};
  write_safetensors(dir / "a",
                    {{"f32", "F32", {2}, f32},
                     {"f64", "F64", {2}, f64},
                     {"bf16", "BF16", {2}, bf16},
                     {"f16", "F16", {8}, f16},
                     {"i32", "I32", {1}, i32}},
                    {});
  const SafetensorsFile file = SafetensorsFile::open(dir / "a");
  EXPECT_EQ(file.read<double>("f32"), (std::vector<double>{double(0.1f), -2}));
  EXPECT_EQ(file.read<float>("f64"), (std::vector<float>{0.1f, -2}));
  EXPECT_EQ(file.read<double>("f64"), (std::vector<double>{0.1, -2}));
  EXPECT_EQ(file.read<float>("bf16"), (std::vector<float>{0.10009765625f, -2}));
  EXPECT_EQ(file.read<float>("f16"), (std::vector<float>{1, -2, 65504, 0x1p-14f, -0x1p-24f, -0.0f,
                                                         INFINITY, 0.333251953125f}));
  EXPECT_TRUE(std::signbit(file.read<float>("f16")[5]));
  expect_contains(error_of(ErrorKind::model, [&] { file.read<float>("i32"); }),
                  "is I32, expected F32");
  expect_contains(error_of(ErrorKind::model, [&] { file.read<float>("f23"); }),
                  "has no tensor 'f23', did you mean");
  float to[3];
  expect_contains(error_of(ErrorKind::model, [&] { file.copy("f32", "F32", to, 12); }),
                  "is F32[2] of 8 bytes, expected F32 of 12 bytes");
}

TEST(Safetensors, WriterRefusesWhatTheFormatForbids) {
  const TempDir dir;
  const float x[1] = {1};
  auto refused = [&](std::vector<TensorSource> t, const Metadata& m, const char* why) {
    expect_contains(error_of(ErrorKind::internal, [&] { write_safetensors(dir / "a", t, m); }),
                    why);
    EXPECT_TRUE(dir.names().empty());
  };
  refused({{"a", "F32", {1}, x}, {"a", "F32", {1}, x}}, {}, "two tensors are called 'a'");
  refused({{"a", "F33", {1}, x}}, {}, "unknown dtype 'F33'");
  refused({{"__metadata__", "F32", {1}, x}}, {}, "cannot be called __metadata__");
  refused({}, {{"vocab", "\xff"}}, "UTF-8");
  refused({}, {{"vocab", std::string(100'000'001, 'x')}}, "the format allows 100000000");
}

TEST(Safetensors, MappingSurvivesAMove) {
  const TempDir dir;
  const float x[1] = {2.5f};
  write_safetensors(dir / "a", {{"a", "F32", {1}, x}}, {});
  SafetensorsFile first = SafetensorsFile::open(dir / "a");
  SafetensorsFile second = std::move(first);
  // The file on disk is replaced while it is mapped: the mapping keeps the old one.
  const float y[2] = {1, 1};
  write_safetensors(dir / "a", {{"a", "F32", {2}, y}}, {});
  EXPECT_EQ(second.read<float>("a"), std::vector<float>{2.5f});
  second = SafetensorsFile::open(dir / "a");
  EXPECT_EQ(second.read<float>("a"), (std::vector<float>{1, 1}));
}

}  // namespace
}  // namespace unroll
