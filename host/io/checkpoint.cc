// Model and state files over safetensors.
#include "host/io/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "host/io/parse.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr const char *kFormatKey = "unroll_format", *kKindKey = "unroll_kind";
constexpr const char* kValue = "value.";
constexpr const char* kExtra = "extra.";
constexpr const char* kBytesSuffix = "_latin1";

[[noreturn]] void bad_model(const std::string& path, const std::string& why) {
  throw Error(ErrorKind::model, path + ": " + why);
}

bool is_utf8(const std::string& text) {
  try {
    nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

// Metadata must be UTF-8 and a vocabulary may hold any bytes: such a text is stored with each byte
// as the code point of that number, under KEY_latin1.
void put_text(Metadata& m, const std::string& key, const std::string& text) {
  if (is_utf8(text)) {
    m[key] = text;
    return;
  }
  std::string& out = m[key + kBytesSuffix];
  for (const char c : text) {
    const unsigned char b = static_cast<unsigned char>(c);
    if (b < 0x80) {
      out += c;
    } else {
      out += char(0xc0 | (b >> 6));
      out += char(0x80 | (b & 0x3f));
    }
  }
}

const std::string* find_text(const Metadata& m, const std::string& key) {
  const auto it = m.find(key);
  return it == m.end() ? nullptr : &it->second;
}

bool get_text(const Metadata& m, const std::string& key, std::string* out) {
  if (const std::string* text = find_text(m, key)) {
    *out = *text;
    return true;
  }
  const std::string* encoded = find_text(m, key + kBytesSuffix);
  if (!encoded) return false;
  out->clear();
  for (size_t i = 0; i < encoded->size(); ++i) {
    const unsigned char b = static_cast<unsigned char>((*encoded)[i]);
    if (b < 0x80) {
      *out += char(b);
    } else if (++i < encoded->size()) {
      *out += char((b & 0x03) << 6 | (static_cast<unsigned char>((*encoded)[i]) & 0x3f));
    }
  }
  return true;
}

Metadata header(const char* kind) {
  return {{"format", "pt"},
          {"unroll_version", version()},
          {kFormatKey, std::to_string(kFormatVersion)},
          {kKindKey, kind}};
}

void check_version(const SafetensorsFile& file) {
  const std::string* text = find_text(file.metadata(), kFormatKey);
  if (!text) return;
  const auto format = parse_integer(*text);
  if (!format)
    bad_model(file.path(), "its metadata '" + std::string(kFormatKey) + "' is '" + *text +
                               "', expected a whole number");
  if (*format > kFormatVersion) {
    const std::string* writer = find_text(file.metadata(), "unroll_version");
    bad_model(file.path(), "was written by a newer unroll (" + (writer ? *writer : "?") +
                               ", file format " + *text + "); this is unroll " + version() +
                               ", which reads formats up to " + std::to_string(kFormatVersion) +
                               "; install the newer version");
  }
}

// "rnn.bias_ih_l0" -> "rnn.bias_hh_l0"; "" for other names.
std::string second_bias(const std::string& name) {
  const size_t at = name.rfind("bias_ih_l");
  return at == std::string::npos ? "" : name.substr(0, at) + "bias_hh_l" + name.substr(at + 9);
}

// One weight that is not finite makes every figure of the model NaN.
template <class T>
void require_finite(const std::string& path, const std::string& name, const T* weight, size_t n) {
  const auto finite = [](T x) { return std::isfinite(x); };
  const size_t first = size_t(std::find_if_not(weight, weight + n, finite) - weight);
  if (first < n)
    bad_model(path, "tensor '" + name + "' is not finite, first at element " +
                        std::to_string(first) +
                        ": the file is damaged, or its training diverged; take an earlier file");
}

std::string exact(double x) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, x, std::chars_format::hex).ptr;
  return {text, end};
}

}  // namespace

const char* version() { return UNROLL_VERSION; }

void StateMap::add(std::string name, std::string dtype, std::vector<int64_t> shape,
                   const void* data) {
  tensors_.push_back({std::move(name), std::move(dtype), std::move(shape), data});
}

