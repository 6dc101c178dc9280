#include "host/train/trainer.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "host/data/lanes.h"
#include "host/data/sentences.h"
#include "host/device/clock.h"
#include "host/io/plot.h"
#include "host/optim/lr_schedule.h"
#include "host/score/neural_scorer.h"
#include "host/train/memory_estimate.h"
#include "host/train/weights_file.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr double kReportEvery = 0.5;     // seconds between progress reports
constexpr int64_t kNonfiniteLimit = 10;  // skipped updates in a row that mean divergence

}  // namespace

Trainer::Trainer(const Setup& setup) : s_(setup), config_(*setup.config), writer_(*setup.backend) {
  static TrainObserver nobody;
  if (!s_.observer) s_.observer = &nobody;
  config_.validate();
  inputs_ = run_inputs(config_, s_.data);
  const Backend& backend = *s_.backend;
  source_ = training_source();
  schedules_ =
      s_.model->schedules(backend.exec(), s_.params->act(), source_->max_T(), int(config_.batch));
  optimizer_ = std::make_unique<Optimizer>(backend, *s_.params, optimizer_settings(config_));

  const int B = int(config_.batch), lanes = int(config_.eval_batch);
  const int stream_T = B * int(config_.bptt), eval_T = std::max(8, int(config_.bptt));
  Scheduler::Options options;
  options.max_tokens = std::max({B * source_->max_T(), lanes * eval_T, stream_T});
  options.max_lanes = std::max(B, lanes);
  options.micro_steps = int(config_.accum);
  options.eager = config_.eager;
  if (s_.profile) options.times = &times_.emplace(backend);
  options.logits_bytes = logits_budget(config_.logits_memory, backend.device());
  scheduler_ =
      std::make_unique<Scheduler>(backend, *s_.model, *s_.params, optimizer_.get(), options);
  const auto shapes = s_.model->state_shape();
  const DType act = s_.params->act();
  carried_ = State(backend, shapes, B, act);
  valid_state_ = State(backend, shapes, lanes, act);
  stream_state_ = State(backend, shapes, 1, act);
  check_memory();
  // Sized once, for the longest chunk: graphs of shorter ones outlive it.
  const bool lengths = config_.batching == "sentence";
  scheduler_->reserve(true, source_->max_T(), B, lengths, carried_);
  scheduler_->reserve(false, int(config_.bptt), lanes, lengths, valid_state_);
  for (const auto kind : {SnapshotWriter::Kind::model, SnapshotWriter::Kind::state})
    estimate_.buffers += writer_.reserve_on_device(kind);
}

Trainer::~Trainer() = default;

