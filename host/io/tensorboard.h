// TensorBoard event files with scalars: records framed by length and masked CRC32C (the TFRecord
// format), the few protobuf fields of tensorflow.Event written by hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace unroll {

// CRC-32C (Castagnoli), RFC 3720 appendix B.4.
uint32_t crc32c(const void* data, size_t bytes);
// The form used in records: rotated right by 15 bits, plus 0xa282ead8.
uint32_t masked_crc32c(const void* data, size_t bytes);

class EventWriter {
 public:
  // Starts a new event file in `folder` (made if missing). On resume, `resumed_after` is the step
  // of the state: TensorBoard then hides what earlier files of the folder hold beyond it; -1 for a
  // new run. Throws Error(disk).
  explicit EventWriter(const std::string& folder, int64_t resumed_after = -1);
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  // One value of the curve `tag`, written at once. Throws Error(disk).
  void scalar(std::string_view tag, double value, int64_t step);

  const std::string& path() const { return path_; }

 private:
  void record(const std::string& payload);

  std::string path_;
  int fd_ = -1;
};

}  // namespace unroll
