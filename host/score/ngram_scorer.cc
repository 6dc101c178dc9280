// An n-gram model behind the interfaces of scoring and generating.
#include "host/score/ngram_scorer.h"

#include <cmath>

namespace unroll {

std::vector<NatsLine> NgramScorer::score(const std::vector<TokenLine>& lines) {
  std::vector<NatsLine> nats(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    NgramModel::State state = model_.start();
    nats[i].reserve(lines[i].size());
    for (const int32_t id : lines[i]) nats[i].push_back(-model_.advance(state, id));
  }
  return nats;
}

std::vector<double> NgramNextWord::feed(int32_t token) {
  model_.advance(state_, token);
  std::vector<double> p(size_t(vocab().size()));
  model_.distribution(state_, p);
  for (double& x : p) x = std::log(x);
  return p;
}

}  // namespace unroll
