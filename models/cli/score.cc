// unroll score: log-probabilities of a text by corpus, line or word, one record per input line.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>

#include "host/score/text_scorer.h"
#include "kernels/base/error.h"
#include "models/cli/open_mixture.h"
#include "models/cli/score_formats.h"
#include "models/cli/verbs.h"

namespace unroll::cli {
namespace {

struct ScoreFlags {
  std::string model, write_probs, level = "line", format = "text", reset = "line", base = "10";
  std::vector<std::string> files;  // one
  ScoringShape shape;
  MixOptions mix;
  AdaptOptions adapt;
  UseOptions use;
};

int score(const ScoreFlags& f) {
  if (f.files.size() > 1)
    throw Error(ErrorKind::usage, "\"" + f.files[1] + "\": unexpected; score takes one text");
  parse_adaptation(f.adapt);  // so that bad flags are refused before anything is read
  ProbabilityWriter probabilities(f.write_probs);
  const auto model = open_mixture(f.model, f.mix, f.use);
  if (f.adapt.adapts()) model->adapt(f.adapt);
  const auto scorer = model->scorer(parse_reset(f.reset, *model), f.shape);
  TextSource source(f.files, "FILE");
  const LogBase base = parse_log_base(f.base);
  const auto format =
      make_score_format(f.format, f.level, base, f.files[0], model->info().at("kind"));
  score_text(*scorer, source, [&](const ScoredLine& line) {
    format->line(line);
    probabilities.add(line);
  });
  format->end();
  probabilities.write();
  for (const std::string& note : describe_notes(source.notes(), "text"))
    std::fprintf(stderr, "warning: %s\n", note.c_str());
  return 0;
}

}  // namespace

Verb add_score(CLI::App& app) {
  auto f = std::make_shared<ScoreFlags>();
  app.add_option("MODEL", f->model, "run directory or model file")->required();
  app.add_option("FILE", f->files, "text, plain or .gz; - is standard input");
  app.add_option("--level", f->level, "corpus, line or word")
      ->check(CLI::IsMember({"corpus", "line", "word"}));
  app.add_option("--format", f->format,
                 "text, srilm (-debug 1 for line, -debug 2 for word), tsv or json")
      ->check(CLI::IsMember({"text", "srilm", "tsv", "json"}));
  add_reset_option(app, f->reset);
  app.add_option("--log-base", f->base, "10, e or 2; srilm is always 10")
      ->check(CLI::IsMember({"10", "e", "2"}));
  add_shape_options(app, f->shape);
  add_write_probs_option(app, f->write_probs);
  add_adapt_options(app, f->adapt);
  add_mix_options(app, f->mix);
  add_use_options(app, f->use);
  return [f] {
    place_model_and_files(f->model, f->files, f->mix);
    return score(*f);
  };
}

}  // namespace unroll::cli
