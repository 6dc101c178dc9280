// Writing safetensors: header built in memory, data streamed into an AtomicFile.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "host/io/atomic_file.h"
#include "host/io/safetensors.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

size_t data_bytes(const TensorSource& t) {
  size_t bytes = safetensors_dtype_bytes(t.dtype);
  for (int64_t extent : t.shape) bytes *= size_t(extent);
  return bytes;
}

}  // namespace

void write_safetensors(const std::string& path, std::vector<TensorSource> tensors,
                       const Metadata& metadata) {
  for (const TensorSource& t : tensors) {
    UNROLL_CHECK(safetensors_dtype_bytes(t.dtype) > 0,
                 path + ": tensor '" + t.name + "' has the unknown dtype '" + t.dtype + "'");
    UNROLL_CHECK(t.name != "__metadata__", path + ": a tensor cannot be called __metadata__");
  }
  // Large alignments first: then every tensor is aligned to its element without padding.
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    const size_t x = safetensors_dtype_bytes(a.dtype), y = safetensors_dtype_bytes(b.dtype);
    return x != y ? x > y : std::tie(a.dtype, a.name) < std::tie(b.dtype, b.name);
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t at = 0;
  for (const TensorSource& t : tensors) {
    UNROLL_CHECK(!header.contains(t.name), path + ": two tensors are called '" + t.name + "'");
    const uint64_t end = at + data_bytes(t);
    header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& e) {
    throw Error(path + ": the header cannot be written as UTF-8: " + e.what());
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  UNROLL_CHECK(text.size() <= 100'000'000,
               path + ": the header (names, vocabulary, configuration) would take " +
                   std::to_string(text.size()) + " bytes, the format allows 100000000; use a " +
                   "smaller vocabulary");

  AtomicFile file(path);
  const uint64_t header_bytes = text.size();
  file.write(&header_bytes, 8);
  file.write(text);
  for (const TensorSource& t : tensors)
    if (const size_t bytes = data_bytes(t)) file.write(t.data, bytes);
  file.commit();
}

}  // namespace unroll
