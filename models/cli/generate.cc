// unroll generate: text drawn from a model.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <limits>

#include "host/score/generator.h"
#include "kernels/base/error.h"
#include "models/cli/open_mixture.h"
#include "models/cli/verbs.h"

namespace unroll::cli {
namespace {

struct GenerateFlags {
  std::string model, prompt;
  int n = 1;
  SamplingOptions sampling;
  bool show_logprob = false;
  MixOptions mix;
  UseOptions use;
};

int run(const GenerateFlags& f) {
  check_sampling(f.sampling);
  if (f.n < 1)
    throw Error(ErrorKind::usage, "-n " + std::to_string(f.n) + ": has to be at least 1");
  const auto model = open_mixture(f.model, f.mix, f.use);
  const auto next = model->next_word();
  const Vocab& vocab = model->vocab();
  std::vector<int32_t> prompt;
  std::vector<uint32_t> unknown;
  vocab.encode(f.prompt, prompt, &unknown, "--prompt");
  const std::vector<std::string_view> words = split_tokens(vocab.unit(), f.prompt);
  for (uint32_t position : unknown)
    std::fprintf(stderr,
                 "warning: \"%s\", %s %u of the prompt, is not in the vocabulary; read as <unk>\n",
                 escape_token(words[position]).c_str(), name_of(vocab.unit()), position + 1);
  for (int sample = 0; sample < f.n; ++sample) {
    const Generated g = generate(*next, prompt, f.sampling, sample);
    std::vector<int32_t> all = g.prompt;
    all.insert(all.end(), g.ids.begin(), g.ids.end());
    std::string text = vocab.decode(all);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    double nats = 0;
    for (double x : g.nats) nats += x;
    if (f.show_logprob)
      fmt::print("[log p {:.4f} nats, {} tokens, ppl {:.2f}]\n", -nats, g.nats.size(),
                 std::exp(nats / std::max<double>(1, double(g.nats.size()))));
    std::printf("%s\n%s", text.c_str(), sample + 1 < f.n ? "\n" : "");
  }
  return 0;
}

}  // namespace

Verb add_generate(CLI::App& app) {
  auto f = std::make_shared<GenerateFlags>();
  app.add_option("MODEL", f->model, "run directory or model file")->required();
  app.add_option("--prompt", f->prompt, "text to go on from");
  app.add_option("-n", f->n, "how many texts")->capture_default_str();
  app.add_option("--length", f->sampling.length, "tokens per text, at most")->capture_default_str();
  app.add_option("--temperature", f->sampling.temperature, "above 1 is wilder, below 1 tamer")
      ->capture_default_str();
  app.add_option("--top-k", f->sampling.top_k, "draw from the k likeliest words only; 0: all");
  app.add_option("--top-p", f->sampling.top_p,
                 "draw from the smallest set of words with this probability");
  app.add_flag("--greedy", f->sampling.greedy, "always the likeliest word");
  app.add_flag("--allow-unk", f->sampling.allow_unk, "let <unk> be drawn");
  app.add_flag("--until-eos", f->sampling.until_eos, "stop at the first line end");
  app.add_option("--seed", f->sampling.seed, "the same seed gives the same texts")
      ->check(CLI::Range(int64_t(0), std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  app.add_flag("--show-logprob", f->show_logprob, "print each text's log-probability");
  add_mix_options(app, f->mix);
  add_use_options(app, f->use);
  return [f] { return run(*f); };
}

}  // namespace unroll::cli
