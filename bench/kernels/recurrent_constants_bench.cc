// What the planner of the recurrent schedules takes for given (planner.h, persistent_plan.h), measured
// with the kernels of recurrent_constants.h and set beside it: the first run on a device says which
// figure is wrong. CUDA only. Names end in the unit; ratio is measured over assumed.
#include "bench/harness/roofline.h"

#if defined(UNROLL_WITH_CUDA)

#include <algorithm>
#include <chrono>

#include "bench/kernels/recurrent_constants.h"
#include "host/device/graph.h"
#include "kernels/recurrent/persistent_plan.h"
#include "kernels/recurrent/planner.h"

namespace unroll::bench {
namespace {

using namespace persistent;

constexpr DeviceFigures kFigures;
constexpr double kClocksPerUs = kClocksPerNs * 1000;

uint32_t* words(const Bench& bench, Bench::Case& c, int64_t n) {
  return static_cast<uint32_t*>(c.array(bench, DType::u32, n).data);
}

// Nanoseconds of one of many equal parts of a launch: the launch itself drops out.
double slope_ns(const Bench& bench, int n, const std::function<void(int)>& body) {
  const double more = bench.median_seconds([&] { body(2 * n); });
  const double less = bench.median_seconds([&] { body(n); });
  return (more - less) / n * 1e9;
}

// --- exchange -----------------------------------------------------------------------------------

void add_exchange(const Bench& bench, const char* name, Exchange how, int groups, int shares,
                  int words_of_block, double assumed_ns) {
  const ExchangeRun shape{how, nullptr, nullptr, nullptr, 0, groups, shares, words_of_block};
  if (resident_groups(shape) < groups) return;
  const int bytes = shares * words_of_block * 4;
  bench.add_figure(std::string("exchange_") + name + "/" + std::to_string(groups) + "x" +
                       std::to_string(shares) + "_blocks/" + std::to_string(bytes) + "_bytes/ns",
                   assumed_ns, [=, &bench](Bench::Case& c) {
                     constexpr int kSteps = 40;
                     const int blocks = groups * shares;
                     const int64_t n =
                         is_in_cluster(how) ? 1 : int64_t(2 * kSteps) * blocks * words_of_block;
                     ExchangeRun run = shape;
                     run.words = words(bench, c, n);
                     run.counter = words(bench, c, 1);
                     run.sums = words(bench, c, int64_t(blocks) * kConstantsThreads);
                     // A step loads its words after they have come; that is not part of the exchange.
                     return slope_ns(bench, kSteps, [&, run](int steps) mutable {
                       run.steps = steps;
                       fill_words(bench.exec().stream, run.words, n, 0xffffffffu);
                       fill_words(bench.exec().stream, run.counter, 1, 0);
                       run_exchange(bench.exec().stream, run);
                     });
                   });
}

void add_exchanges(const Bench& bench) {
  constexpr std::pair<const char*, Exchange> kWays[] = {{"grid_barrier", Exchange::grid_barrier},
                                                        {"counter", Exchange::counter},
                                                        {"watch_all", Exchange::watch_all},
                                                        {"watch_one", Exchange::watch_one}};
  // As good as nothing, and the h of (B,H) = (8,650), (20,650) or (8,1150), (20,1150), (32,2048).
  constexpr int kPayloads[] = {0, 10 << 10, 18 << 10, 46 << 10, 131 << 10};
  for (const int blocks : {32, 72, 128})
    for (const int bytes : kPayloads)
      for (const auto& [name, how] : kWays) {
        const int n = std::max(bytes / 4 / blocks / 4, 1) * 4;
        // The model: the latency, and the loads of the numbers by every block.
        const double loads = std::max(n * blocks * 4 / kIngestBytesPerClock,
                                      double(n) * blocks * 4 * blocks / kL2BytesPerClock) /
                             kClocksPerNs;
        add_exchange(bench, name, how, 1, blocks, n, kExchangeNs + loads);
      }
  // Through distributed shared memory, on most of the device; what does not fit there is left out.
  for (const int shares : {2, 4, 8})
    for (const int bytes : kPayloads) {
      const int n = std::max(bytes / 4 / shares / 4, 1) * 4;
      // The model: the latency, what goes from block to block, and the loads of all of it.
      const double moved =
          ((shares - 1) * n * 4 / kClusterBytesPerClock + shares * n * 4 / kSharedBytesPerClock) /
          kClocksPerNs;
      for (const auto& [name, how] : {std::pair{"cluster_read", Exchange::cluster_read},
                                      std::pair{"cluster_write", Exchange::cluster_write},
                                      std::pair{"cluster_watch", Exchange::cluster_watch}})
        add_exchange(bench, name, how, 128 / shares, shares, n, kClusterNs + moved);
    }
  for (const int groups : {2, 3, 4}) {  // together the numbers of one group of (20,1150)
    const int shares = 128 / groups, n = std::max((46 << 10) / groups / 4 / shares / 4, 1) * 4;
    const double loads = std::max(n * shares * 4 / kIngestBytesPerClock,
                                  double(n) * shares * 4 * groups * shares / kL2BytesPerClock) /
                         kClocksPerNs;
    add_exchange(bench, "watch_one", Exchange::watch_one, groups, shares, n, kExchangeNs + loads);
  }
}

// --- arithmetic ---------------------------------------------------------------------------------

void add_arithmetic(const Bench& bench, int blocks) {
  // f32 multiply-adds that wait for each other: 4 clocks.
  bench.add_figure("clock/MHz", kFigures.clock_mhz, [&bench](Bench::Case& c) {
    float* y = static_cast<float*>(c.array(bench, DType::f32, 32).data);
    const double ns =
        slope_ns(bench, 500, [&](int rounds) { run_clock(bench.exec().stream, y, rounds); });
    return 64 * 4 / ns * 1000;
  });
  for (const bool tf32 : {false, true})
    for (const bool in_shared : {false, true})
      for (const int n_tiles : {1, 2, 3}) {
        // The matrix's words in shared memory, and the numbers of the lanes, read by every warp.
        const double bytes = (in_shared ? 8.0 * 16 * 2 * 512 : 0) + 8.0 * 4 * n_tiles * 512;
        const double clocks =
            std::max(8.0 * 4 * 4 * 2 * n_tiles * kMmaClocks, bytes / kSharedBytesPerClock);
        bench.add_figure(
            std::string("products_") + (tf32 ? "tf32" : "bf16") +
                (in_shared ? "/shared" : "/registers") + "/lanes" + std::to_string(8 * n_tiles) +
                "/ns_per_round",
            clocks / kClocksPerNs, [=, &bench](Bench::Case& c) {
              MathRun run{tf32, in_shared, n_tiles, nullptr, nullptr, nullptr, 0, blocks};
              // Random numbers of [-0.1, 0.1], in the type that the words hold.
              const DType type = tf32 ? DType::f32 : DType::bf16;
              const int64_t per_word = tf32 ? 1 : 2;
              const auto numbers = [&](int64_t n) {
                return static_cast<const uint32_t*>(c.array(bench, type, n * per_word).data);
              };
              run.a = numbers(int64_t(8) * 4 * 4 * 2 * 32 * 4);
              run.b = numbers(int64_t(8) * 4 * n_tiles * 32 * 4);
              run.d =
                  static_cast<float*>(c.array(bench, DType::f32, 8 * 4 * n_tiles * 32 * 4).data);
              return slope_ns(bench, 400, [&](int rounds) {
                run.rounds = rounds;
                run_math(bench.exec().stream, run);
              });
            });
      }
  for (const int n_tiles : {1, 2, 3})
    bench.add_figure("sums_over_warps/lanes" + std::to_string(8 * n_tiles) + "/ns",
                     double(reduce_bytes(n_tiles)) / kSharedBytesPerClock / kClocksPerNs,
                     [=, &bench](Bench::Case& c) {
                       float* total = static_cast<float*>(c.array(bench, DType::f32, 256).data);
                       return slope_ns(bench, 400, [&](int rounds) {
                         run_reduce(bench.exec().stream, total, n_tiles, rounds, blocks);
                       });
                     });
  bench.add_figure("shared_memory/bytes_per_ns", kSharedBytesPerClock * kClocksPerNs,
                   [=, &bench](Bench::Case& c) {
                     uint32_t* sums = words(bench, c, kConstantsThreads);
                     return kSharedWords * 4.0 / slope_ns(bench, 100, [&](int rounds) {
                              run_shared(bench.exec().stream, sums, rounds, blocks);
                            });
                   });
}

// --- L2 -----------------------------------------------------------------------------------------

void add_loads(const Bench& bench, int multiprocessors) {
  bench.add_figure("load_from_l2/ns", kLoadNs, [&bench](Bench::Case& c) {
    // A cycle through 4 MB in leaps that no cache line serves twice in a row.
    constexpr uint32_t kWordsOfChain = 1 << 20, kLeap = 66561;  // odd: all words are visited
    std::vector<uint32_t> next(kWordsOfChain);
    for (uint32_t i = 0; i < kWordsOfChain; ++i) next[i] = (i + kLeap) % kWordsOfChain;
    uint32_t* data = words(bench, c, kWordsOfChain);
    bench.backend().stream().copy(data, next.data(), next.size() * 4);
    bench.backend().stream().synchronize();
    uint32_t* last = words(bench, c, 1);
    return slope_ns(bench, 1000,
                    [&](int steps) { run_chase(bench.exec().stream, data, last, steps); });
  });
  const auto add_ingest = [&](const std::string& name, int blocks, bool own_data, int64_t bytes,
                              double assumed) {
    bench.add_figure("l2_" + name + "/" + std::to_string(bytes >> 10) + "_kB/bytes_per_us", assumed,
                     [=, &bench](Bench::Case& c) {
                       const int64_t vectors = bytes / 16;
                       const int64_t n = own_data ? bytes / 4 * blocks : bytes / 4;
                       const IngestRun of{words(bench, c, n),
                                          words(bench, c, int64_t(blocks) * 256),
                                          vectors,
                                          own_data ? vectors : 0,
                                          0,
                                          blocks};
                       const double ns = slope_ns(bench, 20, [&](int rounds) {
                         IngestRun run = of;
                         run.rounds = rounds;
                         run_ingest(bench.exec().stream, run);
                       });
                       return double(bytes) * blocks / ns * 1000;
                     });
  };
  const double one = kIngestBytesPerClock * kClocksPerUs;
  add_ingest("one_multiprocessor", 1, true, 256 << 10, one);
  // What a chunk of h is to every block, and R, once for each.
  const double all = std::min(kL2BytesPerClock * kClocksPerUs, one * multiprocessors);
  for (const int64_t bytes : {46 << 10, 131 << 10})
    add_ingest("all_the_same", multiprocessors, false, bytes, all);
  add_ingest("all_their_own", multiprocessors, true, 80 << 10,
             std::min(kFigures.l2_bytes_per_us, one * multiprocessors));
  for (const auto& [name, to] :
       {std::pair{"cooperative_launch", Load::nothing},
        std::pair{"cooperative_launch_and_R_to_registers", Load::registers},
        std::pair{"cooperative_launch_and_R_to_shared", Load::shared}})
    bench.add_figure(
        std::string(name) + "/us", kFigures.launch_us, [=, to = to, &bench](Bench::Case& c) {
          uint32_t* data = words(bench, c, int64_t(multiprocessors) * kLoadWords);
          uint32_t* sums = words(bench, c, int64_t(multiprocessors) * kConstantsThreads);
          return slope_ns(bench, 20,
                          [&](int launches) {
                            for (int i = 0; i < launches; ++i)
                              run_load(bench.exec().stream, data, sums, to, multiprocessors);
                          }) /
                 1000;
        });
}

// --- graphs -------------------------------------------------------------------------------------

void add_nodes(const Bench& bench, int multiprocessors) {
  for (const bool early : {false, true})
    for (const int blocks : {1, multiprocessors})
      bench.add_figure(std::string(early ? "node_gap_early_start" : "node_gap") + "/" +
                           std::to_string(blocks) + "_blocks/us",
                       early ? kFigures.early_gap_us : kFigures.node_gap_us,
                       [=, &bench](Bench::Case& c) {
                         uint32_t* counter = words(bench, c, 1);
                         return slope_ns(bench, 100,
                                         [&](int nodes) {
                                           for (int i = 0; i < nodes; ++i)
                                             run_node(bench.exec().stream, counter, blocks, early);
                                         }) /
                                1000;
                       });
  for (const int nodes : {60, 1000})  // no part of the model
    bench.add_figure("capture_of_a_graph/" + std::to_string(nodes) + "_nodes/us", 0,
                     [=, &bench](Bench::Case& c) {
                       uint32_t* counter = words(bench, c, 1);
                       std::vector<double> us;
                       for (int turn = 0; turn < 5; ++turn) {
                         const auto start = std::chrono::steady_clock::now();
                         const Graph graph = Graph::capture(bench.backend().stream(), [&] {
                           for (int i = 0; i < nodes; ++i)
                             run_node(bench.exec().stream, counter, 1, false);
                         });
                         us.push_back(std::chrono::duration<double, std::micro>(
                                          std::chrono::steady_clock::now() - start)
                                          .count());
                       }
                       std::nth_element(us.begin(), us.begin() + 2, us.end());
                       return us[2];
                     });
  bench.add_figure("fill_of_13_MB/us", 0, [&bench](Bench::Case& c) {
    constexpr int64_t kWordsOfFill = 13 << 18;
    uint32_t* data = words(bench, c, kWordsOfFill);
    return slope_ns(bench, 5,
                    [&](int turns) {
                      for (int i = 0; i < turns; ++i)
                        fill_words(bench.exec().stream, data, kWordsOfFill, 0xffffffffu);
                    }) /
           1000;
  });
}

}  // namespace

void add_recurrent_constants(const Bench& bench) {
  if (!bench.on_cuda()) return;
  const int multiprocessors = bench.exec().sm_count;
  add_arithmetic(bench, multiprocessors);
  add_loads(bench, multiprocessors);
  add_nodes(bench, multiprocessors);
  add_exchanges(bench);
}

}  // namespace unroll::bench

#else

namespace unroll::bench {
void add_recurrent_constants(const Bench&) {}
}  // namespace unroll::bench

#endif
