// Output layers of every kind with their losses, as a training step and as evaluation run them: the op
// of host/ops and its way back.
//
//   output_layer/KIND/train|evaluate/SIZES
//
// mixture: K softmaxes over latent vectors. Work counts the products that the kind cannot do without;
// for adaptive, in which those depend on the text, the bytes of its weights alone.
#include <cmath>

#include "bench/harness/roofline.h"
#include "host/memory/arena.h"
#include "host/ops/mixture_softmax.h"
#include "host/tape/tape.h"
#include "kernels/elementwise/add.h"
#include "models/output_layer.h"

namespace unroll::bench {
namespace {

using Kind = OutputLayer::Kind;

struct Size {
  int N, D, V;
};

// Targets as Zipf's law has them: ln(id + 1) is uniform.
std::vector<int32_t> zipf(int N, int V) {
  std::vector<int32_t> ids(static_cast<size_t>(N));
  uint32_t state = 1;
  for (int32_t& id : ids) {
    state = state * 1664525u + 1013904223u;
    id = int32_t(std::min(double(V) - 1, std::exp(std::log(double(V)) * state / 4294967296.0) - 1));
  }
  return ids;
}

// Runs a loss over a tape: once to measure its memory, then again and again.
void add_layer(
    const Bench& bench, const std::string& name, const Size& s, bool train,
    std::function<std::function<Tensor(Tape&, const Var&, const Chunk&)>(ParamStore&)> declare,
    std::function<Work(double bytes_of_weights)> work) {
  const auto [N, D, V] = s;
  bench.add("output_layer/" + name + (train ? "/train" : "/evaluate") + "/N" + std::to_string(N) +
                "/D" + std::to_string(D) + "/V" + std::to_string(V),
            [=, N = N, D = D, V = V, &bench](Bench::Case& c) {
              auto params = std::make_shared<ParamStore>();
              const auto loss = declare(*params);
              params->materialize(bench.backend(), bench.act(), 1);
              auto arena = std::make_shared<Arena>(bench.backend().device());
              Chunk chunk;
              chunk.T = N;
              chunk.B = 1;
              chunk.target = c.ids(bench, N, V);
              const std::vector<int32_t> ids = zipf(N, V);
              bench.backend().stream().copy(chunk.target.data, ids.data(), ids.size() * 4);
              chunk.weight = c.array(bench, DType::f32, N);
              chunk.logits_bytes = size_t(bench.on_cuda() ? 16384 : 256) << 20;
              const View1 counter = c.array(bench, DType::u64, 2);
              const View2 x = c.array(bench, bench.act(), N, D);
              const DType act = bench.act();
              const auto body = [=](const Exec& exec) {
                const Mode mode = train ? Mode::training() : Mode::evaluation();
                Tape tape(exec, *arena, *params, mode, counter);
                const Var input = tape.var(tape.tensor(act, {N, 1, D}));
                add_scaled(exec, {.y = input.matrix(), .x = x});
                const Tensor nll = loss(tape, input, chunk);
                if (train) tape.backward();
              };
              arena->begin_measuring();
              body(bench.backend().measuring());
              const size_t bytes = arena->end_measuring();
              arena->reserve(bytes);
              c.label = std::to_string(bytes) + " bytes beside the weights";
              c.work = work(double(params->bytes(bench.act())));
              c.body = [=, exec = bench.exec()] { body(exec); };
            });
}

}  // namespace

void add_output_layers(const Bench& bench) {
  const Size s = bench.quick()     ? Size{60, 24, 507}
                 : bench.on_cuda() ? Size{4480, 1024, 267735}
                                   : Size{700, 200, 33278};
  const auto [N, D, V] = s;
  for (const auto& [name, kind] :
       {std::pair{"full", Kind::full}, std::pair{"adaptive", Kind::adaptive},
        std::pair{"sampled", Kind::sampled}, std::pair{"nce", Kind::nce},
        std::pair{"class", Kind::classes}}) {
    OutputLayer::Config config;
    config.kind = kind;
    config.cutoffs = {V / 30, V / 6};
    config.samples = bench.quick() ? 32 : 1024;
    if (kind == Kind::sampled || kind == Kind::nce) config.q = log_uniform(V);
    if (kind == Kind::classes) {
      std::vector<uint64_t> counts(static_cast<size_t>(V));
      for (int w = 0; w < V; ++w) counts[size_t(w)] = uint64_t(1e9 / (w + 1));
      config.bounds = class_bounds(counts, int64_t(std::sqrt(double(V))));
    }
    for (const bool train : {true, false}) {
      const auto declare = [=, V = V, D = D](ParamStore& p) {
        auto layer = std::make_shared<OutputLayer>(config, p, V, D, Param{}, 0.1);
        return [layer](Tape& tape, const Var& x, const Chunk& chunk) {
          return layer->loss(tape, x, chunk);
        };
      };
      const auto work = [=, N = N, D = D, V = V, kind = kind](double weights) {
        const double products = (train ? 6.0 : 2.0) * N * D;
        const bool all = kind == Kind::full || (!train && kind != Kind::classes);
        const double words = kind == Kind::adaptive  ? 0.0
                             : all                   ? double(V)
                             : kind == Kind::classes ? std::sqrt(double(V))
                                                     : double(config.samples);
        return Work{.bytes = kind == Kind::adaptive || all ? weights : 0.0,
                    .flops = products * words};
      };
      add_layer(bench, name, s, train, declare, work);
    }
  }
  // AWD-LSTM-MoS on the Penn Treebank; a smaller one where a CPU runs it.
  const Size mixture = bench.quick()     ? Size{60, 24, 507}
                       : bench.on_cuda() ? Size{840, 620, 10000}
                                         : Size{140, 200, 10000};
  const int K = 15, E = mixture.D * 280 / 620;
  for (const bool train : {true, false}) {
    const auto declare = [=](ParamStore& p) {
      MixtureHead head;
      head.K = K;
      head.prior = p.add("prior", K, mixture.D, uniform(0.1));
      head.W = p.add("latent.weight", int64_t(K) * E, mixture.D, uniform(0.1));
      head.b = p.add("latent.bias", int64_t(K) * E, 0, zero());
      head.W_o = p.add("decoder.weight", mixture.V, E, uniform(0.1));
      head.b_o = p.add("decoder.bias", mixture.V, 0, zero());
      head.dropout = 0.29;
      return [head](Tape& tape, const Var& x, const Chunk& chunk) {
        return mixture_softmax_xent(tape, head, x, chunk.target, chunk.weight, chunk.logits_bytes);
      };
    };
    const auto work = [=](double) {
      return Work{.bytes = 0.0,
                  .flops = (train ? 6.0 : 2.0) * mixture.N * K * E *
                           (double(mixture.V) + double(mixture.D))};
    };
    add_layer(bench, "mixture" + std::to_string(K), mixture, train, declare, work);
  }
}

}  // namespace unroll::bench
