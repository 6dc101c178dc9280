#include "host/train/training_state.h"

#include <vector>

#include "kernels/base/error.h"

namespace unroll {
namespace {

// The fields by name, for writing and for reading.
template <class S, class Visit>
void visit_fields(S& s, Visit&& visit) {
  visit("step", s.step);
  visit("mask_step", s.mask_step);
  visit("epoch", s.epoch);
  visit("chunk", s.chunk);
  visit("lr_factor", s.lr_factor);
  visit("best_loss", s.best_loss);
  visit("best_step", s.best_step);
  visit("best_epoch", s.best_epoch);
  visit("stalled", s.stalled);
  visit("lr_stalled", s.lr_stalled);
  visit("log_nats", s.nats);
  visit("log_tokens", s.tokens);
  visit("log_norm", s.norm);
  visit("nonfinite", s.nonfinite);
  visit("skipped", s.skipped);
  visit("rollbacks", s.rollbacks);
  visit("valid_step", s.valid_step);
  visit("seconds", s.seconds);
}

struct Block {
  std::string name;
  void* memory;
  size_t bytes;
};

// Weight slab, optimiser slots and carried state as they lie in memory.
std::vector<Block> blocks(const ParamStore& params, const Optimizer& optimizer,
                          const State& carried) {
  const View1 slab = params.slab();
  std::vector<Block> all = {{"weights", slab.data, size_t(slab.n[0]) * size_of(slab.dtype)}};
  for (const Optimizer::Slot& slot : optimizer.slots())
    all.push_back({slot.name, slot.memory->data(), slot.memory->bytes()});
  all.push_back({"carried_state", carried.memory().data(), carried.memory().bytes()});
  return all;
}

}  // namespace

void save_training_state(const std::string& path, const TrainingState& s, const Backend& backend,
                         const ParamStore& params, const Optimizer& optimizer, const State& carried,
                         const Config& config, const std::string& vocab_hash) {
  StateMap map;
  visit_fields(s, [&](const char* name, const auto& value) { map.put(name, value); });
  map.put("config", config.to_toml());
  map.put("vocab_hash", vocab_hash);
  map.put("device", backend.device().name());
  map.put("act", name_of(params.act()));
  std::vector<std::vector<char>> copies;
  for (const Block& b : blocks(params, optimizer, carried)) {
    const void* host = b.memory;
    if (backend.device().kind() == DeviceKind::cuda) {
      copies.emplace_back(b.bytes);
      backend.stream().copy(copies.back().data(), b.memory, b.bytes);
      host = copies.back().data();
    }
    map.add(b.name, "U8", {int64_t(b.bytes)}, host);
  }
  backend.stream().synchronize();
  map.write(path);
}

TrainingState load_training_state(const std::string& path, const Backend& backend,
                                  const ParamStore& params, const Optimizer& optimizer,
                                  const State& carried, const std::string& vocab_hash,
                                  std::string* warning) {
  const StateFile file(path);
  if (file.text("vocab_hash") != vocab_hash)
    throw Error(ErrorKind::model, path + ": the state belongs to vocabulary " +
                                      file.text("vocab_hash") + ", the run's is " + vocab_hash +
                                      "; the run's files do not belong together");
  if (file.text("act") != name_of(params.act()))
    throw Error(ErrorKind::model, path + ": the run was trained in " + file.text("act") +
                                      ", not in " + name_of(params.act()) +
                                      "; resume with the run's own --precision");
  TrainingState s;
  visit_fields(s, [&](const char* name, auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, double>)
      value = file.real(name);
    else
      value = file.integer(name);
  });
  for (const Block& b : blocks(params, optimizer, carried)) {
    if (backend.device().kind() == DeviceKind::cpu) {
      file.copy(b.name, "U8", b.memory, b.bytes);
      continue;
    }
    std::vector<char> copy(b.bytes);
    file.copy(b.name, "U8", copy.data(), b.bytes);
    backend.stream().copy(b.memory, copy.data(), b.bytes);
    backend.stream().synchronize();
  }
  params.cast_shadow(backend.exec());
  backend.stream().synchronize();
  if (warning && file.text("device") != backend.device().name())
    *warning = "the run was on \"" + file.text("device") + "\", this is \"" +
               backend.device().name() + "\": it goes on, but not bit for bit as it would have";
  return s;
}

}  // namespace unroll
