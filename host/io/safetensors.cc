// Reading safetensors: the file is mapped and every rule of the format is checked at open.
#include "host/io/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "host/io/parse.h"
#include "kernels/base/dtype.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

using Json = nlohmann::json;
constexpr uint64_t kMaxHeader = 100'000'000;

[[noreturn]] void invalid(const std::string& path, const std::string& rule) {
  throw Error(ErrorKind::model, path + ": not a valid safetensors file: " + rule);
}

// Closes and unmaps on any error before the object owns the mapping.
struct Mapping {
  int fd = -1;
  void* address = MAP_FAILED;
  size_t bytes = 0;

  ~Mapping() {
    if (fd >= 0) ::close(fd);
    if (address != MAP_FAILED) ::munmap(address, bytes);
  }
};

void map_file(const std::string& path, Mapping& m) {
  auto cannot = [&](const std::string& why) -> Error {
    return {ErrorKind::usage, path + ": cannot be opened: " + why};
  };
  m.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (m.fd < 0) throw cannot(std::strerror(errno));
  struct stat status {};
  if (::fstat(m.fd, &status) != 0) throw cannot(std::strerror(errno));
  if (!S_ISREG(status.st_mode))
    throw cannot(S_ISDIR(status.st_mode) ? "it is a folder, name a .safetensors file"
                                         : "it is not a regular file");
  m.bytes = size_t(status.st_size);
  if (m.bytes < 8)
    invalid(path, "it has " + std::to_string(m.bytes) +
                      " bytes, and the length of the header alone takes 8");
  m.address = ::mmap(nullptr, m.bytes, PROT_READ, MAP_PRIVATE, m.fd, 0);
  if (m.address == MAP_FAILED) throw cannot(std::strerror(errno));
}

Json parse_header(const std::string& path, const char* text, size_t bytes) {
  if (bytes == 0 || text[0] != '{') invalid(path, "the header does not begin with '{'");
  // The JSON library keeps the last of two equal keys; the format forbids them.
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      duplicate = value.get<std::string>();
    return true;
  };
  Json header;
  try {
    header = Json::parse(text, text + bytes, watch);
  } catch (const Json::exception& e) {
    invalid(path, std::string("the header is not JSON in UTF-8 (") + e.what() + ")");
  }
  if (!duplicate.empty()) invalid(path, "the key '" + duplicate + "' appears twice");
  return header;
}

uint64_t as_size(const std::string& path, const std::string& name, const Json& value,
                 const char* what) {
  if (!value.is_number_unsigned() ||
      value.get<uint64_t>() > uint64_t(std::numeric_limits<int64_t>::max()))
    invalid(path, "tensor '" + name + "': " + what + " must be non-negative integers");
  return value.get<uint64_t>();
}

TensorInfo parse_entry(const std::string& path, const std::string& name, const Json& entry) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
      !entry.contains("shape") || !entry["shape"].is_array() || !entry.contains("data_offsets") ||
      !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2)
    invalid(path, "tensor '" + name + "' needs dtype (text), shape (list), data_offsets (pair)");
  TensorInfo t;
  t.name = name;
  t.dtype = entry["dtype"].get<std::string>();
  const size_t element = safetensors_dtype_bytes(t.dtype);
  if (element == 0) invalid(path, "tensor '" + name + "' has the unknown dtype '" + t.dtype + "'");
  uint64_t bytes = element;
  for (const Json& extent : entry["shape"]) {
    const uint64_t n = as_size(path, name, extent, "extents");
    t.shape.push_back(int64_t(n));
    if (__builtin_mul_overflow(bytes, n, &bytes))
      invalid(path, "tensor '" + name + "': the product of its extents overflows");
  }
  t.begin = as_size(path, name, entry["data_offsets"][0], "data_offsets");
  t.end = as_size(path, name, entry["data_offsets"][1], "data_offsets");
  if (t.end < t.begin)
    invalid(path, "tensor '" + name + "' ends at byte " + std::to_string(t.end) +
                      ", before it begins at " + std::to_string(t.begin));
  if (t.end - t.begin != bytes)
    invalid(path, "tensor '" + name + "' " + t.dtype + t.shape_text() + " needs " +
                      std::to_string(bytes) + " bytes, its data_offsets span " +
                      std::to_string(t.end - t.begin));
  return t;
}

// Data must be covered from first to last byte, without hole or overlap.
void check_coverage(const std::string& path, const std::vector<TensorInfo>& tensors,
                    uint64_t data_bytes) {
  uint64_t at = 0;
  for (const TensorInfo& t : tensors) {
    if (t.begin != at)
      invalid(path, "tensor '" + t.name + "' begins at byte " + std::to_string(t.begin) + ", " +
                        (t.begin > at ? "leaving a hole after" : "overlapping what ends at") +
                        " byte " + std::to_string(at));
    at = t.end;
  }
  if (at > data_bytes)
    invalid(path, "truncated: the tensors need " + std::to_string(at) +
                      " bytes of data, the file has " + std::to_string(data_bytes));
  if (at < data_bytes)
    invalid(path, std::to_string(data_bytes - at) + " bytes follow the last tensor");
}

float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 0x1fu, mantissa = h & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float small = float(mantissa) * 0x1p-24f;
  return sign ? -small : small;
}

// Bytes of the mapping that are read before they are given back: a large file then never stands in
// memory beside what is made of it.
constexpr size_t kReadPiece = size_t(1) << 20;

