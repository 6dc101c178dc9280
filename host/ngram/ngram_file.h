// The n-gram model as one block of bytes, the same in memory and on disk (little-endian, read by
// mapping it):
//
//   header | level 1 .. level N | vocabulary text | configuration text (JSON)
//
// Level n holds the n-grams w_1..w_n in lexicographic order of their ids: a forward trie. Level 1
// has V+1 entries, index = id, the last one being the start of a sentence <s>. Levels 2..N begin
// with the last word of every n-gram (u32); then one NgramEntry per n-gram plus a closing one, or,
// at the top level, the log10 probability alone (f64). Offsets are 64 bits wide.
//
// Probabilities are stored interpolated, in back-off form, so that a query is the ARPA recursion
//   p(w|h) = p*(w|h) if (h,w) is stored, else b(h) p(w|h'), h' = h without its oldest word.
// Every context carries the node of h', so that a query is one binary search per step of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/ngram/mapping.h"

namespace unroll {

inline constexpr int kMaxNgramOrder = 16;
// log10 of "never"; ARPA files use it for <s>, which is a context and never predicted.
inline constexpr double kLog10Zero = -99;

// A stored n-gram: its level (its number of words, 0 for the empty one) and index in that level.
class NgramNode {
 public:
  constexpr NgramNode() = default;
  constexpr NgramNode(int level, uint64_t index) : bits_(uint64_t(level) << kShift | index) {}
  static constexpr NgramNode from_bits(uint64_t bits) {
    NgramNode node;
    node.bits_ = bits;
    return node;
  }
  constexpr int level() const { return int(bits_ >> kShift); }
  constexpr uint64_t index() const { return bits_ & ((uint64_t(1) << kShift) - 1); }
  constexpr uint64_t bits() const { return bits_; }
  constexpr bool operator==(const NgramNode&) const = default;

 private:
  static constexpr int kShift = 58;
  uint64_t bits_ = 0;
};

struct NgramEntry {
  double log10_prob;
  double log10_backoff;  // 0 where the n-gram is no context
  uint64_t first_child;  // index in the next level; the children end where the next entry's begin
  uint64_t link_bits;    // NgramNode of the longest stored n-gram that is a proper suffix

  NgramNode link() const { return NgramNode::from_bits(link_bits); }
};

struct NgramLevel {
  uint64_t count = 0;
  uint32_t* words = nullptr;      // null at level 1
  NgramEntry* entries = nullptr;  // count + 1 of them; null at the top level
  double* top = nullptr;          // log10 probabilities; null below the top level

  double& log10_prob(uint64_t i) const { return entries ? entries[i].log10_prob : top[i]; }
};

class NgramFile {
 public:
  static constexpr uint64_t kNotFound = ~uint64_t(0);

  NgramFile() = default;
  // A zeroed block for counts[n-1] n-grams per level (counts[0] = V+1), in memory, or in a
  // temporary file of `folder` where it is larger than `memory` bytes.
  // Throws Error(resource | disk).
  static NgramFile allocate(int64_t V, uint32_t eos, const std::vector<uint64_t>& counts,
                            size_t memory, const std::string& folder);
  static size_t bytes_for(const std::vector<uint64_t>& counts);
  // Maps a model file and checks every offset in it, so that no query can leave the block. Throws
  // Error(usage) if it cannot be opened, Error(model) naming the byte offset if it is no such file,
  // truncated or damaged.
  static NgramFile open(const std::string& path);
  static bool has_magic(std::string_view first_bytes);
  // Writes the block, whole or not at all. Throws Error(disk).
  void save(const std::string& path, std::string_view vocabulary, std::string_view config) const;

  // Sets the link of every context; words and children must be in place.
  void set_links();

  int order() const { return order_; }
  int64_t vocab_size() const { return V_; }
  uint32_t eos() const { return eos_; }
  uint64_t start_id() const { return uint64_t(V_); }
  uint64_t bytes() const { return mapping_.bytes(); }
  const NgramLevel& level(int n) const { return levels_[n]; }  // 1 .. order
  // The texts of a file that was opened; empty in a block that was allocated.
  std::string_view vocabulary() const { return vocabulary_; }
  std::string_view config() const { return config_; }

  // The context of a sentence's first word: <s>, or nothing in a model of order 1.
  NgramNode start() const { return order_ > 1 ? NgramNode(1, start_id()) : NgramNode(); }
  const NgramEntry& entry(NgramNode node) const {
    return levels_[node.level()].entries[node.index()];
  }
  // Index of (node, word) in the level above `node`, or kNotFound; word < V.
  uint64_t child(NgramNode node, uint32_t word) const;
  // The longest stored n-gram that is a suffix of (node, word) and shorter than the model's order.
  NgramNode successor(NgramNode node, uint32_t word) const;
  // log10 p(word | state), by the ARPA recursion; the state then takes in the word.
  double advance(NgramNode& state, uint32_t word) const;

 private:
  void lay_out(std::byte* data, const std::vector<uint64_t>& counts);
  void check_body(const std::string& path) const;

  Mapping mapping_;
  int order_ = 0;
  int64_t V_ = 0;
  uint32_t eos_ = 0;
  NgramLevel levels_[kMaxNgramOrder + 1];
  std::string_view vocabulary_, config_;
};

inline uint64_t NgramFile::child(NgramNode node, uint32_t word) const {
  if (node.level() == 0) return word;
  const NgramEntry* entry = &this->entry(node);
  const uint32_t* words = levels_[node.level() + 1].words;
  // Branch-free halving: the comparison becomes a conditional move.
  uint64_t first = entry[0].first_child, length = entry[1].first_child - first;
  if (length == 0) return kNotFound;
  while (length > 1) {
    const uint64_t half = length / 2;
    first += words[first + half - 1] < word ? half : 0;
    length -= half;
  }
  return words[first] == word ? first : kNotFound;
}

inline NgramNode NgramFile::successor(NgramNode node, uint32_t word) const {
  if (order_ == 1) return NgramNode();
  while (true) {
    if (node.level() + 1 < order_) {
      const uint64_t found = child(node, word);
      if (found != kNotFound) return NgramNode(node.level() + 1, found);
    }
    node = entry(node).link();  // the empty n-gram has every word: the loop ends there
  }
}

inline double NgramFile::advance(NgramNode& state, uint32_t word) const {
  double log10_backoff = 0;
  NgramNode node = state;
  while (true) {
    const uint64_t found = child(node, word);
    if (found != kNotFound) {
      const int level = node.level() + 1;
      state = level < order_ ? NgramNode(level, found)
                             : (order_ == 1 ? NgramNode() : successor(entry(node).link(), word));
      return log10_backoff + levels_[level].log10_prob(found);
    }
    log10_backoff += entry(node).log10_backoff;
    node = entry(node).link();
  }
}

}  // namespace unroll
