#include "models/cli/open_model.h"

#include <utility>

#include "host/io/checkpoint.h"
#include "host/io/run_dir.h"
#include "host/ngram/ngram_model.h"
#include "host/train/memory_estimate.h"
#include "host/train/weights_file.h"
#include "kernels/base/error.h"
#include "models/cli/adapted.h"
#include "models/cli/bare_model.h"
#include "models/cli/open_ngram.h"
#include "models/registry.h"

namespace unroll::cli {
namespace {

// The vocabulary in the file, or the one given for a file that has none.
Vocab open_vocab(const ModelFile& file, const UseOptions& use) {
  const std::string& path = file.file().path();
  if (use.vocab.empty()) {
    if (!use.unit.empty())
      throw Error(ErrorKind::usage, "--unit " + use.unit + " is for --vocab FILE; leave it out");
    if (!has_vocab(file))
      throw Error(ErrorKind::model,
                  path +
                      ": has no vocabulary; give --vocab FILE with one word per line, in "
                      "the order of the embedding's rows");
    return Vocab::deserialize(file.vocab(), path);
  }
  Vocab vocab =
      Vocab::read_file(use.vocab, parse_unit(use.unit.empty() ? "word" : use.unit), "--vocab");
  if (has_vocab(file)) {
    const Vocab own = Vocab::deserialize(file.vocab(), path);
    if (own.hash() != vocab.hash())
      throw Error(ErrorKind::model, "--vocab " + use.vocab + ": hash " + vocab.hash() + ", but " +
                                        path + " holds a vocabulary with hash " + own.hash() +
                                        "; leave --vocab out");
  }
  const TensorInfo* words = file.file().find("encoder.weight");
  if (words && words->shape.size() == 2 && words->shape[0] != vocab.size())
    throw Error(ErrorKind::model,
                "--vocab " + use.vocab + ": " + std::to_string(vocab.size()) +
                    " words, <eos> and <unk> included, but encoder.weight in " + path + " is " +
                    words->shape_text() +
                    ": one row per word is needed; list <eos> and <unk> where the model "
                    "had them");
  return vocab;
}

// The settings in the file, or those that its shapes show.
Config open_config(const ModelFile& file, const std::string& cell) {
  if (!file.has_config()) return infer_config(file, cell);
  const Config config = file.config();
  if (!cell.empty() && cell != config.cell)
    throw Error(ErrorKind::usage, "--cell " + cell + ": " + file.file().path() + " says that its " +
                                      "cell is " + config.cell + "; leave it out");
  return config;
}

class NeuralModel final : public OpenModel {
 public:
  NeuralModel(const std::string& path, const UseOptions& use)
      : file_(path),
        config_(open_config(file_, use.cell)),
        vocab_(open_vocab(file_, use)),
        device_(Device::parse(use.device, use.threads)),
        arithmetic_(parse_precision(use.precision, device_)),
        backend_(device_, arithmetic_.matmul),
        eager_(use.eager) {
    if (config_.softmax == "auto") config_.softmax = "full";  // of a file that does not say
    // How the training run walked through time is no property of its model.
    const std::string schedule = std::exchange(config_.schedule, "auto");
    const std::string wavefront = std::exchange(config_.wavefront, "auto");
    model_ = make_model(config_, vocab_, params_);
    config_.schedule = schedule;
    config_.wavefront = wavefront;
    require_weights(device_, params_, arithmetic_.act, 0);
    params_.materialize(backend_, arithmetic_.act, 0);
    load_weights(file_, backend_, params_, config_.cell);
  }

  const Vocab& vocab() const override { return vocab_; }
  Reset reset() const override {
    return config_.batching == "sentence" ? Reset::line : Reset::never;
  }

  std::unique_ptr<TokenScorer> scorer(Reset reset, const ScoringShape& shape) override {
    if (adapted_) return adapted_->scorer(reset, shape);
    scheduler_ = scheduler(
        scoring_options(reset, shape, logits_budget(config_.logits_memory, device_), eager_));
    return std::make_unique<NeuralScorer>(backend_, *model_, params_, *scheduler_, vocab_, reset,
                                          shape);
  }
  std::unique_ptr<NextWord> next_word() override {
    scheduler_ = scheduler(scoring_options(Reset::never, {1, 1},
                                           logits_budget(config_.logits_memory, device_), eager_));
    return std::make_unique<NeuralNextWord>(backend_, *model_, params_, *scheduler_, vocab_);
  }

