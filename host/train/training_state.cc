#include "host/train/training_state.h"

#include <memory>
#include <type_traits>
#include <vector>

#include <fmt/ranges.h>

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
  visit("averaging", s.averaging);
  visit("finetuning", s.finetuning);
  visit("finetuned", s.finetuned);
  visit("phase_epoch", s.phase_epoch);
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

// FNV-1a over the ids.
std::string hash_of(const Corpus& text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (uint64_t i = 0; i < text.size(); ++i) hash = (hash ^ uint32_t(text[i])) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

}  // namespace

std::vector<RunInput> run_inputs(const Config& config, const TrainingData& data) {
  if (!data.vocab || !data.train || !data.valid)
    throw Error(ErrorKind::usage, "a run needs a vocabulary, a training and a validation text");
  using Files = std::vector<std::string>;
  // A program may have read its texts itself.
  const auto name = [](const char* what, const Files& files) {
    return files.empty() ? what : fmt::format("{} ({})", what, fmt::join(files, ", "));
  };
  const Files vocab = !config.vocab_of.empty() ? Files{config.vocab_of}
                      : !config.vocab.empty()  ? Files{config.vocab}
                                               : config.train;
  std::vector<RunInput> inputs = {
      {"vocab_hash", data.vocab->hash(), name("the vocabulary", vocab)},
      {"train_hash", hash_of(*data.train), name("the training text", config.train)},
      {"valid_hash", hash_of(*data.valid), name("the validation text", config.valid)}};
  if (data.test)
    inputs.push_back({"test_hash", hash_of(*data.test), name("the test text", config.test), false});
  return inputs;
}

size_t training_state_bytes(const ParamStore& params, const Optimizer& optimizer,
                            const State& carried) {
  size_t bytes = 0;
  for (const Block& b : blocks(params, optimizer, carried))
    bytes += SnapshotWriter::padded(b.bytes);
  return bytes;
}

void save_training_state(SnapshotWriter& writer, const std::string& path, const TrainingState& s,
                         const Backend& backend, const ParamStore& params,
                         const Optimizer& optimizer, const State& carried,
                         const std::vector<RunInput>& inputs) {
  auto map = std::make_shared<StateMap>();
  visit_fields(s, [&](const char* name, const auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, bool>)
      map->put(name, int64_t(value));
    else
      map->put(name, value);
  });
  map->put("validations", int64_t(s.validations.size()));
  for (size_t i = 0; i < s.validations.size(); ++i)
    map->put("validation." + std::to_string(i), s.validations[i]);
  for (const RunInput& input : inputs) map->put(input.key, input.hash);
  map->put("device", backend.device().name());
  map->put("act", name_of(params.act()));
  const std::vector<Block> all = blocks(params, optimizer, carried);
  std::vector<SnapshotWriter::Block> memory;
  for (const Block& b : all) memory.push_back({b.memory, b.bytes});
  writer.submit(SnapshotWriter::Kind::state, memory,
                [map, all, path](const std::vector<const void*>& copies) {
                  for (size_t i = 0; i < all.size(); ++i)
                    map->add(all[i].name, "U8", {int64_t(all[i].bytes)}, copies[i]);
                  map->write(path);
                });
}

TrainingState load_training_state(const std::string& path, const Backend& backend,
                                  const ParamStore& params, const Optimizer& optimizer,
                                  const State& carried, const std::vector<RunInput>& inputs,
                                  std::vector<std::string>* warnings) {
  const StateFile file(path);
  for (const RunInput& input : inputs) {
    if (!file.has(input.key) || file.text(input.key) == input.hash) continue;
    const std::string changed = input.name + " is not the one that the run began with";
    if (input.decides)
      throw Error(ErrorKind::model, path + ": " + changed +
                                        "; put that one back, or start a new run with --init-from");
    if (warnings) warnings->push_back(changed + "; its figure is that of the text as it is now");
  }
  if (file.text("act") != name_of(params.act()))
    throw Error(ErrorKind::model, path + ": the run was trained in " + file.text("act") +
                                      ", not in " + name_of(params.act()) +
                                      "; resume with the run's own --precision");
  TrainingState s;
  visit_fields(s, [&](const char* name, auto& value) {
    using Value = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<Value, double>)
      value = file.real(name);
    else
      value = Value(file.integer(name));
  });
  for (int64_t i = 0; i < file.integer("validations"); ++i)
    s.validations.push_back(file.real("validation." + std::to_string(i)));
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
  if (warnings && file.text("device") != backend.device().name())
    warnings->push_back("the run was on \"" + file.text("device") + "\", this is \"" +
                        backend.device().name() +
                        "\": it goes on, but not bit for bit as it would have, and with the memory "
                        "for logits that was chosen there (--logits-memory 0 chooses anew)");
  return s;
}

}  // namespace unroll
