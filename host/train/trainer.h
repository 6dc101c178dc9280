// Trains a language model: truncated BPTT over chunks, validation after every epoch, the best model
// and the whole state kept in a run directory, exact resume.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/data/prefetch.h"
#include "host/io/checkpoint.h"
#include "host/io/run_dir.h"
#include "host/io/run_log.h"
#include "host/io/tensorboard.h"
#include "host/train/evaluator.h"
#include "host/train/scheduler.h"
#include "host/train/snapshot_writer.h"
#include "host/train/training_state.h"

namespace unroll {

// What training says while it runs. The default listens to nothing.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  struct Progress {
    int64_t epoch, epochs, chunk, chunks, step;  // epoch from 1; epochs 0: no limit
    double loss;                                 // nats per token since the last line of the log
    double words_per_second, lr, norm, eta_seconds;  // eta < 0: unknown
    bool logged;                                     // the figures of this call stand in the log
  };
  virtual void progress(const Progress&) {}
  struct Validation {
    int64_t epoch, step;
    double loss, best_loss;  // nats per token
    int64_t best_epoch, stalled, patience;
    double seconds;
    bool is_best;
    int lanes;  // how many lanes the text was cut into
  };
  virtual void validation(const Validation&) {}
  virtual void sample(const std::string& /*text*/) {}
  virtual void schedule(const std::string& /*text*/) {}  // of a recurrent layer, and why
  virtual void phase(const std::string& /*text*/) {}     // averaging or fine-tuning begins
  virtual void warning(const std::string& /*text*/) {}
};

// What a run will need, in bytes, before its first step.
struct MemoryEstimate {
  size_t process = 0;  // the program itself; on a GPU the driver's context
  size_t weights = 0;  // weights, gradients and the bf16 shadow
  size_t optimizer = 0;
  size_t activations = 0;  // with logits and scratch
  size_t logits = 0;       // the part of `activations` that logits take at most
  size_t buffers = 0;      // carried states, step inputs, library workspaces
  size_t total() const { return process + weights + optimizer + activations + buffers; }
};

struct TrainResult {
  enum class Why { epochs, max_steps, max_time, patience, stopped } why = Why::epochs;
  TrainingState state;
  // Of the best model: each text as one stream from the zero state, or, with sentence batching,
  // every line from the zero state. Every token is scored. test is empty without a test text.
  CorpusLoss valid, test;
  double words_per_second = 0;  // of training alone
  StepTimes::Report times;      // Trainer::Setup::profile
};

class Trainer {
 public:
  struct Setup {
    const Backend* backend;
    const Config* config;
    const LanguageModel* model;
    ParamStore* params;  // materialised
    TrainingData data;
    RunDir run;
    TrainObserver* observer = nullptr;       // null: nobody listens
    const std::atomic<int>* stop = nullptr;  // not 0: stop after the current update, state saved
    bool profile = false;   // measures where the time of a step goes, which makes steps slower
    std::string softmax{};  // which output layer the model has, and why: for the log
  };
  // Throws usage and data Errors for settings or texts that cannot work, and a resource Error where
  // the run does not fit the device: what is needed, for what, and which flags lower it.
  explicit Trainer(const Setup& setup);
  ~Trainer();

  const MemoryEstimate& estimate() const { return estimate_; }
  // Goes on from the run's state file; its log is cut back to the state. Call before run().
  void resume();
  TrainResult run();

 private:
  void check_memory();
  void log_choices();
  std::unique_ptr<ChunkSource> training_source() const;
  std::unique_ptr<ChunkSource> evaluation_source(const Corpus& corpus, int lanes, int T) const;
  double rate() const;
  void train_chunk();
  // False where training diverged and was set back to the last saved state; the same below.
  bool collect();
  void finish_epoch();
  bool should_stop(TrainResult::Why* why) const;
  CorpusLoss evaluate_whole(const Corpus& corpus);
  // trainer_phases.cc
  bool validate();
  void roll_back(const std::string& why);
  void save();
  void begin_averaging();
  bool main_phase_over() const;
  void begin_finetuning();
  void on_reported_weights(const std::function<void()>& work);
  // trainer_reports.cc
  void report(bool logged);
  void log_training();
  void log_validation(double loss, bool best, double seconds);
  void log_end(const TrainResult& result);
  void write_sample();

  Setup s_;
  const Config& config_;
  std::vector<RunInput> inputs_;
  MemoryEstimate estimate_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<StepTimes> times_;
  std::unique_ptr<Scheduler> scheduler_;
  State carried_, valid_state_, stream_state_;
  std::unique_ptr<ChunkSource> source_;
  std::unique_ptr<Prefetch> prefetch_;
  std::vector<ScheduleChoice> schedules_;  // by layer
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<EventWriter> events_;
  SnapshotWriter writer_;
  TrainingState state_;
  HostChunk chunk_;
  int64_t chunks_ = 0;      // of the current epoch
  int64_t micro_ = 0;       // chunks since the last update
  int64_t lap_tokens_ = 0;  // since the last line of the log
  double lap_seconds_ = 0;
  int64_t session_tokens_ = 0;
  double session_seconds_ = 0;  // of training in this process
  double last_report_ = 0, last_save_ = 0;
  int64_t saved_step_ = 0;
  int64_t reported_skipped_ = 0;  // skipped updates that the log has told of
};

}  // namespace unroll
