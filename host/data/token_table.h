// A set of byte strings numbered in order of insertion: the hash table under vocabularies and
// counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace unroll {

// 64-bit FNV-1a of some bytes, continued from `hash`.
inline uint64_t fnv1a(std::string_view bytes, uint64_t hash = 0xcbf29ce484222325u) {
  for (const unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001b3u;
  return hash;
}

// All strings lie end to end in one buffer and the table holds 32-bit numbers: about 20 bytes per
// string beside its own, a third of what a map of std::string takes, which is what lets millions of
// types fit.
class TokenTable {
 public:
  uint32_t size() const { return static_cast<uint32_t>(ends_.size()); }
  // Valid until the next insert.
  std::string_view operator[](uint32_t i) const {
    const uint64_t begin = i == 0 ? 0 : ends_[i - 1];
    return {bytes_.data() + begin, static_cast<size_t>(ends_[i] - begin)};
  }
  std::optional<uint32_t> find(std::string_view token) const {
    if (slots_.empty()) return std::nullopt;
    const uint32_t found = slots_[slot_of(token)];
    return found == kEmpty ? std::nullopt : std::optional<uint32_t>(found);
  }
  // Number of `token`, added where it is new.
  uint32_t insert(std::string_view token) {
    if ((size() + 1) * uint64_t{3} > slots_.size() * uint64_t{2}) grow();
    uint32_t& slot = slots_[slot_of(token)];
    if (slot == kEmpty) {
      slot = size();
      bytes_.append(token);
      ends_.push_back(bytes_.size());
    }
    return slot;
  }

 private:
  static constexpr uint32_t kEmpty = ~uint32_t{0};

  // The slot that holds `token`, or the empty one where it belongs.
  size_t slot_of(std::string_view token) const {
    const uint64_t hash = fnv1a(token);
    size_t slot = (hash ^ (hash >> 32)) & (slots_.size() - 1);
    while (slots_[slot] != kEmpty && (*this)[slots_[slot]] != token) {
      slot = (slot + 1) & (slots_.size() - 1);
    }
    return slot;
  }
  void grow() {
    slots_.assign(slots_.empty() ? 64 : slots_.size() * 2, kEmpty);
    for (uint32_t i = 0; i < size(); ++i) slots_[slot_of((*this)[i])] = i;
  }

  std::string bytes_;
  std::vector<uint64_t> ends_;
  std::vector<uint32_t> slots_;
};

}  // namespace unroll