void StateMap::add_copy(std::string name, std::string dtype, std::vector<int64_t> shape,
                        const void* data) {
  size_t bytes = safetensors_dtype_bytes(dtype);
  for (int64_t extent : shape) bytes *= size_t(extent);
  auto copy = std::make_shared<std::vector<std::byte>>(bytes);
  if (bytes > 0) std::memcpy(copy->data(), data, bytes);
  add(std::move(name), std::move(dtype), std::move(shape), copy->data());
  owned_.push_back(std::move(copy));
}

void StateMap::put(const std::string& name, int64_t value) {
  values_[kValue + name] = std::to_string(value);
}

void StateMap::put(const std::string& name, double value) { values_[kValue + name] = exact(value); }

void StateMap::put(const std::string& name, const std::string& value) {
  put_text(values_, kValue + name, value);
}

void StateMap::write(const std::string& path) const {
  Metadata metadata = header("state");
  metadata.insert(values_.begin(), values_.end());
  write_safetensors(path, tensors_, metadata);
}

StateFile::StateFile(const std::string& path) : file_(SafetensorsFile::open(path)) {
  check_version(file_);
  const std::string* kind = find_text(file_.metadata(), kKindKey);
  if (!kind || *kind != "state")
    bad_model(path,
              "is not a training state of unroll; --resume needs the state.safetensors that "
              "`unroll train` wrote, --init-from takes weights");
}

bool StateFile::has(const std::string& name) const {
  std::string unused;
  return file_.find(name) || get_text(file_.metadata(), kValue + name, &unused);
}

void StateFile::copy(const std::string& name, const std::string& dtype, void* to,
                     size_t bytes) const {
  file_.copy(name, dtype, to, bytes);
}

int64_t StateFile::integer(const std::string& name) const {
  const auto value = parse_integer(text(name));
  if (!value) bad_model(file_.path(), "value '" + name + "' is not a whole number");
  return *value;
}

double StateFile::real(const std::string& name) const {
  const std::string value = text(name);
  double x = 0;
  const auto [end, error] =
      std::from_chars(value.data(), value.data() + value.size(), x, std::chars_format::hex);
  if (error != std::errc() || end != value.data() + value.size())
    bad_model(file_.path(), "value '" + name + "' is not a number");
  return x;
}

std::string StateFile::text(const std::string& name) const {
  std::string value;
  if (!get_text(file_.metadata(), kValue + name, &value))
    bad_model(file_.path(), "the state has no value '" + name + "'");
  return value;
}

void write_model(const std::string& path, const ModelParts& parts) {
  Metadata metadata = header("model");
  put_text(metadata, "config", parts.config);
  put_text(metadata, "vocab", parts.vocab);
  metadata.insert(parts.aliases.begin(), parts.aliases.end());
  for (const auto& [key, value] : parts.extra) put_text(metadata, kExtra + key, value);

  std::vector<TensorSource> tensors = parts.tensors;
  auto has = [&](const std::string& name) {
    return std::any_of(tensors.begin(), tensors.end(), [&](auto& t) { return t.name == name; });
  };
  std::vector<std::vector<std::byte>> zeros;
  for (const TensorSource& t : parts.tensors) {
    const std::string hh = second_bias(t.name);
    if (hh.empty() || has(hh)) continue;
    size_t bytes = safetensors_dtype_bytes(t.dtype);
    for (int64_t extent : t.shape) bytes *= size_t(extent);
    zeros.emplace_back(bytes);
    tensors.push_back({hh, t.dtype, t.shape, zeros.back().data()});
  }
  write_safetensors(path, std::move(tensors), metadata);
}

ModelFile::ModelFile(const std::string& path) : file_(SafetensorsFile::open(path)) {
  check_version(file_);
  const std::string* kind = find_text(file_.metadata(), kKindKey);
  if (kind && *kind != "model")
    bad_model(path,
              "is a training " + *kind + ", not a model; use the model.safetensors beside it");
}

const TensorInfo* ModelFile::find(const std::string& name) const {
  if (const TensorInfo* t = file_.find(name)) return t;
  // Torch's save_model writes dropped -> kept, and may have kept either name of a tied matrix.
  if (const std::string* kept = find_text(file_.metadata(), name)) return file_.find(*kept);
  for (const auto& [alias, target] : file_.metadata())
    if (target == name && file_.find(alias)) return file_.find(alias);
  return nullptr;
}

