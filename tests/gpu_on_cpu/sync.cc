// Barriers and warp operations. Strict on purpose: threads that disagree on the line, the mask or
// on being there at all are reported with both places.
#include <cstring>

#include "tests/gpu_on_cpu/internal.h"

namespace unroll::gpu_on_cpu {
namespace {

const char* const kWarpNames[] = {"sync_warp", "shfl",     "shfl_xor", "ballot",
                                  "any",       "ldmatrix", "mma_bf16", "mma_tf32"};
const char* warp_name(WarpKind kind) { return kWarpNames[int(kind)]; }

bool same(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string lanes_text(uint32_t mask) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", mask);
  return text;
}

void check_mask(const Thread& t, const Warp& w, WarpKind kind, uint32_t mask, Site site) {
  const auto refuse = [&](const std::string& why) {
    fail("warp-mask", "warp-mask: " + text_of(t) + " in " + warp_name(kind) + " at " +
                          text_of(site) + ": the mask " + lanes_text(mask) + why);
  };
  if (!(mask >> t.number % 32 & 1)) refuse(" does not name its own lane");
  if (mask & w.ended) refuse(" names lanes " + lanes_text(mask & w.ended) + ", which have ended");
  if (mask & ~(w.lanes | w.ended)) refuse(" names lanes beyond the block");
}

void exchange(Meeting& m);

// Meets the other lanes of `mask`; the last one to come does the work for all.
void meet(WarpKind kind, uint32_t mask, void* value, int bytes, int operand, Site site) {
  Thread& t = *current;
  Warp& w = warp_of(t);
  const uint32_t lane = t.number % 32, bit = 1u << lane;
  check_mask(t, w, kind, mask, site);
  Meeting* meeting = nullptr;
  for (Meeting& m : w.meetings) {
    if (m.mask == mask && m.kind == kind && same(m.site, site)) {
      meeting = &m;
    } else if (m.mask & mask) {
      fail("warp-divergence", "warp-divergence: " + text_of(t) + " is in " + warp_name(kind) +
                                  " with mask " + lanes_text(mask) + " at " + text_of(site) +
                                  " while lanes " + lanes_text(m.arrived) +
                                  " of its warp wait in " + warp_name(m.kind) + " with mask " +
                                  lanes_text(m.mask) + " at " + text_of(m.site));
    }
  }
  if (!meeting) {
    w.meetings.push_back(Meeting{kind, mask, 0, site, {}, {}, bytes});
    meeting = &w.meetings.back();
  }
  meeting->arrived |= bit;
  meeting->value[lane] = value;
  meeting->operand[lane] = operand;
  if (meeting->arrived != mask) return wait_for(Wait::warp_operation, site);

  Meeting m = *meeting;
  w.meetings.erase(w.meetings.begin() + (meeting - w.meetings.data()));
  exchange(m);
  if (kind == WarpKind::sync) race_warp_barrier(*t.block, w, mask, t.number / 32);
  ++run->progress;
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    make_ready(t.block->threads[t.number / 32 * 32 + uint32_t(__builtin_ctz(rest))]);
  if (random_order()) yield_ready();
}

void shuffle(Meeting& m) {
  unsigned char in[32][16];
  for (int lane = 0; lane < 32; ++lane)
    if (m.mask >> lane & 1) std::memcpy(in[lane], m.value[lane], size_t(m.bytes));
  for (int lane = 0; lane < 32; ++lane) {
    if (!(m.mask >> lane & 1)) continue;
    int from = m.operand[lane];
    if (m.kind == WarpKind::shfl) from &= 31;
    if (m.kind == WarpKind::shfl_xor) from = lane ^ from;
    if (from > 31 || !(m.mask >> from & 1))
      fail("warp-mask", std::string("warp-mask: lane ") + std::to_string(lane) + " of " +
                            text_of(*current) + "'s warp reads lane " + std::to_string(from) +
                            ", which takes no part in " + warp_name(m.kind) + " with mask " +
                            lanes_text(m.mask) + " at " + text_of(m.site));
    std::memcpy(m.value[lane], in[from], size_t(m.bytes));
  }
}

void vote(Meeting& m) {
  uint32_t votes = 0;
  for (int lane = 0; lane < 32; ++lane)
    if ((m.mask >> lane & 1) && m.operand[lane]) votes |= 1u << lane;
  for (int lane = 0; lane < 32; ++lane)
    if (m.mask >> lane & 1) std::memcpy(m.value[lane], &votes, sizeof votes);
}

}  // namespace

void load_matrices(const Meeting& m);       // tensor.cc
void multiply_fragments(const Meeting& m);  // tensor.cc

namespace {
void exchange(Meeting& m) {
  switch (m.kind) {
    case WarpKind::sync:
      return;
    case WarpKind::shfl:
    case WarpKind::shfl_xor:
      return shuffle(m);
    case WarpKind::ballot:
    case WarpKind::any:
      return vote(m);
    case WarpKind::ldmatrix:
      return load_matrices(m);
    case WarpKind::mma_bf16:
    case WarpKind::mma_tf32:
      return multiply_fragments(m);
  }
}
}  // namespace

void warp_barrier(uint32_t mask, Site site) {
  if (site_is_off("sync_warp", site)) return;
  meet(WarpKind::sync, mask, nullptr, 0, 0, site);
}
void warp_shuffle(WarpKind kind, uint32_t mask, void* value, int bytes, int operand, Site site) {
  meet(kind, mask, value, bytes, operand, site);
}
uint32_t warp_vote(WarpKind kind, uint32_t mask, bool p, Site site) {
  uint32_t votes = 0;
  meet(kind, mask, &votes, sizeof votes, p, site);
  return votes;
}
void meet_in(WarpKind kind, void* operands, int count, Site site) {
  meet(kind, 0xffffffffu, operands, 0, count, site);
}

static void meet_in_block(Site site) {
  Thread& t = *current;
  Block& b = *t.block;
  if (b.ended)
    fail("exited-threads", "exited-threads: " + text_of(t) + " waits in sync_threads at " +
                               text_of(site) + ", but " + std::to_string(b.ended) +
                               " threads of its block have ended");
  if (b.arrived && !same(b.barrier_site, site))
    fail("barrier-divergence", "barrier-divergence: " + text_of(t) + " is in sync_threads at " +
                                   text_of(site) + " while " + std::to_string(b.arrived) +
                                   " threads of its block wait in the one at " +
                                   text_of(b.barrier_site));
  if (b.cluster_arrived)
    fail("barrier-divergence", "barrier-divergence: " + text_of(t) + " is in sync_threads at " +
                                   text_of(site) + " while " + std::to_string(b.cluster_arrived) +
                                   " threads of its block wait in cluster_sync at " +
                                   text_of(b.cluster->barrier_site));
  b.barrier_site = site;
  if (++b.arrived < run->threads_per_block) return wait_for(Wait::block_barrier, site);
  b.arrived = 0;
  race_block_barrier(b);
  ++run->progress;
  for (Thread& other : b.threads) make_ready(other);
  yield_ready();
}

void block_barrier(Site site) {
  if (!site_is_off("sync_threads", site)) meet_in_block(site);
}

void cluster_barrier(Site site) {
  if (site_is_off("cluster_sync", site)) return;
  Thread& t = *current;
  Block& b = *t.block;
  if (!b.cluster) return meet_in_block(site);
  Cluster& c = *b.cluster;
  for (const Block* other : c.blocks)
    if (other->ended)
      fail("exited-threads", "exited-threads: " + text_of(t) + " waits in cluster_sync at " +
                                 text_of(site) + ", but " + std::to_string(other->ended) +
                                 " threads of block " + std::to_string(other->number) +
                                 " of its cluster have ended");
  const auto disagree = [&](uint32_t others, const char* where, Site there) {
    fail("barrier-divergence", "barrier-divergence: " + text_of(t) + " is in cluster_sync at " +
                                   text_of(site) + " while " + std::to_string(others) +
                                   " threads of its " + where + text_of(there));
  };
  if (b.arrived) disagree(b.arrived, "block wait in sync_threads at ", b.barrier_site);
  if (c.arrived && !same(c.barrier_site, site))
    disagree(c.arrived, "cluster wait in the one at ", c.barrier_site);
  c.barrier_site = site;
  ++b.cluster_arrived;
  if (++c.arrived < c.blocks.size() * run->threads_per_block)
    return wait_for(Wait::cluster_barrier, site);
  c.arrived = 0;
  race_cluster_barrier(c);
  ++run->progress;
  for (Block* other : c.blocks) {
    other->cluster_arrived = 0;
    for (Thread& thread : other->threads) make_ready(thread);
  }
  run->last_block = nullptr;
  yield_ready();
}

int cluster_rank() { return int(this_block().rank); }

void grid_barrier(Site site) {
  if (site_is_off("grid_sync", site)) return;
  Thread& t = *current;
  if (!run->grid->cooperative)
    fail("launch", "launch: grid_sync at " + text_of(site) +
                       " in a launch that is not cooperative; set Launch::cooperative");
  if (run->any_ended)
    fail("exited-threads", "exited-threads: " + text_of(t) + " waits in grid_sync at " +
                               text_of(site) + ", but other threads of the grid have ended");
  if (run->grid_arrived && !same(run->grid_site, site))
    fail("barrier-divergence", "barrier-divergence: " + text_of(t) + " is in grid_sync at " +
                                   text_of(site) + " while others wait in the one at " +
                                   text_of(run->grid_site));
  run->grid_site = site;
  if (++run->grid_arrived < run->blocks * run->threads_per_block)
    return wait_for(Wait::grid_barrier, site);
  run->grid_arrived = 0;
  race_grid_barrier();
  ++run->progress;
  for (auto& b : run->resident)
    for (Thread& other : b->threads) make_ready(other);
  run->last_block = nullptr;
  yield_ready();
}

void wait_for_previous(Site site) {
  if (!site_is_off("wait_for_previous", site)) current->waited = true;
}

dim3 thread_index() {
  const dim3 n = run->grid->block;
  const unsigned i = current->number;
  return n.y == 1 && n.z == 1 ? dim3(i, 0, 0) : dim3(i % n.x, i / n.x % n.y, i / n.x / n.y);
}
dim3 block_index() { return current->block->index; }
dim3 block_shape() { return run->grid->block; }
dim3 grid_shape() { return run->grid->grid; }

}  // namespace unroll::gpu_on_cpu
