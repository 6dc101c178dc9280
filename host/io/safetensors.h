// The safetensors format: an 8-byte little-endian header length, a JSON header, then raw tensors,
// C order, little-endian. https://github.com/huggingface/safetensors#format
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace unroll {

using Metadata = std::map<std::string, std::string>;

// Bytes of one element of a safetensors dtype ("F32", "BF16", "I64", ...); 0 if it is unknown.
size_t safetensors_dtype_bytes(const std::string& dtype);

// One entry of a file; [begin, end) in bytes from the start of the data part.
struct TensorInfo {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;

  int64_t count() const;           // elements; 1 for rank 0
  std::string shape_text() const;  // "[200,10000]"
};

// A file mapped read-only. Pointers into it live as long as this object.
class SafetensorsFile {
 public:
  // Checks every rule of the format. Throws Error(usage) if the file cannot be opened, Error(model)
  // with path and the rule that failed if it is not a valid file.
  static SafetensorsFile open(const std::string& path);

  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  const std::string& path() const { return path_; }
  const Metadata& metadata() const { return metadata_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // in order of offset

  const TensorInfo* find(const std::string& name) const;    // null if there is none
  const TensorInfo& tensor(const std::string& name) const;  // throws Error(model), nearest name

  // The tensor's bytes. The address need not be aligned in files of other writers: copy them.
  const std::byte* data(const TensorInfo& info) const { return data_ + info.begin; }

  // Elements of an F32, F64, F16 or BF16 tensor as T = float or double. Throws Error(model).
  template <class T>
  std::vector<T> read(const TensorInfo& info) const;
  template <class T>
  std::vector<T> read(const std::string& name) const {
    return read<T>(tensor(name));
  }

  // The same to count() elements of memory.
  template <class T>
  void read_to(const TensorInfo& info, T* to) const;

  // Copies the raw bytes of a tensor of exactly this dtype and size. Throws Error(model).
  void copy(const std::string& name, const std::string& dtype, void* to, size_t bytes) const;

 private:
  SafetensorsFile() = default;

  std::string path_;
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t> index_;
  void* map_ = nullptr;
  size_t map_bytes_ = 0;
  const std::byte* data_ = nullptr;
};

// A tensor to write; `data` is borrowed until write_safetensors returns.
struct TensorSource {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  const void* data = nullptr;
};

// Writes the file whole or not at all, dtypes of larger alignment first and then by name, the
// header padded so that data starts at a multiple of 8. Throws Error(disk) if writing fails,
// Error(internal) for a duplicate name, unknown dtype, text that is not UTF-8 or a header above
// 100,000,000 bytes.
void write_safetensors(const std::string& path, std::vector<TensorSource> tensors,
                       const Metadata& metadata);

}  // namespace unroll
