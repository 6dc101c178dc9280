#include "host/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>

#include "host/data/lanes.h"
#include "host/data/sentences.h"
#include "host/io/plot.h"
#include "host/optim/lr_schedule.h"
#include "host/score/generator.h"
#include "host/score/neural_scorer.h"
#include "host/train/memory_estimate.h"
#include "host/train/weights_file.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr double kReportEvery = 0.5;    // seconds between progress reports
constexpr int64_t kNonfiniteLimit = 10;  // skipped updates in a row that mean divergence
constexpr int kMaxRollbacks = 3;         // the third ends the run
constexpr int kSampleWords = 40;

double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Trainer::Trainer(const Setup& setup) : s_(setup), config_(*setup.config) {
  const Backend& backend = *s_.backend;
  source_ = training_source();
  OptimizerSettings settings;
  settings.rule = config_.optimizer == "adam" ? OptimizerSettings::Rule::adam
                                              : OptimizerSettings::Rule::sgd;
  settings.decay = config_.weight_decay;
  settings.beta1 = config_.beta1;
  settings.beta2 = config_.beta2;
  settings.eps = config_.eps;
  optimizer_ = std::make_unique<Optimizer>(backend, *s_.params, settings);

  const int B = int(config_.batch), lanes = int(config_.eval_batch);
  const int stream_T = B * int(config_.bptt), eval_T = std::max(8, int(config_.bptt));
  Scheduler::Options options;
  options.max_tokens = std::max({B * source_->max_T(), lanes * eval_T, stream_T});
  options.max_lanes = std::max(B, lanes);
  options.eager = config_.eager;
  options.logits_bytes = size_t(config_.logits_memory);
  scheduler_ = std::make_unique<Scheduler>(backend, *s_.model, *s_.params, optimizer_.get(), options);
  const auto shapes = s_.model->state_shape();
  const DType act = s_.params->act();
  carried_ = State(backend, shapes, B, act);
  valid_state_ = State(backend, shapes, lanes, act);
  stream_state_ = State(backend, shapes, 1, act);
  check_memory();
}

Trainer::~Trainer() = default;

void Trainer::check_memory() {
  MemoryNeeds needs;
  needs.sentences = config_.batching == "sentence";
  needs.T = source_->max_T();
  needs.B = int(config_.batch);
  needs.eval_lanes = int(config_.eval_batch);
  needs.eval_T = int(config_.bptt);
  needs.optimizer = 0;
  for (const Optimizer::Slot& slot : optimizer_->slots()) needs.optimizer += slot.memory->bytes();
  needs.states = carried_.memory().bytes() + valid_state_.memory().bytes() +
                 stream_state_.memory().bytes();
  needs.logits_bytes = size_t(config_.logits_memory);
  estimate_ = estimate_memory(*s_.backend, *s_.params, *s_.model, *scheduler_, carried_,
                              valid_state_, needs);
  require_memory(*s_.backend, estimate_);
}

std::unique_ptr<ChunkSource> Trainer::training_source() const {
  const int B = int(config_.batch), T = int(config_.bptt);
  if (config_.batching == "sentence") {
    SentenceOptions options;
    options.B = B;
    options.max_T = std::max(8, T);
    options.seed = uint64_t(config_.seed);
    return std::make_unique<Sentences>(*s_.data.train, options);
  }
  return std::make_unique<Lanes>(*s_.data.train, B, T, LaneForm::train, "the training text");
}

std::unique_ptr<ChunkSource> Trainer::evaluation_source(const Corpus& corpus, int lanes,
                                                        int T) const {
  if (config_.batching == "sentence") {
    SentenceOptions options;
    options.B = lanes;
    options.max_T = std::max(8, T);
    options.order = SentenceOrder::plain;
    return std::make_unique<Sentences>(corpus, options);
  }
  return std::make_unique<Lanes>(corpus, lanes, T, LaneForm::evaluate, "the validation text");
}

double Trainer::rate() const { return learning_rate(config_, state_.epoch) * state_.lr_factor; }