// Lets go of the whole pages within [begin, end) of a mapping that is only read.
void give_back(const std::byte* begin, const std::byte* end) {
  const uintptr_t page = uintptr_t(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

template <class Element, class T, class Convert>
void convert_all(const std::byte* from, int64_t count, T* to, Convert convert) {
  constexpr int64_t kPiece = kReadPiece / sizeof(Element);
  for (int64_t first = 0; first < count; first += kPiece) {
    const int64_t end = std::min(count, first + kPiece);
    for (int64_t i = first; i < end; ++i) {
      Element e;
      std::memcpy(&e, from + size_t(i) * sizeof(Element), sizeof(Element));
      to[i] = T(convert(e));
    }
    give_back(from + size_t(first) * sizeof(Element), from + size_t(end) * sizeof(Element));
  }
}

}  // namespace

size_t safetensors_dtype_bytes(const std::string& dtype) {
  static const std::map<std::string, size_t> bytes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
      {"F32", 4},  {"F64", 8}, {"I64", 8}, {"U64", 8},     {"C64", 8}};
  const auto it = bytes.find(dtype);
  return it == bytes.end() ? 0 : it->second;
}

int64_t TensorInfo::count() const {
  int64_t n = 1;
  for (int64_t extent : shape) n *= extent;
  return n;
}

std::string TensorInfo::shape_text() const {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? "," : "") + std::to_string(shape[i]);
  return s + "]";
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  Mapping m;
  map_file(path, m);
  const char* bytes = static_cast<const char*>(m.address);
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes, 8);
  if (header_bytes > kMaxHeader)
    invalid(path, "the header's length " + std::to_string(header_bytes) +
                      " is above the limit of " + std::to_string(kMaxHeader) +
                      " (the file is of another kind)");
  if (header_bytes > m.bytes - 8)
    invalid(path, "truncated: the header needs " + std::to_string(header_bytes) +
                      " bytes, the file has " + std::to_string(m.bytes - 8) + " after the length");

  SafetensorsFile file;
  file.path_ = path;
  const Json header = parse_header(path, bytes + 8, size_t(header_bytes));
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      file.tensors_.push_back(parse_entry(path, name, entry));
      continue;
    }
    if (!entry.is_object()) invalid(path, "__metadata__ must map text to text");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string())
        invalid(path, "__metadata__ must map text to text, '" + key + "' does not");
      file.metadata_[key] = value.get<std::string>();
    }
  }
  std::sort(file.tensors_.begin(), file.tensors_.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  check_coverage(path, file.tensors_, m.bytes - 8 - header_bytes);
  for (size_t i = 0; i < file.tensors_.size(); ++i) file.index_[file.tensors_[i].name] = i;
  file.data_ = static_cast<const std::byte*>(m.address) + 8 + header_bytes;
  file.map_ = std::exchange(m.address, MAP_FAILED);
  file.map_bytes_ = m.bytes;
  return file;
}

SafetensorsFile::SafetensorsFile(SafetensorsFile&& o) noexcept { *this = std::move(o); }

SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&& o) noexcept {
  std::swap(path_, o.path_);
  std::swap(metadata_, o.metadata_);
  std::swap(tensors_, o.tensors_);
  std::swap(index_, o.index_);
  std::swap(map_, o.map_);
  std::swap(map_bytes_, o.map_bytes_);
  std::swap(data_, o.data_);
  return *this;
}

SafetensorsFile::~SafetensorsFile() {
  if (map_) ::munmap(map_, map_bytes_);
}

const TensorInfo* SafetensorsFile::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

const TensorInfo& SafetensorsFile::tensor(const std::string& name) const {
  if (const TensorInfo* t = find(name)) return *t;
  std::vector<std::string> names;
  for (const TensorInfo& t : tensors_) names.push_back(t.name);
  throw Error(ErrorKind::model,
              path_ + ": has no tensor '" + name + "'" + did_you_mean(name, names));
}

template <class T>
std::vector<T> SafetensorsFile::read(const TensorInfo& t) const {
  std::vector<T> values(static_cast<size_t>(t.count()));
  read_to(t, values.data());
  return values;
}
template <class T>
void SafetensorsFile::read_to(const TensorInfo& t, T* to) const {
  const auto plain = [](auto x) { return x; };
  if (t.dtype == "F32") return convert_all<float>(data(t), t.count(), to, plain);
  if (t.dtype == "F64") return convert_all<double>(data(t), t.count(), to, plain);
  if (t.dtype == "BF16")
    return convert_all<bf16>(data(t), t.count(), to, [](bf16 x) { return float(x); });
  if (t.dtype == "F16") return convert_all<uint16_t>(data(t), t.count(), to, half_to_float);
  throw Error(ErrorKind::model, path_ + ": tensor '" + t.name + "' is " + t.dtype +
                                    ", expected F32, F64, F16 or BF16");
}
template std::vector<float> SafetensorsFile::read(const TensorInfo&) const;
template std::vector<double> SafetensorsFile::read(const TensorInfo&) const;
template void SafetensorsFile::read_to(const TensorInfo&, float*) const;
template void SafetensorsFile::read_to(const TensorInfo&, double*) const;

void SafetensorsFile::copy(const std::string& name, const std::string& dtype, void* to,
                           size_t bytes) const {
  const TensorInfo& t = tensor(name);
  if (t.dtype != dtype || t.end - t.begin != bytes)
    throw Error(ErrorKind::model, path_ + ": tensor '" + name + "' is " + t.dtype + t.shape_text() +
                                      " of " + std::to_string(t.end - t.begin) +
                                      " bytes, expected " + dtype + " of " + std::to_string(bytes) +
                                      " bytes");
  for (size_t first = 0; first < bytes; first += kReadPiece) {
    const size_t n = std::min(kReadPiece, bytes - first);
    std::memcpy(static_cast<std::byte*>(to) + first, data(t) + first, n);
    give_back(data(t) + first, data(t) + first + n);
  }
}

}  // namespace unroll
