// Loss of a whole corpus under a model.
#pragma once

#include "host/data/chunk.h"
#include "host/data/corpus.h"
#include "host/score/token_scorer.h"
#include "host/train/scheduler.h"

namespace unroll {

struct CorpusLoss {
  double nats = 0;                                       // sum of -log p over scored tokens
  int64_t tokens = 0;                                    // scored
  double loss() const { return nats / double(tokens); }  // nats per token
};

// Runs over all chunks of the source from the zero state. With one lane of the evaluation form
// (host/data/lanes.h) that is the exact figure to report: one stream, <eos> read first, every token
// scored. With B lanes it starts B times from the zero state: cheaper, for validation during
// training.
CorpusLoss evaluate_corpus(Scheduler& scheduler, const State& state, ChunkSource& source);

// The same through a scorer, line by line.
CorpusLoss evaluate_lines(TokenScorer& scorer, const Corpus& corpus);

}  // namespace unroll
