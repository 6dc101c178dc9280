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

CorpusLoss evaluate_lines(TokenScorer& scorer, const Corpus& corpus) {
  CorpusLoss total;
  std::vector<TokenLine> lines;
  int64_t waiting = 0;
  for (uint64_t n = 0; n < corpus.lines(); ++n) {
    TokenLine& line = lines.emplace_back();
    for (uint64_t i = corpus.line_start(n); i < corpus.line_start(n + 1); ++i)
      line.push_back(corpus[i]);
    waiting += int64_t(line.size());
    if (waiting < scorer.tokens_at_once() && n + 1 < corpus.lines()) continue;
    for (const NatsLine& nats : scorer.score(lines))
      for (double x : nats) total.nats += x;
    total.tokens += waiting;
    waiting = 0;
    lines.clear();
  }
  return total;
}

}  // namespace unroll
