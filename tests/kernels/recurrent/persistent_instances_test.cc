// How many kernels the persistent schedule has: each takes long to compile.
#if defined(UNROLL_GPU_ON_CPU)  // where a host compiler reads what dispatches to them
#include <gtest/gtest.h>

#include <set>
#include <tuple>
#include <typeindex>

#include "kernels/recurrent/persistent_launch.cuh"
#include "tests/oracle/cells.h"

namespace unroll::test {
namespace {

TEST(PersistentInstances, AtMostTwelveForACellAndPass) {
  for (const Cell cell : oracle::kAllCells) {
    std::set<std::type_index> instances;
    for (const auto& [act, matmul] : {std::pair{DType::bf16, MatmulMode::f32},
                                      {DType::f32, MatmulMode::tf32},
                                      {DType::f32, MatmulMode::f32}})
      for (int n_tiles = 1; n_tiles <= persistent::kMaxTiles; ++n_tiles)
        cuda::with_kernel({cell, false, 1, 1, act, matmul}, n_tiles, [&](auto c, auto p, auto n) {
          instances.insert(typeid(std::tuple<decltype(c), decltype(p), decltype(n)>));
        });
    EXPECT_GE(instances.size(), 3u) << info_of(cell).name;  // one for each product
    EXPECT_LE(instances.size(), 12u) << info_of(cell).name;
  }
}

}  // namespace
}  // namespace unroll::test
#endif
