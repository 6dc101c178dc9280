// Token files: encoding a text in one pass, and mapping the result.
#include "host/data/corpus.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "host/data/token_file.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr uint32_t kMostOovTypes = 1'000'000;
constexpr size_t kTopOov = 10;
constexpr size_t kSample = size_t{1} << 20;

// Hash of everything the token file depends on, or 0 where the text can be read only once.
uint64_t cache_key(const Corpus::Files& files, const Vocab& vocab) {
  uint64_t key = fnv1a(fmt::format("{} {}", TokenFileHeader::kVersion, vocab.hash()));
  std::vector<char> block(kSample);
  for (const std::string& path : files.paths) {
    if (path == "-" || !S_ISREG(check_readable(path, files.flag))) return 0;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat info {};
    if (fd < 0 || fstat(fd, &info) != 0) fail_reading(path, files.flag, errno);
    key = fnv1a(fmt::format("\n{} {} {} {}\n", std::filesystem::absolute(path).string(),
                            info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec),
                key);
    const off_t last = std::max<off_t>(0, info.st_size - static_cast<off_t>(kSample));
    for (const off_t at : {off_t{0}, last}) {
      const ssize_t n = pread(fd, block.data(), block.size(), at);
      if (n > 0) key = fnv1a({block.data(), static_cast<size_t>(n)}, key);
    }
    close(fd);
  }
  return key == 0 ? 1 : key;
}

OovList most_frequent(const TypeCounts& counts) {
  std::vector<uint32_t> order(counts.types());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  const size_t n = std::min(order.size(), kTopOov);
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(n), order.end(),
                    [&](uint32_t a, uint32_t b) {
                      return std::pair(counts.count(b), a) < std::pair(counts.count(a), b);
                    });
  OovList top;
  for (size_t i = 0; i < n; ++i) {
    top.emplace_back(escape_token(counts.token(order[i])), counts.count(order[i]));
  }
  return top;
}

// Encodes the text into `file`, which holds a header's space already.
template <class Id>
TokenFileHeader encode(const Corpus::Files& files, const Vocab& vocab, TokenFile& file,
                       TokenFile& starts) {
  TextSource source(files.paths, files.flag);
  TypeCounts oov(vocab.unit());
  TextNotes extra;
  TokenFileHeader header{};
  const auto put = [&](int32_t id) {
    const Id narrow = static_cast<Id>(id);
    file.write(&narrow, sizeof narrow);
    ++header.tokens;
  };
  starts.write(&header.tokens, sizeof header.tokens);
  std::string_view piece;
  while (source.next(piece)) {
    for_each_token(vocab.unit(), piece, [&](std::string_view token) {
      std::optional<int32_t> id = vocab.id(token);
      if (!id) {
        id = vocab.id_or_unk(token, vocab.unk() ? "" : source.place());
        ++header.oov_tokens;
        if (oov.types() < kMostOovTypes) oov.add(token);
      }
      put(*id);
      if (vocab.unit() == Unit::character) return;
      extra.long_words += token.size() > 1024;
      if (token[0] == '<' && (token == kEos || token == "<s>" || token == "</s>") &&
          extra.sentence_marks++ == 0) {
        extra.first_mark_line = source.notes().lines + !source.line_ended();
      }
    });
    if (!source.line_ended()) continue;
    put(vocab.eos());
    ++header.lines;
    starts.write(&header.tokens, sizeof header.tokens);
  }
  if (header.lines == 0) {
    throw Error(ErrorKind::data, fmt::format("'{}' (from {}) is empty; expected text, one line per "
                                             "sentence or paragraph",
                                             fmt::join(files.paths, "', '"), files.flag));
  }
  TextNotes notes = source.notes();
  notes.long_words = extra.long_words;
  notes.sentence_marks = extra.sentence_marks;
  notes.first_mark_line = extra.first_mark_line;
  file.pad();
  header.starts_at = file.written();
  file.append(starts);
  header.notes_at = file.written();
  const std::string json = notes_to_json(notes, most_frequent(oov));
  file.write(json.data(), json.size());
  header.notes_bytes = json.size();
  header.id_bytes = sizeof(Id);
  return header;
}

}  // namespace

Corpus::Corpus(const Files& files, const Vocab& vocab, const std::string& cache_path) : Corpus() {
  eos_ = vocab.eos();
  const uint64_t key = cache_path.empty() ? 0 : cache_key(files, vocab);
  if (key != 0 && open_cache(cache_path, key)) return;
  TokenFile file(cache_path, !cache_path.empty());
  TokenFile starts(cache_path, false);
  const TokenFileHeader space{};
  file.write(&space, sizeof space);
  TokenFileHeader header = vocab.size() <= 65536 ? encode<uint16_t>(files, vocab, file, starts)
                                                 : encode<uint32_t>(files, vocab, file, starts);
  header.key = key;
  file.publish(header);
  map(file.fd(), file.written());
}

Corpus::Corpus(const std::vector<std::vector<int32_t>>& lines, int32_t eos) : eos_(eos) {
  own_starts_.push_back(0);
  for (const auto& line : lines) {
    own_ids_.insert(own_ids_.end(), line.begin(), line.end());
    own_ids_.push_back(static_cast<uint32_t>(eos));
    own_starts_.push_back(own_ids_.size());
  }
  ids_ = own_ids_.data();
  starts_ = own_starts_.data();
  tokens_ = own_ids_.size();
  lines_ = notes_.lines = lines.size();
}

// Maps an existing token file; false where there is none, or one of something else.
bool Corpus::open_cache(const std::string& path, uint64_t key) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  TokenFileHeader header{};
  struct stat info {};
  const bool fits = pread(fd, &header, sizeof header, 0) == sizeof header && header.valid() &&
                    header.key == key && fstat(fd, &info) == 0 &&
                    header.notes_at + header.notes_bytes == static_cast<uint64_t>(info.st_size);
  if (fits) {
    try {
      map(fd, static_cast<size_t>(info.st_size));
    } catch (...) {  // the file is not left open
      close(fd);
      throw;
    }
  }
  close(fd);
  reused_ = fits;
  return fits;
}

void Corpus::map(int fd, size_t bytes) {
  void* mapping = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) {
    throw Error(ErrorKind::resource, fmt::format("cannot map {} bytes of tokens into memory: {}",
                                                 bytes, std::strerror(errno)));
  }
  mapping_ = {mapping, Unmap{bytes}};
  const char* base = static_cast<const char*>(mapping);
  TokenFileHeader header;
  std::memcpy(&header, base, sizeof header);
  ids_ = base + sizeof header;
  starts_ = reinterpret_cast<const uint64_t*>(base + header.starts_at);
  narrow_ = header.id_bytes == 2;
  tokens_ = header.tokens;
  lines_ = header.lines;
  oov_tokens_ = header.oov_tokens;
  notes_from_json({base + header.notes_at, header.notes_bytes}, notes_, top_oov_);
}

void Corpus::release_pages() const {
  if (mapping_) madvise(mapping_.get(), mapped_bytes(), MADV_DONTNEED);
}

void Corpus::Unmap::operator()(void* mapping) const noexcept { munmap(mapping, bytes); }

}  // namespace unroll
