// unroll eval: perplexity of a text, with its denominators.
#include <fmt/format.h>

#include <cstdio>

#include "host/io/metrics.h"
#include "host/score/text_scorer.h"
#include "kernels/base/error.h"
#include "models/cli/open_mixture.h"
#include "models/cli/verbs.h"

namespace unroll::cli {
namespace {

struct EvalFlags {
  std::string model, reset, ppl_per = "token";
  std::vector<std::string> files;
  ScoringShape shape;
  bool json = false;
  std::string write_probs;
  MixOptions mix;
  AdaptOptions adapt;
  UseOptions use;
};

int evaluate(const EvalFlags& f) {
  parse_adaptation(f.adapt);  // so that bad flags are refused before anything is read
  ProbabilityWriter probabilities(f.write_probs);
  const auto model = open_mixture(f.model, f.mix, f.use);
  if (f.adapt.adapts()) model->adapt(f.adapt);
  const Reset reset = parse_reset(f.reset, *model);
  const auto scorer = model->scorer(reset, f.shape);
  TextSource source(f.files, "FILE");
  TextTotals t;
  score_text(*scorer, source, [&](const ScoredLine& line) {
    t.add(line);
    probabilities.add(line);
  });
  for (const std::string& note : describe_notes(source.notes(), "text"))
    std::fprintf(stderr, "warning: %s\n", note.c_str());
  if (t.tokens == 0)
    throw Error(ErrorKind::data, f.files.front() + ": the text is empty; nothing to score");
  probabilities.write();

  const int64_t units = f.ppl_per == "char"   ? t.characters
                        : f.ppl_per == "word" ? t.words
                                              : t.tokens;
  if (units == 0) throw Error(ErrorKind::data, f.files.front() + ": no words; use --ppl-per token");
  const int64_t known = t.tokens - t.unknown;
  const double ppl = perplexity(t.nats, units);
  const double ppl_known = perplexity(t.nats - t.nats_unknown, known);
  const std::string hash = model->vocab().hash();
  if (f.json) {
    nlohmann::json j = {{"lines", t.lines},
                        {"tokens", t.tokens},
                        {"words", t.words},
                        {"characters", t.characters},
                        {"unknown", t.unknown},
                        {"nats", t.nats},
                        {"nats_unknown", t.nats_unknown},
                        {"per", f.ppl_per},
                        {"denominator", units},
                        {"ppl", ppl},
                        {"ppl_without_unknown", ppl_known},
                        {"bits", bits_per_unit(t.nats, units)},
                        {"eos_counted", true},
                        {"reset", reset == Reset::line ? "line" : "never"},
                        {"vocabulary_hash", hash}};
    if (const nlohmann::json adaptation = model->adaptation(); !adaptation.is_null())
      j["adaptation"] = adaptation;
    for (const MixturePart& part : model->parts())
      j["mixture"].push_back({{"part", part.name}, {"weight", part.weight}});
    std::printf("%s\n", j.dump().c_str());
    return 0;
  }
  fmt::print("ppl {:.2f} per {} ({} {}), {:.4f} bits\n", ppl, f.ppl_per, with_commas(units),
             f.ppl_per == "token"  ? "tokens, one <eos> per line among them"
             : f.ppl_per == "word" ? "words, line ends not counted"
                                   : "characters, line ends counted",
             bits_per_unit(t.nats, units));
  fmt::print("{} lines, {} words, {} characters; {} tokens scored, loss {:.1f} nats\n",
             with_commas(t.lines), with_commas(t.words), with_commas(t.characters),
             with_commas(t.tokens), t.nats);
  fmt::print(
      "{} tokens not in the vocabulary, read as <unk> ({:.2f}%); ppl per token without them {:.2f} "
      "({} tokens)\n",
      with_commas(t.unknown), 100.0 * double(t.unknown) / double(t.tokens), ppl_known,
      with_commas(known));
  for (const MixturePart& part : model->parts())
    fmt::print("weight {:.6f} {}\n", part.weight, part.name);
  fmt::print("{}; vocabulary {}\n", model->conditions(reset), hash);
  return 0;
}

}  // namespace

Verb add_eval(CLI::App& app) {
  auto f = std::make_shared<EvalFlags>();
  app.add_option("MODEL", f->model, "run directory or model file")->required();
  app.add_option("FILE", f->files, "texts, plain or .gz; - is standard input");
  add_shape_options(app, f->shape);
  add_reset_option(app, f->reset);
  app.add_option("--ppl-per", f->ppl_per, "what the perplexity is per: token, word or char")
      ->check(CLI::IsMember({"token", "word", "char"}));
  app.add_flag("--json", f->json, "one JSON object");
  add_write_probs_option(app, f->write_probs);
  add_adapt_options(app, f->adapt);
  add_mix_options(app, f->mix);
  add_use_options(app, f->use);
  return [f] {
    place_model_and_files(f->model, f->files, f->mix);
    return evaluate(*f);
  };
}

}  // namespace unroll::cli
