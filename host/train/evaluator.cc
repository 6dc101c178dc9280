#include "host/train/evaluator.h"

namespace unroll {

CorpusLoss evaluate_corpus(Scheduler& scheduler, const State& state, ChunkSource& source) {
  CorpusLoss total;
  HostChunk chunk;
  const int64_t chunks = source.chunks(0);
  for (int64_t k = 0; k < chunks; ++k) {
    source.fill(0, k, chunk);
    scheduler.evaluate(chunk, state);
  }
  for (const StepFigures& step : scheduler.take_figures()) {
    total.nats += step.nats;
    total.tokens += int64_t(step.tokens);
  }
  return total;
}

}  // namespace unroll
