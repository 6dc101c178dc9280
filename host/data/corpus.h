// The tokens of one text as a memory-mapped file of ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "host/data/text_source.h"
#include "host/data/vocab.h"

namespace unroll {

inline constexpr const char* kTokenFileSuffix = ".unroll-tokens";

// A text as ids: every line ends with <eos>, an empty line is one <eos>. Ids are 16 bits wide where
// the vocabulary has at most 65,536 types, else 32; positions and line starts are 64 bits.
// Read-only after construction, so any number of threads may read. Moves, does not copy.
class Corpus {
 public:
  struct Files {
    std::vector<std::string> paths;  // as for TextSource
    std::string flag;                // the option they came from, for messages
  };

  Corpus() = default;
  // Encodes the text in one pass and bounded memory into the token file `cache_path` (written
  // beside it and renamed), or maps that file as it is where it was made from the same text (path,
  // size, time of change, hash of its first and last MB), vocabulary and format. An empty
  // `cache_path` means a file without a name in the folder for temporary files, gone with the
  // Corpus. Throws what TextSource and Vocab::encode throw, a data Error where the text has no
  // line, a disk Error where writing fails.
  Corpus(const Files& files, const Vocab& vocab, const std::string& cache_path);
  // In memory, from ids without <eos>, for tests and small programs.
  Corpus(const std::vector<std::vector<int32_t>>& lines, int32_t eos);

  uint64_t size() const { return tokens_; }  // tokens, one <eos> per line included
  uint64_t lines() const { return lines_; }
  int32_t eos() const { return eos_; }
  // Token at position i < size().
  int32_t operator[](uint64_t i) const {
    return narrow_ ? static_cast<int32_t>(static_cast<const uint16_t*>(ids_)[i])
                   : static_cast<int32_t>(static_cast<const uint32_t*>(ids_)[i]);
  }
  // The token before position i, which is what a model reads to predict token i: <eos> at the
  // start.
  int32_t before(uint64_t i) const { return i == 0 ? eos_ : (*this)[i - 1]; }
  // Line n is [line_start(n), line_start(n + 1)), its <eos> last; line_start(lines()) == size().
  uint64_t line_start(uint64_t n) const { return starts_[n]; }

  // Tokens mapped to <unk>; a literal <unk> is not one.
  uint64_t oov_tokens() const { return oov_tokens_; }
  // The most frequent of them, at most 10, by descending count, as escape_token() writes them.
  // Exact unless the text has more than a million types of unknown words.
  const std::vector<std::pair<std::string, uint64_t>>& top_oov() const { return top_oov_; }
  const TextNotes& notes() const { return notes_; }
  bool reused() const { return reused_; }  // an existing token file was mapped
  // Of the token file; resident at most, and given back under memory pressure.
  size_t mapped_bytes() const { return mapping_.get_deleter().bytes; }
  // Takes the token file's pages out of this process until they are read again, so that what the
  // process holds can be counted without them.
  void release_pages() const;

 private:
  bool open_cache(const std::string& path, uint64_t key);
  void map(int fd, size_t bytes);

  struct Unmap {
    size_t bytes;
    void operator()(void* mapping) const noexcept;
  };

  const void* ids_ = nullptr;
  const uint64_t* starts_ = nullptr;
  bool narrow_ = false;
  int32_t eos_ = 0;
  uint64_t tokens_ = 0, lines_ = 0, oov_tokens_ = 0;
  std::vector<std::pair<std::string, uint64_t>> top_oov_;
  TextNotes notes_;
  bool reused_ = false;
  std::unique_ptr<void, Unmap> mapping_;
  std::vector<uint32_t> own_ids_;  // in-memory form
  std::vector<uint64_t> own_starts_;
};

}  // namespace unroll
