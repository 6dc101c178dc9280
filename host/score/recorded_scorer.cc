// Recorded probabilities handed out token by token.
#include "host/score/recorded_scorer.h"

#include <fmt/format.h>

#include <cmath>

#include "host/mix/probability_file.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr const char* kFix =
    "write the probabilities of this very text, <eos> of every line included";

}  // namespace

RecordedScorer::RecordedScorer(std::string path, const Vocab& vocab)
    : path_(std::move(path)), vocab_(vocab), p_(read_probabilities(path_)) {}

std::vector<NatsLine> RecordedScorer::score(const std::vector<TokenLine>& lines) {
  std::vector<NatsLine> nats(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    if (p_.size() - next_ < lines[i].size())
      throw Error(ErrorKind::data,
                  fmt::format("{}: holds {} probabilities, the text has more tokens; {}", path_,
                              p_.size(), kFix));
    nats[i].reserve(lines[i].size());
    for (size_t j = 0; j < lines[i].size(); ++j) nats[i].push_back(-std::log(p_[next_++]));
  }
  return nats;
}

void RecordedScorer::end_of_text() {
  if (next_ != p_.size())
    throw Error(ErrorKind::data,
                fmt::format("{}: holds {} probabilities, the text has {} tokens; {}", path_,
                            p_.size(), next_, kFix));
}

}  // namespace unroll