void Trainer::resume() {
  std::string warning;
  state_ = load_training_state(s_.run.state(), *s_.backend, *s_.params, *optimizer_, carried_,
                               s_.data.vocab->hash(), &warning);
  if (!warning.empty()) s_.observer->message("warning: " + warning);
  RunLog::truncate_to_step(s_.run.log(), state_.step);
  state_.finished = false;  // there may be more to do under new limits
}

void Trainer::train_chunk() {
  prefetch_->next(chunk_);
  const bool last_of_epoch = state_.chunk + 1 == chunks_;
  const bool first = micro_ == 0, last = micro_ + 1 == config_.accum || last_of_epoch;
  StepScalars scalars;
  scalars.update = {rate(), config_.clip, double(state_.step + 1)};
  scalars.seed = uint64_t(config_.seed);
  scalars.mask_step = uint64_t(state_.mask_step);
  // The objective sums over time and averages over lanes, or averages over both (recipe key `loss`).
  scalars.weight = 1.0 / (config_.loss == "sum_time" ? double(chunk_.B)
                                                     : double(std::max<int64_t>(1, chunk_.tokens)));
  scalars.weight /= double(config_.accum);
  scheduler_->train(chunk_, carried_, scalars, first, last);
  since_tokens_ += chunk_.tokens;
  session_tokens_ += chunk_.tokens;
  ++state_.mask_step;
  ++state_.chunk;
  micro_ = last ? 0 : micro_ + 1;
  if (last) ++state_.step;
}

void Trainer::collect() {
  for (const StepFigures& step : scheduler_->take_figures()) {
    if (std::isfinite(step.norm2)) {
      state_.nats += step.nats;
      state_.tokens += int64_t(step.tokens);
      if (step.norm2 > 0) {
        state_.norm = std::sqrt(step.norm2);
        state_.nonfinite = 0;
      }
    } else {
      ++state_.nonfinite;
      ++state_.skipped;
    }
  }
  if (state_.nonfinite >= kNonfiniteLimit) roll_back();
}

void Trainer::roll_back() {
  const int64_t step = state_.step;
  ++rollbacks_;
  if (rollbacks_ >= kMaxRollbacks)
    throw Error(ErrorKind::divergence,
                "training diverged at step " + std::to_string(step) + ": " +
                    std::to_string(kMaxRollbacks) +
                    " times the gradient was not finite for " + std::to_string(kNonfiniteLimit) +
                    " updates in a row, at last with learning rate " + std::to_string(rate()) +
                    "; lower --lr or --clip. The last good state is in " + s_.run.state());
  const double factor = state_.lr_factor * 0.5, seconds = state_.seconds;
  prefetch_.reset();
  state_ = load_training_state(s_.run.state(), *s_.backend, *s_.params, *optimizer_, carried_,
                               s_.data.vocab->hash(), nullptr);
  state_.lr_factor = factor;
  state_.seconds = seconds;
  micro_ = 0;
  log_.reset();
  RunLog::truncate_to_step(s_.run.log(), state_.step);
  log_ = std::make_unique<RunLog>(s_.run.log());
  log_->append(LogRecord().add("kind", "rollback").add("step", state_.step).add("lr", rate()));
  chunks_ = source_->chunks(state_.epoch);
  prefetch_ = std::make_unique<Prefetch>(*source_, state_.epoch, state_.chunk);
  s_.observer->message("warning: the gradient was not finite for " +
                       std::to_string(kNonfiniteLimit) + " updates up to step " +
                       std::to_string(step) + "; back to step " + std::to_string(state_.step) +
                       " with learning rate " + std::to_string(rate()));
}

