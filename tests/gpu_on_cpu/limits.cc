// What a device of compute capability 9.0 refuses at launch (CUDA programming guide, table of
// technical specifications per compute capability).
#include <algorithm>

#include "tests/gpu_on_cpu/internal.h"

namespace unroll::gpu_on_cpu {
namespace {

constexpr unsigned kThreadsPerBlock = 1024, kThreadsPerSm = 2048, kBlocksPerSm = 32;
constexpr size_t kSharedPerBlock = 227 * 1024, kSharedPerSm = 228 * 1024;
constexpr size_t kSharedReserved = 1024;  // by the system, for every block
constexpr size_t kArgumentBytes = 32764;
constexpr unsigned kMaxCluster = 8;  // blocks, without asking for what only some devices have
// The multiprocessors that clusters cannot span more than one of: those of an H200's processing
// clusters.
constexpr int kGroupsOfSms[] = {16, 16, 16, 16, 16, 16, 18, 18};

}  // namespace

size_t shared_bytes_per_block() { return kSharedPerBlock; }

int blocks_per_sm(int threads, size_t shared_bytes) {
  if (threads < 1 || threads > int(kThreadsPerBlock) || shared_bytes > kSharedPerBlock) return 0;
  const unsigned rounded = (unsigned(threads) + 31) / 32 * 32;
  return int(std::min({size_t(kBlocksPerSm), size_t(kThreadsPerSm / rounded),
                       kSharedPerSm / (shared_bytes + kSharedReserved)}));
}

int resident_clusters(int threads, size_t shared_bytes, unsigned cluster) {
  if (cluster < 1 || cluster > kMaxCluster) return 0;
  int clusters = 0;
  for (int sms : kGroupsOfSms)
    clusters += sms * blocks_per_sm(threads, shared_bytes) / int(cluster);
  return clusters;
}

static uint64_t resident_blocks(int threads, size_t shared_bytes, unsigned cluster) {
  return uint64_t(resident_clusters(threads, shared_bytes, cluster)) * cluster;
}

void check_limits(const Grid& g) {
  const auto refuse = [&](const std::string& why) {
    throw Finding("limit", "limit: the launch at " + text_of(g.site) + " of " + text_of(g.grid) +
                               " blocks of " + text_of(g.block) + " threads: " + why);
  };
  const uint64_t threads = uint64_t(g.block.x) * g.block.y * g.block.z;
  const uint64_t blocks = uint64_t(g.grid.x) * g.grid.y * g.grid.z;
  if (threads == 0 || blocks == 0) refuse("a grid has at least one thread");
  if (threads > kThreadsPerBlock || g.block.z > 64)
    refuse(std::to_string(threads) + " threads per block; a device takes 1024, and 64 in z");
  if (g.grid.x > 0x7fffffffu || g.grid.y > 65535 || g.grid.z > 65535)
    refuse("a device takes 2^31 - 1 blocks in x and 65535 in y and z");
  if (g.shared_bytes > kSharedPerBlock)
    refuse(std::to_string(g.shared_bytes) + " bytes of shared memory per block; a device has " +
           std::to_string(kSharedPerBlock));
  if (g.argument_bytes > kArgumentBytes)
    refuse(std::to_string(g.argument_bytes) + " bytes of arguments; a device takes " +
           std::to_string(kArgumentBytes));
  if (g.cluster < 1 || g.cluster > kMaxCluster || g.grid.x % g.cluster != 0)
    refuse("clusters of " + std::to_string(g.cluster) + "; a cluster has at most " +
           std::to_string(kMaxCluster) + " blocks, and divides those in x");
  const uint64_t fit = resident_blocks(int(threads), g.shared_bytes, g.cluster);
  if (g.cooperative && blocks > fit)
    refuse("a cooperative grid must fit on the device at once, and " +
           std::to_string(kMultiprocessors) + " multiprocessors hold " + std::to_string(fit) +
           " of these blocks" +
           (g.cluster > 1 ? " in clusters of " + std::to_string(g.cluster) : std::string()));
}

// Static shared memory is known once a block has run its declarations.
void check_shared_bytes(const Block& b, Site site) {
  constexpr size_t kStaticLimit = 48 * 1024;
  if (b.static_bytes > kStaticLimit)
    fail("limit", "limit: " + std::to_string(b.static_bytes) +
                      " bytes of static shared memory at " + text_of(site) +
                      "; a block has 49152, beyond that use GPU_DYN_SHARED");
  const size_t all = b.static_bytes + run->grid->shared_bytes;
  if (all > kSharedPerBlock)
    fail("limit", "limit: " + std::to_string(all) +
                      " bytes of static and dynamic shared memory at " + text_of(site) +
                      "; a block has " + std::to_string(kSharedPerBlock));
  if (run->grid->cooperative &&
      run->blocks > resident_blocks(int(run->threads_per_block), all, run->grid->cluster))
    fail("limit", "limit: with " + std::to_string(all) + " bytes of shared memory per block (" +
                      text_of(site) + ") the cooperative grid does not fit on the device at once");
}

}  // namespace unroll::gpu_on_cpu
