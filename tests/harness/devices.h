// Where a kernel test runs: (device, element type) pairs, and arrays on that device filled from and
// read back as double. The same tests run on the CPU, on a GPU, and with the CUDA kernels executed
// on the CPU.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "kernels/base/view.h"

namespace unroll::test {

struct Target {
  DeviceKind device;
  DType act;  // element type of activations and weights
  MatmulMode matmul = MatmulMode::f32;
  DType acc() const { return accumulate_type(act); }
};

inline std::string name_of(const Target& t) {
  return std::string(t.device == DeviceKind::cpu ? "cpu_" : "cuda_") +
         (t.matmul == MatmulMode::tf32   ? "tf32"
          : t.matmul == MatmulMode::bf16 ? "bf16"
                                         : unroll::name_of(t.act));
}

// Targets of this test program. A CUDA target is listed whenever CUDA is built in, and skipped,
// visibly, where no device answers; with the kernels executed on the CPU a device always answers.
inline std::vector<Target> targets() {
  std::vector<Target> all;
#if !defined(UNROLL_GPU_ON_CPU)
  all.push_back({DeviceKind::cpu, DType::f64});
  all.push_back({DeviceKind::cpu, DType::f32});
#endif
#if defined(UNROLL_WITH_CUDA)
  all.push_back({DeviceKind::cuda, DType::f32});
  all.push_back({DeviceKind::cuda, DType::bf16});
#if !defined(UNROLL_GPU_ON_CPU)
  all.push_back({DeviceKind::cuda, DType::f32, MatmulMode::tf32});
#endif
#endif
  return all;
}
// With the CPU's products of operands rounded to bf16, too: for tests of what is made of products.
inline std::vector<Target> targets_of_products() {
  std::vector<Target> all = targets();
#if !defined(UNROLL_GPU_ON_CPU)
  all.push_back({DeviceKind::cpu, DType::f32, MatmulMode::bf16});
#endif
  return all;
}

// A host copy of `values` in element type `dtype`, and back.
inline void store(void* to, DType dtype, int64_t i, double v) {
  switch (dtype) {
    case DType::f32:
      static_cast<float*>(to)[i] = float(v);
      break;
    case DType::f64:
      static_cast<double*>(to)[i] = v;
      break;
    case DType::bf16:
      static_cast<bf16*>(to)[i] = bf16(float(v));
      break;
    case DType::i32:
      static_cast<int32_t*>(to)[i] = int32_t(v);
      break;
    case DType::u32:
      static_cast<uint32_t*>(to)[i] = uint32_t(v);
      break;
    case DType::u64:
      static_cast<uint64_t*>(to)[i] = uint64_t(v);
      break;
    case DType::u8:
      static_cast<uint8_t*>(to)[i] = uint8_t(v);
      break;
  }
}
inline double load(const void* from, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f32:
      return static_cast<const float*>(from)[i];
    case DType::f64:
      return static_cast<const double*>(from)[i];
    case DType::bf16:
      return float(static_cast<const bf16*>(from)[i]);
    case DType::i32:
      return static_cast<const int32_t*>(from)[i];
    case DType::u32:
      return static_cast<const uint32_t*>(from)[i];
    case DType::u64:
      return double(static_cast<const uint64_t*>(from)[i]);
    case DType::u8:
      return static_cast<const uint8_t*>(from)[i];
  }
  return 0;
}
// What `v` becomes when stored as `dtype`: references are computed from rounded inputs.
inline double rounded(double v, DType dtype) {
  double cell = 0;
  store(&cell, dtype, 0, v);
  return load(&cell, dtype, 0);
}

// An array on the target's device; rows are `pad` elements further apart than they are long, and
// all memory that holds no value is 0xff: NaN as a float, -1 as an integer.
template <int R>
class Array {
 public:
  AnyView<R> view;
  operator AnyView<R>() const { return view; }