  void adapt(const AdaptOptions& options) override {
    adapted_ = std::make_unique<Adapted>(
        options, Adapted::Parts{backend_, *model_, params_, vocab_, config_, file_.file().path(),
                                logits_budget(config_.logits_memory, device_), eager_});
  }
  nlohmann::json adaptation() const override {
    return adapted_ ? adapted_->json() : nlohmann::json();
  }

  std::string conditions(Reset reset) const override {
    const std::string text =
        reset == Reset::never
            ? "one stream: zero state and <eos> at the start, state carried over lines"
            : "every line from the zero state with <eos>";
    return adapted_ ? text + "; " + adapted_->describe() : text;
  }

  nlohmann::json info() const override {
    nlohmann::json j;
    j["kind"] = "recurrent";
    j["path"] = file_.file().path();
    j["parameters"] = params_.parameters();
    j["cell"] = config_.cell;
    j["layers"] = config_.layers;
    j["emb"] = config_.emb;
    j["hidden"] = config_.hidden;
    j["tied"] = config_.tied;
    j["softmax"] = config_.softmax;
    j["unit"] = name_of(vocab_.unit());
    j["vocabulary"] = vocab_.size();
    j["vocabulary_hash"] = vocab_.hash();
    for (const char* key : {"step", "epoch", "valid_perplexity"})
      if (const std::string value = file_.extra(key); !value.empty()) j[key] = value;
    nlohmann::json& tensors = j["tensors"] = nlohmann::json::array();
    for (const TensorInfo& t : file_.file().tensors())
      tensors.push_back({{"name", t.name}, {"dtype", t.dtype}, {"shape", t.shape}});
    j["config"] = config_.to_toml();
    return j;
  }

 private:
  std::unique_ptr<Scheduler> scheduler(const Scheduler::Options& options) {
    return std::make_unique<Scheduler>(backend_, *model_, params_, nullptr, options);
  }

  ModelFile file_;
  Config config_;
  Vocab vocab_;
  Device device_;
  Arithmetic arithmetic_;
  Backend backend_;
  bool eager_;
  ParamStore params_;
  std::unique_ptr<LanguageModel> model_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Adapted> adapted_;
};

}  // namespace

void OpenModel::adapt(const AdaptOptions&) {
  throw Error(ErrorKind::usage,
              "--cache, --dynamic and --mc-dropout need a neural model, which has hidden states, "
              "gradients and dropout; MODEL is none (--cache-ngram works with any)");
}

Arithmetic parse_precision(const std::string& precision, const Device& device) {
  const bool cuda = device.kind() == DeviceKind::cuda;
  if (precision.empty() || precision == "fp32") return {DType::f32, MatmulMode::f32};
  if (precision == "fp64" && !cuda) return {DType::f64, MatmulMode::f32};
  if (precision == "tf32" && cuda) return {DType::f32, MatmulMode::tf32};
  if (precision == "bf16")
    return cuda ? Arithmetic{DType::bf16, MatmulMode::f32}
                : Arithmetic{DType::f32, MatmulMode::bf16};
  throw Error(ErrorKind::usage, "--precision " + precision + ": " + device.name() + " has " +
                                    (cuda ? "fp32, tf32 and bf16; fp64 wants --device cpu"
                                          : "fp32, bf16 and fp64; tf32 wants a GPU"));
}

std::unique_ptr<OpenModel> open_model(const std::string& argument, const UseOptions& use) {
  if (!use.vocab_of.empty()) return open_model_in(argument, use, vocab_of(use.vocab_of));
  const std::string path = resolve_model(argument);
  if (NgramModel::is_model_file(path)) return open_ngram(path, nullptr);
  return std::make_unique<NeuralModel>(path, use);
}

std::unique_ptr<OpenModel> open_model_in(const std::string& argument, const UseOptions& use,
                                         const Vocab& vocab) {
  const std::string path = resolve_model(argument);
  if (NgramModel::is_model_file(path)) return open_ngram(path, &vocab);
  auto model = std::make_unique<NeuralModel>(path, use);
  if (model->vocab().hash() != vocab.hash())
    throw Error(ErrorKind::model, path + ": its vocabulary (hash " + model->vocab().hash() +
                                      ") is not the one asked for (hash " + vocab.hash() +
                                      "); leave out --vocab-of, or train the model again with it");
  return model;
}

Vocab vocab_of(const std::string& argument) {
  const std::string path = resolve_model(argument);
  if (NgramModel::is_model_file(path)) return NgramModel::open(path).vocab();
  return Vocab::deserialize(ModelFile(path).vocab(), path);
}

}  // namespace unroll::cli
