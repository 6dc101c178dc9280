// unroll score: log-probabilities of a text by corpus, line or word, one record per input line.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>

#include "host/io/metrics.h"
#include "host/score/text_scorer.h"
#include "kernels/base/error.h"
#include "models/cli/score_formats.h"
#include "models/cli/verbs.h"

namespace unroll::cli {
namespace {

struct ScoreFlags {
  std::string model, file, level = "line", format = "text", reset = "line", base = "10";
  ScoringShape shape;
  UseOptions use;
};

int score(const ScoreFlags& f) {
  const auto model = open_model(f.model, f.use);
  const auto scorer = model->scorer(parse_reset(f.reset), f.shape);
  TextSource source({f.file}, "FILE");
  const LogBase base = parse_log_base(f.base);
  const auto format = make_score_format(f.format, f.level, base, f.file);
  score_text(*scorer, source, [&](const ScoredLine& line) { format->line(line); });
  format->end();
  for (const std::string& note : describe_notes(source.notes(), "text"))
    std::fprintf(stderr, "warning: %s\n", note.c_str());
  return 0;
}

}  // namespace

Verb add_score(CLI::App& app) {
  auto f = std::make_shared<ScoreFlags>();
  app.add_option("MODEL", f->model, "run directory or model file")->required();
  app.add_option("FILE", f->file, "text, plain or .gz; - is standard input")->required();
  app.add_option("--level", f->level, "corpus, line or word")
      ->check(CLI::IsMember({"corpus", "line", "word"}));
  app.add_option("--format", f->format, "text, srilm (-debug 1 for line, -debug 2 for word), tsv or json")
      ->check(CLI::IsMember({"text", "srilm", "tsv", "json"}));
  add_reset_option(app, f->reset);
  app.add_option("--log-base", f->base, "10, e or 2; srilm is always 10")
      ->check(CLI::IsMember({"10", "e", "2"}));
  app.add_option("--batch", f->shape.B, "lines side by side; does not change the result");
  app.add_option("--bptt", f->shape.T, "steps at a time; does not change the result");
  add_use_options(app, f->use);
  return [f] { return score(*f); };
}

}  // namespace unroll::cli