void Trainer::log_training() {
  if (state_.tokens == 0) return;
  const double loss = state_.nats / double(state_.tokens);
  log_->append(LogRecord()
                   .add("kind", "train")
                   .add("step", state_.step)
                   .add("epoch", state_.epoch + 1)
                   .add("loss", loss)
                   .add("ppl", std::exp(loss))
                   .add("norm", state_.norm)
                   .add("lr", rate())
                   .add("words_per_second", shown_rate_)
                   .add("seconds", state_.seconds));
  events_->scalar("train/loss", loss, state_.step);
  events_->scalar("train/lr", rate(), state_.step);
  events_->scalar("train/norm", state_.norm, state_.step);
  report(true);
  state_.nats = 0;
  state_.tokens = 0;
}

void Trainer::report(bool logged) {
  TrainObserver::Progress p{};
  p.epoch = state_.epoch + 1;
  p.epochs = config_.epochs;
  p.chunk = state_.chunk;
  p.chunks = chunks_;
  p.step = state_.step;
  p.loss = state_.tokens ? state_.nats / double(state_.tokens) : NAN;
  p.words_per_second = shown_rate_;
  p.lr = rate();
  p.norm = state_.norm;
  p.eta_seconds = -1;
  if (config_.epochs > 0 && state_.mask_step > 0) {
    const double done = double(state_.epoch) + double(state_.chunk) / double(chunks_);
    if (done > 0) p.eta_seconds = state_.seconds * (double(config_.epochs) - done) / done;
  }
  p.logged = logged;
  s_.observer->progress(p);
}

void Trainer::validate() {
  const double start = now();
  auto source = evaluation_source(*s_.data.valid, int(config_.eval_batch), int(config_.bptt));
  const double loss = evaluate_corpus(*scheduler_, valid_state_, *source).loss();
  last_validation_ = state_.step;
  const bool best = loss < state_.best_loss;
  if (best) {
    state_.best_loss = loss;
    state_.best_step = state_.step;
    state_.best_epoch = state_.epoch + 1;
    state_.stalled = state_.lr_stalled = 0;
    save_model(s_.run.model(), *s_.backend, *s_.params, config_, *s_.data.vocab,
               {{"step", std::to_string(state_.step)},
                {"epoch", std::to_string(state_.epoch + 1)},
                {"valid_perplexity", std::to_string(std::exp(loss))}});
  } else {
    ++state_.stalled;
    if (config_.schedule == "plateau" && ++state_.lr_stalled >= config_.patience_lr) {
      state_.lr_factor *= config_.lr_factor;
      state_.lr_stalled = 0;
    }
  }
  log_->append(LogRecord()
                   .add("kind", "valid")
                   .add("step", state_.step)
                   .add("epoch", state_.epoch + 1)
                   .add("loss", loss)
                   .add("ppl", std::exp(loss))
                   .add("best_ppl", std::exp(state_.best_loss))
                   .add("stalled", state_.stalled)
                   .add("seconds", state_.seconds));
  events_->scalar("valid/loss", loss, state_.step);
  TrainObserver::Validation v{};
  v.epoch = state_.epoch + 1;
  v.step = state_.step;
  v.loss = loss;
  v.best_loss = state_.best_loss;
  v.best_epoch = state_.best_epoch;
  v.stalled = state_.stalled;
  v.patience = config_.patience;
  v.seconds = now() - start;
  v.is_best = best;
  v.lanes = int(config_.eval_batch);
  s_.observer->validation(v);
}

void Trainer::write_sample() {
  NeuralNextWord next(*s_.backend, *s_.model, *s_.params, *scheduler_, *s_.data.vocab);
  SamplingOptions options;
  options.length = s_.data.vocab->unit() == Unit::word ? kSampleWords : 5 * kSampleWords;
  options.temperature = 0.8;
  options.seed = uint64_t(config_.seed);
  const Generated text = generate(next, {}, options, int(state_.epoch));
  const std::string words = s_.data.vocab->decode(text.ids);
  std::ofstream(s_.run.samples(), std::ios::app)
      << "--- step " << state_.step << "\n" << words << "\n";
  s_.observer->sample(words);
}

void Trainer::save() {
  collect();
  last_save_ = now();
  // While updates are being skipped the carried state is no good: the former file stays the one to go back to.
  if (state_.nonfinite > 0) return;
  save_training_state(s_.run.state(), state_, *s_.backend, *s_.params, *optimizer_, carried_,
                      config_, s_.data.vocab->hash());
}