  Array(const Backend& backend, DType dtype, std::vector<int64_t> extents, int64_t pad = 0)
      : backend_(&backend) {
    EXPECT_EQ(extents.size(), size_t(R));
    int64_t rows = 1;
    for (int r = 0; r < R; ++r) {
      view.n[r] = extents[size_t(r)];
      if (r + 1 < R) rows *= view.n[r];
    }
    view.dtype = dtype;
    view.ld = view.n[R - 1] + pad;
    host_.assign(size_t(rows * view.ld + pad) * size_of(dtype), 0xff);
    buffer_ = Buffer(backend.device(), MemoryKind::device, std::max<size_t>(host_.size(), 16));
    view.data = buffer_.data();
    upload();
  }
  // Row-major values, without the padding.
  Array& fill(const std::vector<double>& values) {
    EXPECT_EQ(int64_t(values.size()), view.size());
    for (int64_t i = 0; i < view.size(); ++i)
      store(host_.data(), view.dtype, at(i), values[size_t(i)]);
    upload();
    return *this;
  }
  Array& fill(double value) { return fill(std::vector<double>(size_t(view.size()), value)); }

  std::vector<double> read() {
    download();
    std::vector<double> values(size_t(view.size()));
    for (int64_t i = 0; i < view.size(); ++i)
      values[size_t(i)] = load(host_.data(), view.dtype, at(i));
    return values;
  }
  // The bytes as they are, padding included: bit-for-bit comparisons.
  std::vector<unsigned char> bytes() {
    download();
    return host_;
  }
  // Whether nothing was written between the rows.
  bool padding_untouched() {
    download();
    const int64_t es = int64_t(size_of(view.dtype));
    for (int64_t r = 0; r < view.rows(); ++r)
      for (int64_t i = view.columns() * es; i < view.ld * es; ++i)
        if (host_[size_t(r * view.ld * es + i)] != 0xff) return false;
    return true;
  }

 private:
  int64_t at(int64_t i) const { return i / view.columns() * view.ld + i % view.columns(); }
  void upload() {
    backend_->stream().copy(buffer_.data(), host_.data(), host_.size());
    backend_->stream().synchronize();
  }
  void download() {
    backend_->stream().copy(host_.data(), buffer_.data(), host_.size());
    backend_->stream().synchronize();
  }
  const Backend* backend_;
  Buffer buffer_;
  std::vector<unsigned char> host_;
};

// Uniform values in [-scale, scale], rounded to `dtype`, the same for the same seed.
inline std::vector<double> random_values(int64_t n, DType dtype, unsigned seed, double scale = 1) {
  std::mt19937_64 engine(seed);
  std::uniform_real_distribution<double> uniform(-scale, scale);
  std::vector<double> values(static_cast<size_t>(n));
  for (double& v : values) v = rounded(uniform(engine), dtype);
  return values;
}
inline std::vector<double> random_ids(int64_t n, int V, unsigned seed) {
  std::mt19937_64 engine(seed);
  std::vector<double> values(static_cast<size_t>(n));
  for (double& v : values) v = double(engine() % uint64_t(V));
  return values;
}

// Skips a test whose device is not there; in SetUp.
inline void skip_without_device(const Target& target) {
  std::string why_not;
  if (target.device == DeviceKind::cuda && !Device::cuda_available(&why_not))
    GTEST_SKIP() << "no CUDA device answers: " << why_not;
}

// Test fixture over all targets:
//   using GemmTest = OnTargets;
//   TEST_P(GemmTest, EqualsReference) { ... backend(), act(), acc() ... }
//   UNROLL_ON_TARGETS(GemmTest);
class OnTargets : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    skip_without_device(GetParam());
    if (IsSkipped()) return;
    backend_ = std::make_unique<Backend>(
        GetParam().device == DeviceKind::cuda ? Device::cuda() : Device::cpu(2), GetParam().matmul);
  }
  const Backend& backend() const { return *backend_; }
  Exec exec() const { return backend_->exec(); }
  DType act() const { return GetParam().act; }
  DType acc() const { return GetParam().acc(); }
  void synchronize() const { backend_->stream().synchronize(); }

 private:
  std::unique_ptr<Backend> backend_;
};

#define UNROLL_ON(targets, Suite)                                      \
  INSTANTIATE_TEST_SUITE_P(Targets, Suite, testing::ValuesIn(targets), \
                           [](const auto& info) { return ::unroll::test::name_of(info.param); })
#define UNROLL_ON_TARGETS(Suite) UNROLL_ON(::unroll::test::targets(), Suite)
#define UNROLL_ON_TARGETS_OF_PRODUCTS(Suite) UNROLL_ON(::unroll::test::targets_of_products(), Suite)

}  // namespace unroll::test
