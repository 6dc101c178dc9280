#include "host/train/weights_file.h"

#include <algorithm>

#include "kernels/base/error.h"

namespace unroll {
namespace {

const char* kEncoder = "encoder.weight";
const char* kDecoder = "decoder.weight";
const char* kDecoderBias = "decoder.bias";

std::vector<int64_t> shape_of(const ParamStore::Entry& e) {
  return e.columns ? std::vector<int64_t>{e.rows, e.columns} : std::vector<int64_t>{e.rows};
}

// The weight as the file has it. The file always holds two biases; a model with one takes their
// sum.
template <class T>
std::vector<T> read_weight(const ModelFile& file, const ParamStore& params,
                           const ParamStore::Entry& e, const std::vector<int64_t>& shape,
                           const std::string& cell) {
  const size_t at = e.name.find("bias_ih");
  if (at != std::string::npos) {
    std::string other = e.name;
    other.replace(at, 7, "bias_hh");
    if (!params.has(other)) return file.read_merged_bias<T>(e.name, e.rows, cell);
  }
  return file.read<T>(e.name, shape);
}

template <class T>
void load(const ModelFile& file, const Backend& backend, const ParamStore& params,
          const std::string& cell) {
  for (size_t i = 0; i < params.entries().size(); ++i) {
    const ParamStore::Entry& e = params.entries()[i];
    // On a CPU a large matrix has no second copy on its way.
    if (e.columns && backend.device().kind() == DeviceKind::cpu)
      file.read_to(e.name, shape_of(e), static_cast<T*>(params.slab().data) + e.offset);
    else
      params.write(backend, int(i), read_weight<T>(file, params, e, shape_of(e), cell).data());
  }
}

// Takes the rows of words that both vocabularies have.
template <class T>
void take_rows(const ModelFile& file, const Backend& backend, const ParamStore& params, int index,
               const Vocab& from, const Vocab& to) {
  const ParamStore::Entry& e = params.entries()[size_t(index)];
  std::vector<int64_t> shape = shape_of(e);
  shape[0] = from.size();
  const std::vector<T> old = file.read<T>(e.name, shape);
  std::vector<T> now(size_t(e.size()));
  params.read(backend, index, now.data());
  const size_t width = size_t(e.columns ? e.columns : 1);
  for (int32_t v = 0; v < to.size(); ++v)
    if (const auto id = from.id(to.token(v)))
      std::copy_n(old.begin() + int64_t(size_t(*id) * width), width,
                  now.begin() + int64_t(size_t(v) * width));
  params.write(backend, index, now.data());
}

template <class T>
std::string initialize(const ModelFile& file, const Backend& backend, const ParamStore& params,
                       const std::string& cell, const Vocab& vocab) {
  if (!has_vocab(file)) {
    // Weights saved from PyTorch: the rows have to be this very vocabulary's, or a shape differs.
    load<T>(file, backend, params, cell);
    return "weights from " + file.file().path() +
           ", which has no vocabulary: row i is taken for word i of this run's";
  }
  const Vocab old = Vocab::deserialize(file.vocab(), file.file().path());
  for (size_t i = 0; i < params.entries().size(); ++i) {
    const ParamStore::Entry& e = params.entries()[i];
    if (e.name == kEncoder || e.name == kDecoder || e.name == kDecoderBias)
      take_rows<T>(file, backend, params, int(i), old, vocab);
    else
      params.write(backend, int(i), read_weight<T>(file, params, e, shape_of(e), cell).data());
  }
  int64_t known = 0;
  for (int32_t v = 0; v < vocab.size(); ++v) known += old.id(vocab.token(v)).has_value();
  return "weights from " + file.file().path() + ": " + std::to_string(known) + " of " +
         std::to_string(vocab.size()) + " words (" +
         std::to_string(100 * known / std::max<int64_t>(1, vocab.size())) +
         "%) are in its vocabulary, the others start fresh";
}

}  // namespace

bool has_vocab(const ModelFile& file) {
  const Metadata& metadata = file.file().metadata();
  return metadata.count("vocab") || metadata.count("vocab_latin1");
}

void save_model(SnapshotWriter& writer, const std::string& path, const ParamStore& params,
                const Config& config, const Vocab& vocab, const Metadata& extra) {
  ModelParts parts;
  const View1 slab = params.slab();
  std::vector<size_t> offsets;
  for (const ParamStore::Entry& e : params.entries()) {
    parts.tensors.push_back(
        {e.name, slab.dtype == DType::f64 ? "F64" : "F32", shape_of(e), nullptr});
    offsets.push_back(size_t(e.offset) * size_of(slab.dtype));
  }
  parts.config = config.to_toml();
  if (config.tied) parts.aliases = {{kDecoder, kEncoder}};
  parts.extra = extra;
  writer.submit(SnapshotWriter::Kind::model, {{slab.data, size_t(slab.n[0]) * size_of(slab.dtype)}},
                [parts, offsets, path, &vocab](const std::vector<const void*>& copies) mutable {
                  parts.vocab = vocab.serialize();
                  for (size_t i = 0; i < offsets.size(); ++i)
                    parts.tensors[i].data = static_cast<const char*>(copies[0]) + offsets[i];
                  write_model(path, parts);
                });
}

void load_weights(const ModelFile& file, const Backend& backend, const ParamStore& params,
                  const std::string& cell) {
  if (params.acc() == DType::f64)
    load<double>(file, backend, params, cell);
  else
    load<float>(file, backend, params, cell);
  params.cast_shadow(backend.exec());
  backend.stream().synchronize();
}

std::string initialize_from(const ModelFile& file, const Backend& backend, const ParamStore& params,
                            const std::string& cell, const Vocab& vocab) {
  std::string report = params.acc() == DType::f64
                           ? initialize<double>(file, backend, params, cell, vocab)
                           : initialize<float>(file, backend, params, cell, vocab);
  params.cast_shadow(backend.exec());
  backend.stream().synchronize();
  return report;
}

}  // namespace unroll
