// What a trainer tells: lines of the log, TensorBoard events, progress, samples.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "host/score/generator.h"
#include "host/score/neural_scorer.h"
#include "host/train/trainer.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr int kSampleWords = 40;

}  // namespace

void Trainer::report(bool logged) {
  TrainObserver::Progress p{};
  p.epoch = state_.epoch + 1;
  p.epochs = state_.finetuning ? state_.phase_epoch + config_.finetune_epochs : config_.epochs;
  p.chunk = state_.chunk;
  p.chunks = chunks_;
  p.step = state_.step;
  p.loss = state_.tokens ? state_.nats / double(state_.tokens) : NAN;
  p.words_per_second = lap_seconds_ > 0 ? double(lap_tokens_) / lap_seconds_ : 0;
  p.lr = rate();
  p.norm = state_.norm;
  p.logged = logged;

  // Whichever limit comes first.
  const double seconds = state_.seconds;
  double left = INFINITY;
  const double epochs = double(state_.epoch) + double(state_.chunk) / double(chunks_);
  if (p.epochs > 0 && epochs > 0) left = seconds * (double(p.epochs) - epochs) / epochs;
  if (config_.max_steps > 0 && state_.step > 0)
    left = std::min(left, seconds * double(config_.max_steps - state_.step) / double(state_.step));
  if (config_.max_time > 0) left = std::min(left, config_.max_time - seconds);
  p.eta_seconds = std::isfinite(left) ? std::max(0.0, left) : -1;
  s_.observer->progress(p);
}

void Trainer::log_choices() {
  // A resumed run was given what had been chosen; at step 0 its log may tell already.
  const auto told = [&] {
    const std::vector<LogRecord> records = RunLog::read(s_.run.log());
    return std::any_of(records.begin(), records.end(),
                       [](const LogRecord& r) { return r.text("kind") == "softmax"; });
  };
  if (state_.step == 0 && !s_.softmax.empty() && !told())
    log_->append(
        LogRecord().add("kind", "softmax").add("step", state_.step).add("choice", s_.softmax));
  for (size_t l = 0; l < schedules_.size(); ++l) {
    const ScheduleChoice& choice = schedules_[l];
    if (choice.schedule == Schedule::automatic) continue;  // the CPU has nothing to choose
    s_.observer->schedule(
        fmt::format("layer {}   {} ({})", l, name_of(choice.schedule), choice.reason));
    log_->append(LogRecord()
                     .add("kind", "schedule")
                     .add("step", state_.step)
                     .add("layer", l)
                     .add("schedule", name_of(choice.schedule))
                     .add("reason", choice.reason));
  }
}

void Trainer::log_training() {
  if (state_.skipped > reported_skipped_)
    s_.observer->warning(fmt::format("{} updates were skipped because the gradient was not finite",
                                     state_.skipped - reported_skipped_));
  reported_skipped_ = state_.skipped;
  if (state_.tokens == 0) {  // nothing but skipped updates
    log_->append(LogRecord()
                     .add("kind", "skipped")
                     .add("step", state_.step)
                     .add("epoch", state_.epoch + 1)
                     .add("skipped", state_.skipped));
    return;
  }
  const double loss = state_.nats / double(state_.tokens);
  log_->append(
      LogRecord()
          .add("kind", "train")
          .add("step", state_.step)
          .add("epoch", state_.epoch + 1)
          .add("loss", loss)
          .add("ppl", std::exp(loss))
          .add("norm", state_.norm)
          .add("lr", rate())
          .add("skipped", state_.skipped)
          .add("words_per_second", lap_seconds_ > 0 ? double(lap_tokens_) / lap_seconds_ : 0.0)
          .add("seconds", state_.seconds));
  events_->scalar("train/loss", loss, state_.step);
  events_->scalar("train/lr", rate(), state_.step);
  events_->scalar("train/norm", state_.norm, state_.step);
  report(true);
  state_.nats = 0;
  state_.tokens = 0;
  lap_tokens_ = 0;
  lap_seconds_ = 0;
}

void Trainer::log_validation(double loss, bool best, double seconds) {
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
  v.seconds = seconds;
  v.is_best = best;
  v.lanes = int(config_.eval_batch);
  s_.observer->validation(v);
}

void Trainer::log_end(const TrainResult& result) {
  LogRecord end;
  end.add("kind", "end").add("step", state_.step).add("valid_ppl", std::exp(result.valid.loss()));
  if (s_.data.test) end.add("test_ppl", std::exp(result.test.loss()));
  end.add("seconds", state_.seconds);
  log_->append(end);
}

void Trainer::write_sample() {
  NeuralNextWord next(*s_.backend, *s_.model, *s_.params, *scheduler_, *s_.data.vocab);
  SamplingOptions options;
  options.length = s_.data.vocab->unit() == Unit::word ? kSampleWords : 5 * kSampleWords;
  options.temperature = 0.8;
  options.seed = uint64_t(config_.seed);
  const Generated text = generate(next, {}, options, int(state_.epoch));
  const std::string words = s_.data.vocab->decode(text.ids);
  std::ofstream file(s_.run.samples(), std::ios::app);
  file << "--- step " << state_.step << "\n" << words << "\n" << std::flush;
  if (!file)
    throw Error(ErrorKind::disk, s_.run.samples() + ": cannot be written: " + std::strerror(errno) +
                                     "; free some space");
  s_.observer->sample(words);
}

}  // namespace unroll
