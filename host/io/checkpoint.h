// The two checkpoints of a run: model.safetensors (weights with vocabulary and configuration) and
// state.safetensors (all that an exact resume needs), each written whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/io/config.h"
#include "host/io/safetensors.h"

namespace unroll {

// Version of the program, and of what its files mean; a file with a larger format is refused.
const char* version();
inline constexpr int kFormatVersion = 1;

// Named tensors and values of a state file.
class StateMap {
 public:
  // `data` is borrowed until write() returns.
  void add(std::string name, std::string dtype, std::vector<int64_t> shape, const void* data);
  // Keeps its own copy.
  void add_copy(std::string name, std::string dtype, std::vector<int64_t> shape, const void* data);

  void put(const std::string& name, int64_t value);
  void put(const std::string& name, double value);  // exact
  void put(const std::string& name, const std::string& value);
  void put(const std::string& name, const char* value) { put(name, std::string(value)); }

  // Throws Error(disk); the old file is then kept.
  void write(const std::string& path) const;

 private:
  std::vector<TensorSource> tensors_;
  std::vector<std::shared_ptr<std::vector<std::byte>>> owned_;
  Metadata values_;
};

// A state file, checked and mapped.
class StateFile {
 public:
  // Throws Error(usage), Error(model) (not safetensors, not a state, newer format).
  explicit StateFile(const std::string& path);

  const SafetensorsFile& file() const { return file_; }
  bool has(const std::string& name) const;  // a tensor or a value of that name
  // Each throws Error(model) naming file and entry if it is missing or of another type or size.
  void copy(const std::string& name, const std::string& dtype, void* to, size_t bytes) const;
  int64_t integer(const std::string& name) const;
  double real(const std::string& name) const;
  std::string text(const std::string& name) const;

 private:
  SafetensorsFile file_;
};

// What goes into model.safetensors.
struct ModelParts {
  std::vector<TensorSource> tensors;  // under PyTorch's names
  std::string config;                 // TOML text
  std::string vocab;                  // as the vocabulary serialises itself; any bytes
  Metadata aliases;                   // tied: {"decoder.weight": "encoder.weight"}
  Metadata extra;                     // e.g. step, epoch, valid_perplexity
};

// Writes a model. A bias_ih without its bias_hh (one bias) gets a zero bias_hh, so that PyTorch's
// modules load the file strictly. Throws Error(disk).
void write_model(const std::string& path, const ModelParts& parts);

// A model of ours, or weights saved from PyTorch under the same names.
class ModelFile {
 public:
  // `path` names a .safetensors file. Throws Error(usage), Error(model).
  explicit ModelFile(const std::string& path);

  const SafetensorsFile& file() const { return file_; }
  bool has(const std::string& name) const;          // aliases included
  bool has_config() const;                          // false for a bare PyTorch file
  Config config() const;                            // throws Error(model) if there is none
  std::string vocab() const;                        // throws Error(model) if there is none
  std::string extra(const std::string& key) const;  // "" if there is none

  // A parameter of exactly this shape as float or double. An alias is resolved either way: a tied
  // matrix is found under encoder.weight or decoder.weight. Throws Error(model): missing with the
  // names the file has, both shapes, or the place of a value that is not finite.
  template <class T>
  std::vector<T> read(const std::string& name, const std::vector<int64_t>& shape) const;

  // The same to memory of that size.
  template <class T>
  void read_to(const std::string& name, const std::vector<int64_t>& shape, T* to) const;

  // The bias of a one-bias layer: bias_ih + bias_hh. `name` is the bias_ih. GRU's last third cannot
  // be summed: Error(model) if it is not zero and `cell` is "gru".
  template <class T>
  std::vector<T> read_merged_bias(const std::string& name, int64_t size,
                                  const std::string& cell) const;

 private:
  const TensorInfo* find(const std::string& name) const;  // aliases included
  const TensorInfo& resolve(const std::string& name) const;
  const TensorInfo& resolve(const std::string& name, const std::vector<int64_t>& shape) const;

  SafetensorsFile file_;
};

}  // namespace unroll
