// Snapshots on the simulated runtime: what is written is what the blocks held when it was asked for,
// whatever the order of queued work, and the stream of the steps carries no copy to the host.
#include "host/train/snapshot_writer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/gpu_on_cpu/runtime/runtime.h"

namespace unroll::test {
namespace {

using Kind = SnapshotWriter::Kind;

class OfKindTest : public testing::TestWithParam<bool> {};  // whether snapshots are staged

// Four snapshots of two blocks; between them the blocks change in stream order.
TEST_P(OfKindTest, WritesWhatTheBlocksHeld) {
  constexpr size_t kFirst = 100, kSecond = 4096;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    gpu_on_cpu::set_queue_seed(seed);
    const Backend backend(Device::cuda());
    const Buffer blocks(backend.device(), MemoryKind::device, kFirst + kSecond);
    Buffer values(backend.device(), MemoryKind::pinned, 4 * blocks.bytes());
    for (size_t i = 0; i < values.bytes(); ++i)
      values.as<char>()[i] = char('a' + i / blocks.bytes());
    std::vector<std::string> written;
    SnapshotWriter writer(backend);
    writer.reserve(Kind::state, SnapshotWriter::padded(kFirst) + SnapshotWriter::padded(kSecond));
    const size_t on_device = GetParam() ? writer.reserve_on_device(Kind::state) : 0;
    EXPECT_EQ(on_device >= kFirst + kSecond, GetParam());
    for (size_t i = 0; i < 4; ++i) {
      backend.stream().copy(blocks.data(), values.as<char>() + i * blocks.bytes(), blocks.bytes());
      writer.submit(Kind::state, {{blocks.data(), kFirst}, {blocks.as<char>() + kFirst, kSecond}},
                    [&](const std::vector<const void*>& copies) {
                      written.emplace_back(static_cast<const char*>(copies[0]), kFirst);
                      written.emplace_back(static_cast<const char*>(copies[1]), kSecond);
                    });
      backend.stream().fill_zero(blocks.data(), blocks.bytes());
    }
    writer.finish();
    ASSERT_EQ(written.size(), 8u);
    for (size_t i = 0; i < 8; ++i)
      EXPECT_EQ(written[i], std::string(i % 2 ? kSecond : kFirst, char('a' + i / 2)))
          << "seed " << seed << ", block " << i;
    backend.stream().synchronize();
  }
}

INSTANTIATE_TEST_SUITE_P(Snapshots, OfKindTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "staged" : "direct"; });

}  // namespace
}  // namespace unroll::test
