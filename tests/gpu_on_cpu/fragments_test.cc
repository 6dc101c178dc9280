// Which lane and register holds which element: what runs the kernels, a GPU or the engine, must
// agree with the tables of the PTX ISA, and with what a GPU has recorded.
//
// UNROLL_RECORD_FRAGMENTS=path in the CUDA build writes the record; it is committed as
// tests/gpu_on_cpu/fragments.txt.
#include "tests/gpu_on_cpu/fragment_probes.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace unroll {
namespace {

// Runs a probe on n numbers of device memory and reads them back.
template <class T>
std::vector<T> probe(size_t n, void (*launch)(T*, CUstream_st*)) {
  std::vector<T> host(n);
  T* device = nullptr;
  T* pinned = nullptr;
  cudaStream_t stream = nullptr;
  EXPECT_EQ(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&device, n * sizeof(T)), cudaSuccess);
  EXPECT_EQ(cudaMallocHost(&pinned, n * sizeof(T)), cudaSuccess);
  launch(device, stream);
  EXPECT_EQ(cudaMemcpyAsync(pinned, device, n * sizeof(T), cudaMemcpyDeviceToHost, stream),
            cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  for (size_t i = 0; i < n; ++i) host[i] = pinned[i];
  cudaFreeHost(pinned);
  cudaFree(device);
  cudaStreamDestroy(stream);
  return host;
}

struct Element {
  int row, column;
};

// PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type", .bf16: for a_i,
//   row = groupID      for i in 0..1, 4..5, else groupID + 8
//   col = threadID_in_group * 2 + (i & 1)   for i < 4, else + 8
Element bf16_a(int slot) {
  const int lane = slot / 8, i = slot % 8, group = lane >> 2, in_group = lane % 4;
  const bool upper = (i >= 0 && i < 2) || (i >= 4 && i < 6);
  return {upper ? group : group + 8, in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
// For b_i: row = threadID_in_group * 2 + (i & 1), + 8 for i >= 2; col = groupID.
Element bf16_b(int slot) {
  const int lane = slot / 4, i = slot % 4;
  return {(lane % 4) * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane >> 2};
}
// "Matrix fragments for mma.m16n8k8", .tf32: for a_i, row = groupID for a0 and a2, else groupID +
// 8; col = threadID_in_group for a0 and a1, else threadID_in_group + 4.
Element tf32_a(int slot) {
  const int lane = slot / 4, i = slot % 4, group = lane >> 2, in_group = lane % 4;
  return {i == 0 || i == 2 ? group : group + 8, i < 2 ? in_group : in_group + 4};
}
// For b_i: row = threadID_in_group for b0, + 4 for b1; col = groupID.
Element tf32_b(int slot) {
  const int lane = slot / 2, i = slot % 2;
  return {lane % 4 + (i == 1 ? 4 : 0), lane >> 2};
}
// Both: for c_i, row = groupID for i < 2, else groupID + 8; col = threadID_in_group * 2 + (i & 1).
Element accumulator(int slot) {
  const int lane = slot / 4, i = slot % 4;
  return {i < 2 ? lane >> 2 : (lane >> 2) + 8, (lane % 4) * 2 + (i & 1)};
}

template <class A, class B>
std::vector<float> documented_mma(int a_slots, int b_slots, A a_of, B b_of) {
  std::vector<float> table;
  for (int a = 0; a < a_slots; ++a)
    for (int d = 0; d < kAccumulatorSlots; ++d) {
      float value = 0;
      for (int b = 0; b < b_slots; ++b)
        if (a_of(a).row == accumulator(d).row && a_of(a).column == b_of(b).row &&
            b_of(b).column == accumulator(d).column)
          value += float(b + 1);
      table.push_back(value);
    }
  return table;
}

// PTX ISA, ldmatrix: thread l receives, of the m-th matrix in its m-th register, row l / 4,
// elements 2 (l % 4) and the next; .trans loads the matrix in column-major format.
std::vector<uint32_t> documented_ldmatrix() {
  std::vector<uint32_t> table;
  for (int form = 0; form < 6; ++form)
    for (int lane = 0; lane < 32; ++lane)
      for (int m = 0; m < kLdmatrixCounts[form]; ++m)
        for (int part = 0; part < 2; ++part) {
          const int r = lane / 4, c = 2 * (lane % 4) + part;
          table.push_back(uint32_t(64 * m + (form < 3 ? 8 * r + c : 8 * c + r)));
        }
  return table;
}

std::string first_difference(const auto& got, const auto& expected, size_t row) {
  if (got.size() != expected.size()) return "sizes differ";
  for (size_t i = 0; i < got.size(); ++i)
    if (got[i] != expected[i])
      return "slot " + std::to_string(i / row) + "," + std::to_string(i % row) + " holds " +
             std::to_string(got[i]) + ", documented is " + std::to_string(expected[i]);
  return "";
}

class Fragments : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
      GTEST_SKIP() << "no CUDA device answers";
  }
};

TEST_F(Fragments, LdmatrixIsAsDocumented) {
  EXPECT_EQ(first_difference(probe<uint32_t>(kLdmatrixNumbers, probe_ldmatrix),
                             documented_ldmatrix(), 64),
            "");
}

TEST_F(Fragments, MmaBf16IsAsDocumented) {
  EXPECT_EQ(first_difference(probe<float>(kBf16Slots * kAccumulatorSlots, probe_mma_bf16),
                             documented_mma(kBf16Slots, 128, bf16_a, bf16_b), kAccumulatorSlots),
            "");
}

TEST_F(Fragments, MmaTf32IsAsDocumented) {
  EXPECT_EQ(first_difference(probe<float>(kTf32Slots * kAccumulatorSlots, probe_mma_tf32),
                             documented_mma(kTf32Slots, 64, tf32_a, tf32_b), kAccumulatorSlots),
            "");
}

TEST_F(Fragments, MmaAddsToItsAccumulator) {
  const std::vector<float> got = probe<float>(kAccumulatorSlots, probe_accumulator);
  for (int i = 0; i < kAccumulatorSlots; ++i) EXPECT_EQ(got[size_t(i)], float(3 * (i + 1)));
}

// CUDA programming guide: a cluster's blocks are neighbours along x, ranked in their order.
TEST_F(Fragments, ClustersAreNeighboursAlongX) {
  if (!has_clusters()) GTEST_SKIP() << "the device or this build has no clusters";
  const std::vector<uint32_t> got =
      probe<uint32_t>(kClusterBlocks * kClusterSize * kClusterWays, probe_clusters);
  std::vector<uint32_t> expected;
  for (uint32_t block = 0; block < kClusterBlocks; ++block)
    for (uint32_t r = 0; r < kClusterSize; ++r) {
      const uint32_t other = block / kClusterSize * kClusterSize + r;
      expected.insert(expected.end(), {other, other, 2 * other + 1, other, 1000 + other});
    }
  EXPECT_EQ(first_difference(got, expected, kClusterWays), "");
}

// The record of a GPU: all numbers of the fragments' probes in order.
std::vector<double> all_numbers() {
  std::vector<double> all;
  for (uint32_t v : probe<uint32_t>(kLdmatrixNumbers, probe_ldmatrix)) all.push_back(v);
  for (float v : probe<float>(kBf16Slots * kAccumulatorSlots, probe_mma_bf16)) all.push_back(v);
  for (float v : probe<float>(kTf32Slots * kAccumulatorSlots, probe_mma_tf32)) all.push_back(v);
  for (float v : probe<float>(kAccumulatorSlots, probe_accumulator)) all.push_back(v);
  return all;
}

TEST_F(Fragments, AgreeWithTheRecordOfAGpu) {
  const std::vector<double> got = all_numbers();
#if !defined(UNROLL_GPU_ON_CPU)
  if (const char* path = std::getenv("UNROLL_RECORD_FRAGMENTS")) {
    cudaDeviceProp properties{};
    ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    std::ofstream out(path);
    out << "# Results of tests/gpu_on_cpu/fragment_probes.cu on " << properties.name
        << ", value and "
        << "count of its run\n";
    for (size_t i = 0; i < got.size();) {
      size_t n = 1;
      while (i + n < got.size() && got[i + n] == got[i]) ++n;
      out << got[i] << " " << n << "\n";
      i += n;
    }
  }
#endif
  std::ifstream in(UNROLL_SOURCE_ROOT "/tests/gpu_on_cpu/fragments.txt");
  if (!in) GTEST_SKIP() << "tests/gpu_on_cpu/fragments.txt has not been recorded on a GPU yet";
  std::string comment;
  std::getline(in, comment);
  std::vector<double> record;
  double value = 0;
  for (size_t n = 0; in >> value >> n;) record.insert(record.end(), n, value);
  EXPECT_EQ(first_difference(got, record, kAccumulatorSlots), "");
}

}  // namespace
}  // namespace unroll