const TensorInfo& ModelFile::resolve(const std::string& name) const {
  if (const TensorInfo* t = find(name)) return *t;
  std::string names;
  for (const TensorInfo& t : file_.tensors()) names += (names.empty() ? "" : ", ") + t.name;
  bad_model(file_.path(), "has no tensor '" + name + "'; it has " +
                              (names.empty() ? "none" : names.substr(0, 400)) +
                              "; rename the modules before saving");
}

bool ModelFile::has(const std::string& name) const { return find(name) != nullptr; }

bool ModelFile::has_config() const { return find_text(file_.metadata(), "config") != nullptr; }

Config ModelFile::config() const {
  const std::string* text = find_text(file_.metadata(), "config");
  if (!text)
    bad_model(file_.path(),
              "has no configuration in its metadata; put TOML text under 'config', or "
              "take its weights with `unroll train --init-from`");
  try {
    return Config::from_toml(*text, file_.path() + " (configuration)");
  } catch (const Error& e) {
    throw Error(ErrorKind::model, e.what());
  }
}

std::string ModelFile::vocab() const {
  std::string text;
  if (!get_text(file_.metadata(), "vocab", &text))
    bad_model(file_.path(),
              "has no vocabulary in its metadata; put it under 'vocab': a line with the "
              "unit (word or char), then one token per line in the order of the rows");
  return text;
}

std::string ModelFile::extra(const std::string& key) const {
  std::string text;
  get_text(file_.metadata(), kExtra + key, &text);
  return text;
}

const TensorInfo& ModelFile::resolve(const std::string& name,
                                     const std::vector<int64_t>& shape) const {
  const TensorInfo& t = resolve(name);
  if (t.shape != shape) {
    TensorInfo expected;
    expected.shape = shape;
    bad_model(file_.path(), "tensor '" + name + "' is " + t.shape_text() + ", expected " +
                                expected.shape_text() +
                                "; settings and file are of different models");
  }
  return t;
}

template <class T>
std::vector<T> ModelFile::read(const std::string& name, const std::vector<int64_t>& shape) const {
  std::vector<T> weight = file_.read<T>(resolve(name, shape));
  require_finite(file_.path(), name, weight.data(), weight.size());
  return weight;
}
template <class T>
void ModelFile::read_to(const std::string& name, const std::vector<int64_t>& shape, T* to) const {
  const TensorInfo& tensor = resolve(name, shape);
  file_.read_to(tensor, to);
  require_finite(file_.path(), name, to, size_t(tensor.count()));
}
template void ModelFile::read_to(const std::string&, const std::vector<int64_t>&, float*) const;
template void ModelFile::read_to(const std::string&, const std::vector<int64_t>&, double*) const;
template std::vector<float> ModelFile::read(const std::string&, const std::vector<int64_t>&) const;
template std::vector<double> ModelFile::read(const std::string&, const std::vector<int64_t>&) const;

template <class T>
std::vector<T> ModelFile::read_merged_bias(const std::string& name, int64_t size,
                                           const std::string& cell) const {
  std::vector<T> bias = read<T>(name, {size});
  const std::string hh = second_bias(name);
  UNROLL_CHECK(!hh.empty(), "'" + name + "' is not the name of a bias_ih");
  if (!has(hh)) return bias;
  const std::vector<T> second = read<T>(hh, {size});
  const size_t candidate = cell == "gru" ? bias.size() * 2 / 3 : bias.size();
  for (size_t i = 0; i < bias.size(); ++i) {
    // GRU's reset gate multiplies the recurrent candidate and its bias: there is no sum.
    if (i >= candidate && second[i] != 0)
      bad_model(file_.path(), "'" + hh +
                                  "' is not zero for the candidate gate, which one bias "
                                  "cannot express for a GRU; set biases = 2");
    bias[i] += second[i];
  }
  return bias;
}
template std::vector<float> ModelFile::read_merged_bias(const std::string&, int64_t,
                                                        const std::string&) const;
template std::vector<double> ModelFile::read_merged_bias(const std::string&, int64_t,
                                                         const std::string&) const;

}  // namespace unroll
