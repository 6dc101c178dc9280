// Where a run stands: everything that decides how it goes on, besides weights, slots and the
// carried state.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "host/data/corpus.h"
#include "host/io/checkpoint.h"
#include "host/memory/param_store.h"
#include "host/optim/optimizer.h"
#include "host/train/snapshot_writer.h"
#include "host/train/state.h"

namespace unroll {

// The texts of a run; test may be null.
struct TrainingData {
  const Vocab* vocab = nullptr;
  const Corpus* train = nullptr;
  const Corpus* valid = nullptr;
  const Corpus* test = nullptr;
};

// What a run reads. A state goes on with the same only.
struct RunInput {
  std::string key, hash;  // in the state file
  std::string name;       // for messages, with its file
  bool decides = true;    // how training goes on; false: the test text, which is only scored
};
// Throws a usage Error where one is missing.
std::vector<RunInput> run_inputs(const Config& config, const TrainingData& data);

struct TrainingState {
  int64_t step = 0;       // updates made
  int64_t mask_step = 0;  // chunks trained on: names the masks
  int64_t epoch = 0;      // current one, from 0
  int64_t chunk = 0;      // next one of the epoch
  double lr_factor = 1;   // of the plateau schedule and of roll-backs
  double best_loss = std::numeric_limits<double>::infinity();  // validation, nats per token
  int64_t best_step = 0, best_epoch = 0;
  int64_t stalled = 0;      // validations since the best
  int64_t lr_stalled = 0;   // validations since the best or the last cut of the learning rate
  bool averaging = false;   // ASGD: updates enter the mean, which is what is validated
  bool finetuning = false;  // the second phase has begun
  bool finetuned = false;   // and was ended by the trigger
  int64_t phase_epoch = 0;  // the phase's first epoch
  std::vector<double> validations;  // of the phase: their losses, for the trigger
  // Since the last line of the log.
  double nats = 0;
  int64_t tokens = 0;
  double norm = 0;          // of the last update's gradient, before clipping
  int64_t nonfinite = 0;    // updates in a row skipped because the norm was not finite
  int64_t skipped = 0;      // in all
  int64_t rollbacks = 0;    // after divergence
  int64_t valid_step = -1;  // of the last validation
  double seconds = 0;       // of training so far
};

// Takes a snapshot of all a resumed run needs, and has it written to a run's state file.
void save_training_state(SnapshotWriter& writer, const std::string& path, const TrainingState& s,
                         const Backend& backend, const ParamStore& params,
                         const Optimizer& optimizer, const State& carried,
                         const std::vector<RunInput>& inputs);
// Bytes of such a snapshot.
size_t training_state_bytes(const ParamStore& params, const Optimizer& optimizer,
                            const State& carried);

// Sets everything from a state file. Throws a model Error where the file belongs to another model,
// vocabulary, training or validation text. `warnings`, which may be null, gets one line if the test
// text differs, and one if the device or the number of threads does, because results may then
// differ in the last bits.
TrainingState load_training_state(const std::string& path, const Backend& backend,
                                  const ParamStore& params, const Optimizer& optimizer,
                                  const State& carried, const std::vector<RunInput>& inputs,
                                  std::vector<std::string>* warnings);

}  // namespace unroll
