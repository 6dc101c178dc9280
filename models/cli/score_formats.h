// How scores are printed: plain text, SRILM's -debug levels, tab-separated values, JSON.
#pragma once

#include <memory>
#include <string>

#include "host/score/text_scorer.h"

namespace unroll::cli {

struct LogBase {
  std::string name;  // "10", "e", "2"
  double nats;       // nats per unit: ln of the base
};
LogBase parse_log_base(const std::string& base);

// Prints to standard output; exactly one record per line of the text at levels line and word, empty
// lines included.
class ScoreFormat {
 public:
  virtual ~ScoreFormat() = default;
  virtual void line(const ScoredLine& line) = 0;
  virtual void end() = 0;  // totals, where the format has them
};

// level: corpus | line | word; format: text | srilm | tsv | json. `source` is what srilm names as the
// origin of each probability, where SRILM itself writes 3gram and the like.
std::unique_ptr<ScoreFormat> make_score_format(const std::string& format, const std::string& level,
                                               const LogBase& base, const std::string& file,
                                               const std::string& source);

}  // namespace unroll::cli