void Trainer::finish_epoch() {
  collect();
  validate();
  ++state_.epoch;
  state_.chunk = 0;
  chunks_ = source_->chunks(state_.epoch);
  save();
  write_sample();
  write_plot(s_.run.log(), s_.run.plot(), s_.run.path);
}

bool Trainer::should_stop(TrainResult::Why* why) const {
  using Why = TrainResult::Why;
  const auto because = [&](Why w) {
    *why = w;
    return true;
  };
  if (s_.stop && s_.stop->load() != 0) return because(Why::stopped);
  if (config_.max_steps > 0 && state_.step >= config_.max_steps) return because(Why::max_steps);
  if (config_.max_time > 0 && state_.seconds >= config_.max_time) return because(Why::max_time);
  if (state_.chunk != 0) return false;
  if (config_.epochs > 0 && state_.epoch >= config_.epochs) return because(Why::epochs);
  if (config_.patience > 0 && state_.stalled >= config_.patience) return because(Why::patience);
  return false;
}

TrainResult Trainer::run() {
  log_ = std::make_unique<RunLog>(s_.run.log());
  events_ = std::make_unique<EventWriter>(s_.run.tensorboard(), state_.step > 0 ? state_.step : -1);
  chunks_ = source_->chunks(state_.epoch);
  prefetch_ = std::make_unique<Prefetch>(*source_, state_.epoch, state_.chunk);
  // A first state, so that there is always one to go back to, and so that a full disk shows now.
  if (state_.step == 0) save();
  last_save_ = last_report_ = now();

  TrainResult result;
  double lap = now();
  while (!should_stop(&result.why)) {
    train_chunk();
    if (micro_ != 0) continue;
    const double t = now();
    state_.seconds += t - lap;
    since_seconds_ += t - lap;
    session_seconds_ += t - lap;
    lap = t;
    const bool log_now = config_.log_every > 0 && state_.step % config_.log_every == 0;
    if (log_now || t - last_report_ >= kReportEvery) {
      collect();
      if (since_seconds_ > 0) shown_rate_ = double(since_tokens_) / since_seconds_;
      since_tokens_ = 0;
      since_seconds_ = 0;
      last_report_ = t;
      if (log_now)
        log_training();
      else
        report(false);
    }
    if (state_.chunk == chunks_) {
      finish_epoch();
      lap = now();
    } else if (config_.save_every > 0 && now() - last_save_ >= config_.save_every) {
      save();
      lap = now();
    }
  }
  save();
  result.words_per_second = session_seconds_ > 0 ? double(session_tokens_) / session_seconds_ : 0;
  if (result.why == TrainResult::Why::stopped) {
    result.state = state_;
    return result;
  }
  if (last_validation_ != state_.step && state_.step > state_.best_step) {
    validate();
    save();
    write_plot(s_.run.log(), s_.run.plot(), s_.run.path);
  }

  // The figures to report: the best model, one stream, every token.
  load_weights(ModelFile(s_.run.model()), *s_.backend, *s_.params, config_.cell);
  const int T = int(config_.batch * config_.bptt);
  const auto whole = [&](const Corpus& corpus) {
    const bool sentences = config_.batching == "sentence";
    auto source = evaluation_source(corpus, sentences ? int(config_.eval_batch) : 1,
                                    sentences ? int(config_.bptt) : T);
    return evaluate_corpus(*scheduler_, sentences ? valid_state_ : stream_state_, *source);
  };
  result.valid = whole(*s_.data.valid);
  if (s_.data.test) result.test = whole(*s_.data.test);
  LogRecord end;
  end.add("kind", "end").add("step", state_.step).add("valid_ppl", std::exp(result.valid.loss()));
  if (s_.data.test) end.add("test_ppl", std::exp(result.test.loss()));
  end.add("seconds", state_.seconds);
  log_->append(end);
  result.state = state_;
  return result;
}

}  // namespace unroll
