// What stands in for the libraries of a GPU: products and sorts.
#include <gtest/gtest.h>

#include <vector>

#include "host/device/backend.h"
#include "kernels/base/device_algorithms.h"
#include "kernels/gemm/gemm.h"

namespace unroll {
namespace {

TEST(Libraries, GemmEqualsTheProduct) {
  const Backend backend(Device::cuda());
  const Buffer a(backend.device(), MemoryKind::device, 6 * 4),
      b(backend.device(), MemoryKind::device, 6 * 4),
      c(backend.device(), MemoryKind::device, 4 * 4);
  const float A[] = {1, 2, 3, 4, 5, 6}, B[] = {1, 0, 2, 1, 3, 1};
  float C[4] = {10, 10, 10, 10};
  backend.stream().copy(a.data(), A, sizeof A);
  backend.stream().copy(b.data(), B, sizeof B);
  backend.stream().copy(c.data(), C, sizeof C);
  Gemm g{.C = view_of(c.as<float>(), 2, 2),
         .A = view_of(a.as<float>(), 2, 3),
         .B = view_of(b.as<float>(), 3, 2)};
  g.beta = 0.5;
  cuda::gemm(backend.exec(), g);
  backend.stream().copy(C, c.data(), sizeof C);
  // A B = [14 5; 32 11]
  EXPECT_EQ((std::vector<float>(C, C + 4)), (std::vector<float>{19, 10, 37, 16}));
  g.A = view_of(a.as<float>(), 3, 2);  // transposed: [1 3 5; 2 4 6]
  g.transpose_A = Transpose::yes;
  g.B = view_of(b.as<float>(), 2, 3);  // transposed: [1 1; 0 3; 2 1]
  g.transpose_B = Transpose::yes;
  g.beta = 0;
  cuda::gemm(backend.exec(), g);
  backend.stream().copy(C, c.data(), sizeof C);
  EXPECT_EQ((std::vector<float>(C, C + 4)), (std::vector<float>{11, 15, 14, 20}));
}

TEST(Libraries, SortIsStableAndComparesLowBitsOnly) {
  const Backend backend(Device::cuda());
  const uint32_t keys[] = {3, 1, 17, 0, 1, 3}, values[] = {0, 1, 2, 3, 4, 5};
  const size_t scratch = cuda::sort_pairs_scratch_bytes(6);
  Buffer memory[4], work(backend.device(), MemoryKind::device, scratch);
  View1 views[4];
  for (int i = 0; i < 4; ++i) {
    memory[i] = Buffer(backend.device(), MemoryKind::device, sizeof keys);
    views[i] = view_of(memory[i].as<uint32_t>(), 6);
  }
  backend.stream().copy(memory[0].data(), keys, sizeof keys);
  backend.stream().copy(memory[1].data(), values, sizeof values);
  cuda::sort_pairs(backend.exec(), {.keys_out = views[2],
                                    .values_out = views[3],
                                    .keys_in = views[0],
                                    .values_in = views[1],
                                    .key_bits = 4,
                                    .scratch = {work.data(), scratch}});
  std::vector<uint32_t> k(6), v(6);
  backend.stream().copy(k.data(), memory[2].data(), sizeof keys);
  backend.stream().copy(v.data(), memory[3].data(), sizeof keys);
  EXPECT_EQ(k, (std::vector<uint32_t>{0, 1, 17, 1, 3, 3}));
  EXPECT_EQ(v, (std::vector<uint32_t>{3, 1, 2, 4, 0, 5}));
}

}  // namespace
}  // namespace unroll