void Trainer::check_memory() {
  // What the checks of the texts have read is no need of the run.
  for (const Corpus* corpus : {s_.data.train, s_.data.valid, s_.data.test})
    if (corpus) corpus->release_pages();
  MemoryNeeds needs;
  needs.sentences = config_.batching == "sentence";
  needs.T = source_->max_T();
  needs.B = int(config_.batch);
  needs.eval_lanes = int(config_.eval_batch);
  needs.eval_T = int(config_.bptt);
  needs.optimizer = 0;
  for (const Optimizer::Slot& slot : optimizer_->slots()) needs.optimizer += slot.memory->bytes();
  needs.states =
      carried_.memory().bytes() + valid_state_.memory().bytes() + stream_state_.memory().bytes();
  // Snapshots for the files lie in host memory, which is the device's where that is the CPU.
  const View1 slab = s_.params->slab();
  const size_t model = SnapshotWriter::padded(size_t(slab.n[0]) * size_of(slab.dtype));
  const size_t state = training_state_bytes(*s_.params, *optimizer_, carried_);
  writer_.reserve(SnapshotWriter::Kind::model, model);
  writer_.reserve(SnapshotWriter::Kind::state, state);
  if (s_.backend->device().kind() == DeviceKind::cpu) needs.states += model + state;
  estimate_ = estimate_memory(*s_.backend, *s_.params, *scheduler_, carried_, valid_state_, needs);
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
  const auto drawn_if = [&](bool yes) {
    return yes ? std::optional<uint64_t>(config_.seed) : std::nullopt;
  };
  return std::make_unique<Lanes>(*s_.data.train, B, T, LaneForm::train, "the training text",
                                 drawn_if(config_.bptt_random), drawn_if(config_.partial_shuffle));
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

double Trainer::rate() const {
  const bool own = state_.finetuning && config_.finetune_lr > 0;
  const double share = own ? config_.finetune_lr / config_.lr : 1;
  return learning_rate(config_, state_.epoch - state_.phase_epoch) * share * state_.lr_factor;
}

void Trainer::resume() {
  std::vector<std::string> warnings;
  state_ = load_training_state(s_.run.state(), *s_.backend, *s_.params, *optimizer_, carried_,
                               inputs_, &warnings);
  for (const std::string& warning : warnings) s_.observer->warning(warning);
  RunLog::truncate_to_step(s_.run.log(), state_.step);
  saved_step_ = state_.step;
}

void Trainer::train_chunk() {
  prefetch_->next(chunk_);
  const bool last_of_epoch = state_.chunk + 1 == chunks_;
  const bool first = micro_ == 0, last = micro_ + 1 == config_.accum || last_of_epoch;
  StepScalars scalars;
  scalars.update = {rate(), config_.clip, state_.averaging ? 1.0 : 0.0};
  // A mean over fewer steps weighs each of them more; a sum over time does not.
  if (config_.bptt_random && config_.loss == "mean")
    scalars.update.lr *= double(chunk_.T) / double(config_.bptt);
  scalars.seed = uint64_t(config_.seed);
  scalars.mask_step = uint64_t(state_.mask_step);
  scalars.finetuning = state_.finetuning;
  // The objective sums over time and averages over lanes, or averages over both (recipe key
  // `loss`).
  scalars.weight = 1.0 / (config_.loss == "sum_time" ? double(chunk_.B)
                                                     : double(std::max<int64_t>(1, chunk_.tokens)));
  scalars.weight /= double(config_.accum);
  scheduler_->train(chunk_, carried_, scalars, first, last);
  lap_tokens_ += chunk_.tokens;
  session_tokens_ += chunk_.tokens;
  ++state_.mask_step;
  ++state_.chunk;
  micro_ = last ? 0 : micro_ + 1;
  if (last) ++state_.step;
}

bool Trainer::collect() {
  for (const StepFigures& step : scheduler_->take_figures()) {
    if (!std::isfinite(step.norm2)) {
      ++state_.skipped;
      if (++state_.nonfinite < kNonfiniteLimit) continue;
      roll_back(
          fmt::format("the gradient was not finite for {} updates in a row", kNonfiniteLimit));
      return false;
    }
    if (std::isfinite(step.nats)) {
      state_.nats += step.nats;
      state_.tokens += int64_t(step.tokens);
    }
    if (step.norm2 > 0) {
      state_.norm = std::sqrt(step.norm2);
      state_.nonfinite = 0;
    }
  }
  return true;
}

void Trainer::finish_epoch() {
  if (!collect() || !validate()) return;  // rolled back
  ++state_.epoch;
  state_.chunk = 0;
  if (main_phase_over()) begin_finetuning();
  chunks_ = source_->chunks(state_.epoch);
  save();
  on_reported_weights([&] { write_sample(); });
  write_plot(s_.run.log(), s_.run.plot(), s_.run.path);
}

bool Trainer::should_stop(TrainResult::Why* why) const {
  using Why = TrainResult::Why;
  const auto because = [&](Why w) {
    *why = w;
    return true;
  };
  if (micro_ != 0) return false;  // gradients of a started update are not saved
  if (s_.stop && s_.stop->load() != 0) return because(Why::stopped);
  if (config_.max_steps > 0 && state_.step >= config_.max_steps) return because(Why::max_steps);
  if (config_.max_time > 0 && state_.seconds >= config_.max_time) return because(Why::max_time);
  if (state_.chunk != 0) return false;
  if (state_.finetuning) {
    if (state_.finetuned) return because(Why::patience);
    const int64_t end = state_.phase_epoch + config_.finetune_epochs;
    return state_.epoch >= end && because(Why::epochs);
  }
  if (config_.epochs > 0 && state_.epoch >= config_.epochs) return because(Why::epochs);
  if (config_.patience > 0 && state_.stalled >= config_.patience) return because(Why::patience);
  return false;
}

CorpusLoss Trainer::evaluate_whole(const Corpus& corpus) {
  const int lanes = int(config_.eval_batch), T = int(config_.bptt);
  if (config_.batching == "sentence") {
    NeuralScorer scorer(*s_.backend, *s_.model, *s_.params, *scheduler_, *s_.data.vocab,
                        Reset::line, {lanes, T});
    return evaluate_lines(scorer, corpus);
  }
  Lanes source(corpus, 1, int(config_.batch) * T, LaneForm::evaluate);
  return evaluate_corpus(*scheduler_, stream_state_, source);
}

TrainResult Trainer::run() {
  if (config_.optimizer == "asgd") state_.averaging = true;
  chunks_ = source_->chunks(state_.epoch);
  prefetch_ = std::make_unique<Prefetch>(*source_, state_.epoch, state_.chunk);
  // A first state, so that there is always one to go back to, and so that a full disk shows now.
  if (state_.step == 0) save();
  writer_.finish();
  log_ = std::make_unique<RunLog>(s_.run.log());
  log_choices();
  events_ = std::make_unique<EventWriter>(s_.run.tensorboard(), state_.step > 0 ? state_.step : -1);
  last_save_ = last_report_ = seconds_now();
  // A run that had ended goes on with fine-tuning.
  if (state_.step > 0 && state_.chunk == 0 && main_phase_over()) {
    begin_finetuning();
    save();
  }

  TrainResult result;
  const auto done = [&] {
    if (!should_stop(&result.why) || !collect()) return false;
    return result.why == TrainResult::Why::stopped || state_.valid_step == state_.step ||
           validate();
  };
  double lap = seconds_now();
  while (!done()) {
    writer_.check();
    train_chunk();
    if (micro_ != 0) continue;
    const double t = seconds_now();
    state_.seconds += t - lap;
    lap_seconds_ += t - lap;
    session_seconds_ += t - lap;
    lap = t;
    const bool log_now = state_.step % config_.log_every == 0;
    if ((log_now || t - last_report_ >= kReportEvery) && collect()) {
      if (log_now)
        log_training();
      else
        report(false);
      last_report_ = t;
    }
    if (state_.chunk == chunks_)
      finish_epoch();
    else if (config_.save_every > 0 && seconds_now() - last_save_ >= config_.save_every)
      save();
    else
      continue;
    lap = seconds_now();
  }
  save();
  writer_.finish();
  result.words_per_second = session_seconds_ > 0 ? double(session_tokens_) / session_seconds_ : 0;
  result.state = state_;
  if (times_) result.times = times_->report();
  if (result.why == TrainResult::Why::stopped) return result;
  write_plot(s_.run.log(), s_.run.plot(), s_.run.path);

  // The figures to report: the best model, every token.
  load_weights(ModelFile(s_.run.model()), *s_.backend, *s_.params, config_.cell);
  result.valid = evaluate_whole(*s_.data.valid);
  if (s_.data.test) result.test = evaluate_whole(*s_.data.test);
  log_end(result);
  return result;
}

}  // namespace unroll
