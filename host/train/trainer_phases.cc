// Where training stands: validation, the mean of the weights, fine-tuning, saved states and the way
// back to them.
#include <cmath>

#include <fmt/format.h>

#include "host/device/clock.h"
#include "host/optim/nonmonotone.h"
#include "host/train/trainer.h"
#include "host/train/weights_file.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr int kMaxRollbacks = 3;  // the third ends the run

}  // namespace

// The weights that are validated and saved as the model: the mean, once there is one. Contents are
// swapped, and swapped back.
void Trainer::on_reported_weights(const std::function<void()>& work) {
  const Exec exec = s_.backend->exec();
  if (state_.averaging) optimizer_->swap_mean(exec, *s_.params);
  work();
  if (state_.averaging) optimizer_->swap_mean(exec, *s_.params);
}

bool Trainer::validate() {
  const double start = seconds_now();
  auto source = evaluation_source(*s_.data.valid, int(config_.eval_batch), int(config_.bptt));
  double loss = 0;
  bool best = false;
  on_reported_weights([&] {
    loss = evaluate_corpus(*scheduler_, valid_state_, *source).loss();
    best = loss < state_.best_loss;
    if (best)
      save_model(writer_, s_.run.model(), *s_.params, config_, *s_.data.vocab,
                 {{"step", std::to_string(state_.step)},
                  {"epoch", std::to_string(state_.epoch + 1)},
                  {"valid_perplexity", std::to_string(std::exp(loss))}});
  });
  if (!std::isfinite(loss)) {
    roll_back("the validation loss is not finite");
    return false;
  }
  state_.valid_step = state_.step;
  if (best) {
    state_.best_loss = loss;
    state_.best_step = state_.step;
    state_.best_epoch = state_.epoch + 1;
    state_.stalled = state_.lr_stalled = 0;
  } else {
    ++state_.stalled;
    if (config_.lr_schedule == "plateau" && ++state_.lr_stalled >= config_.patience_lr) {
      state_.lr_factor *= config_.lr_factor;
      state_.lr_stalled = 0;
    }
  }
  log_validation(loss, best, seconds_now() - start);
  const bool trigger = nonmonotone(state_.validations, loss, config_.nonmono);
  state_.validations.push_back(loss);
  // A run that stops within an epoch is validated there, too.
  const bool given = config_.average_epoch > 0,
             due = state_.chunk == chunks_ && state_.epoch + 1 >= config_.average_epoch;
  if (trigger && state_.finetuning)
    state_.finetuned = true;
  else if ((given ? due : trigger) && config_.optimizer == "nt-asgd" && !state_.averaging)
    begin_averaging();
  return true;
}

void Trainer::begin_averaging() {
  state_.averaging = true;
  optimizer_->begin_mean(*s_.backend, *s_.params);
  log_->append(
      LogRecord().add("kind", "averaging").add("step", state_.step).add("epoch", state_.epoch + 1));
  const std::string why =
      config_.average_epoch > 0
          ? ""
          : fmt::format("validation is worse than the best of all but the last {}; ",
                        config_.nonmono);
  s_.observer->phase(
      fmt::format("epoch {}: {}from here on the mean of the weights is validated and saved",
                  state_.epoch + 1, why));
}

bool Trainer::main_phase_over() const {
  if (state_.finetuning || config_.finetune_epochs == 0) return false;
  return (config_.epochs > 0 && state_.epoch >= config_.epochs) ||
         (config_.patience > 0 && state_.stalled >= config_.patience);
}

void Trainer::begin_finetuning() {
  writer_.finish();
  load_weights(ModelFile(s_.run.model()), *s_.backend, *s_.params, config_.cell);
  optimizer_->begin_mean(*s_.backend, *s_.params);
  state_.averaging = state_.finetuning = true;
  state_.phase_epoch = state_.epoch;
  state_.validations.clear();
  state_.stalled = state_.lr_stalled = 0;
  state_.lr_factor = std::ldexp(1.0, -int(state_.rollbacks));
  log_->append(
      LogRecord().add("kind", "finetune").add("step", state_.step).add("epoch", state_.epoch + 1));
  s_.observer->phase(fmt::format("fine-tuning from the best model, epoch {}, perplexity {:.2f}",
                                 state_.best_epoch, std::exp(state_.best_loss)));
}

void Trainer::save() {
  if (!collect()) return;  // rolled back, and saved
  last_save_ = seconds_now();
  // While updates are being skipped the carried state is no good: the former file stays the one to
  // go back to.
  if (state_.nonfinite > 0) return;
  if (log_) log_->sync();  // the state takes its lines for granted
  saved_step_ = state_.step;
  save_training_state(writer_, s_.run.state(), state_, *s_.backend, *s_.params, *optimizer_,
                      carried_, inputs_);
}

void Trainer::roll_back(const std::string& why) {
  const int64_t step = state_.step, rollbacks = state_.rollbacks + 1, skipped = state_.skipped;
  const double lr = rate(), factor = state_.lr_factor * 0.5, seconds = state_.seconds;
  writer_.finish();
  if (rollbacks >= kMaxRollbacks)
    throw Error(
        ErrorKind::divergence,
        fmt::format("training diverged {} times, at last at step {} with learning rate {:g}: {}; "
                    "lower --lr or --clip. The last good state, step {}, is {}",
                    rollbacks, step, lr, why, saved_step_, s_.run.state()));
  prefetch_.reset();
  micro_ = 0;
  state_ = load_training_state(s_.run.state(), *s_.backend, *s_.params, *optimizer_, carried_,
                               inputs_, nullptr);
  state_.lr_factor = factor;
  state_.rollbacks = rollbacks;
  state_.skipped = skipped;
  state_.seconds = seconds;
  log_.reset();
  RunLog::truncate_to_step(s_.run.log(), state_.step);
  log_ = std::make_unique<RunLog>(s_.run.log());
  log_->append(LogRecord()
                   .add("kind", "rollback")
                   .add("step", state_.step)
                   .add("lr", rate())
                   .add("skipped", state_.skipped));
  chunks_ = source_->chunks(state_.epoch);
  prefetch_ = std::make_unique<Prefetch>(*source_, state_.epoch, state_.chunk);
  s_.observer->warning(fmt::format(
      "training diverged at step {}, with learning rate {:g}: {}; back to step {}, on with {:g}",
      step, lr, why, state_.step, rate()));
  save();  // a resumed run goes on with the lower rate
}

}  // namespace unroll
