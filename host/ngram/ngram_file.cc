// The n-gram model as one block of bytes: layout, reading with checks, writing.
#include "host/ngram/ngram_file.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "host/io/atomic_file.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

static_assert(std::endian::native == std::endian::little, "the file format is little-endian");
static_assert(sizeof(NgramEntry) == 32);

constexpr char kMagic[8] = {'U', 'N', 'R', 'N', 'G', 'R', 'A', 'M'};
constexpr uint32_t kVersion = 1;
constexpr size_t kAlign = 64;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t order;
  uint64_t V;
  uint64_t eos;
  uint64_t counts[kMaxNgramOrder];
  uint64_t vocabulary_bytes;
  uint64_t config_bytes;
  uint64_t file_bytes;
  uint64_t checksum;  // FNV-1a of the bytes before it
};
constexpr size_t kHeaderBytes = (sizeof(Header) + kAlign - 1) / kAlign * kAlign;

size_t align_up(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

uint64_t header_checksum(const Header& header) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(&header);
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < offsetof(Header, checksum); ++i) {
    hash = (hash ^ bytes[i]) * 0x100000001b3u;
  }
  return hash;
}

struct LevelBytes {
  size_t words, values;
};
LevelBytes level_bytes(const std::vector<uint64_t>& counts, size_t n) {
  const uint64_t count = counts[n - 1];
  return {n == 1 ? 0 : align_up(count * sizeof(uint32_t)),
          align_up(n < counts.size() ? (count + 1) * sizeof(NgramEntry) : count * sizeof(double))};
}

[[noreturn]] void damaged(const std::string& path, uint64_t offset, const std::string& what) {
  throw Error(
      ErrorKind::model,
      fmt::format("{}: byte offset {}: {}; train or convert the model again", path, offset, what));
}

}  // namespace

size_t NgramFile::bytes_for(const std::vector<uint64_t>& counts) {
  size_t bytes = kHeaderBytes;
  for (size_t n = 1; n <= counts.size(); ++n) {
    bytes += level_bytes(counts, n).words + level_bytes(counts, n).values;
  }
  return bytes;
}

void NgramFile::lay_out(std::byte* data, const std::vector<uint64_t>& counts) {
  order_ = int(counts.size());
  std::byte* at = data + kHeaderBytes;
  for (size_t n = 1; n <= counts.size(); ++n) {
    NgramLevel& level = levels_[n];
    const LevelBytes bytes = level_bytes(counts, n);
    level.count = counts[n - 1];
    level.words = n == 1 ? nullptr : reinterpret_cast<uint32_t*>(at);
    at += bytes.words;
    const bool top = n == counts.size();
    level.entries = top ? nullptr : reinterpret_cast<NgramEntry*>(at);
    level.top = top ? reinterpret_cast<double*>(at) : nullptr;
    at += bytes.values;
  }
}

NgramFile NgramFile::allocate(int64_t V, uint32_t eos, const std::vector<uint64_t>& counts,
                              size_t memory, const std::string& folder) {
  NgramFile file;
  const size_t bytes = bytes_for(counts);
  file.mapping_ =
      bytes <= memory ? Mapping::anonymous(bytes) : Mapping::temporary_file(bytes, folder);
  file.V_ = V;
  file.eos_ = eos;
  file.lay_out(file.mapping_.data(), counts);
  return file;
}

void NgramFile::set_links() {
  for (int n = 2; n < order_; ++n) {
    const NgramLevel& contexts = levels_[n - 1];
    for (uint64_t h = 0; h < contexts.count; ++h) {
      const NgramEntry& context = contexts.entries[h];
      for (uint64_t c = context.first_child; c < contexts.entries[h + 1].first_child; ++c) {
        const NgramNode link = n == 2 ? NgramNode(1, levels_[2].words[c])
                                      : successor(context.link(), levels_[n].words[c]);
        levels_[n].entries[c].link_bits = link.bits();
      }
    }
  }
}

bool NgramFile::has_magic(std::string_view first_bytes) {
  return first_bytes.starts_with(std::string_view(kMagic, sizeof kMagic));
}

void NgramFile::save(const std::string& path, std::string_view vocabulary,
                     std::string_view config) const {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.order = uint32_t(order_);
  header.V = uint64_t(V_);
  header.eos = eos_;
  std::vector<uint64_t> counts;
  for (int n = 1; n <= order_; ++n) counts.push_back(header.counts[n - 1] = levels_[n].count);
  const size_t body_end = bytes_for(counts);
  header.vocabulary_bytes = vocabulary.size();
  header.config_bytes = config.size();
  header.file_bytes = body_end + vocabulary.size() + config.size();
  header.checksum = header_checksum(header);

  std::byte padded[kHeaderBytes] = {};
  std::memcpy(padded, &header, sizeof header);
  AtomicFile file(path);
  file.write(padded, sizeof padded);
  file.write(mapping_.data() + kHeaderBytes, body_end - kHeaderBytes);
  file.write(vocabulary);
  file.write(config);
  file.commit();
}

NgramFile NgramFile::open(const std::string& path) {
  NgramFile file;
  file.mapping_ = Mapping::read(path);
  const size_t bytes = file.mapping_.bytes();
  Header header{};
  if (bytes < kHeaderBytes) {
    damaged(path, bytes, fmt::format("the file ends inside its header of {} bytes", kHeaderBytes));
  }
  std::memcpy(&header, file.mapping_.data(), sizeof header);
  if (!has_magic({header.magic, sizeof header.magic})) {
    damaged(path, 0, "this is no n-gram model of this program");
  }
  if (header.version != kVersion) {
    damaged(path, offsetof(Header, version),
            fmt::format("format version {}, this program reads {}", header.version, kVersion));
  }
  if (header.checksum != header_checksum(header) || header.order < 1 ||
      header.order > kMaxNgramOrder || header.V == 0 || header.counts[0] != header.V + 1 ||
      header.eos >= header.V) {
    damaged(path, offsetof(Header, checksum), "the header is damaged (its checksum differs)");
  }
  const std::vector<uint64_t> counts(header.counts, header.counts + header.order);
  const size_t body_end = bytes_for(counts);
  if (header.file_bytes != bytes ||
      body_end + header.vocabulary_bytes + header.config_bytes != bytes) {
    damaged(path, bytes,
            fmt::format("the file has {} bytes and its header says {}", bytes, header.file_bytes));
  }
  file.V_ = int64_t(header.V);
  file.eos_ = uint32_t(header.eos);
  file.lay_out(file.mapping_.data(), counts);
  const char* texts = reinterpret_cast<const char*>(file.mapping_.data() + body_end);
  file.vocabulary_ = {texts, header.vocabulary_bytes};
  file.config_ = {texts + header.vocabulary_bytes, header.config_bytes};
  file.check_body(path);
  return file;
}

void NgramFile::check_body(const std::string& path) const {
  const auto at = [&](const void* p) {
    return uint64_t(static_cast<const std::byte*>(p) - mapping_.data());
  };
  const auto fail = [&](const void* p, int n, const char* what) {
    damaged(path, at(p), fmt::format("level {}: {}", n, what));
  };
  // Zero probabilities are stored as kLog10Zero; a hair above 0 is what other programs round to.
  const auto is_log10 = [](double x) { return x <= 1e-6 && x > -1e4; };
  for (int n = 1; n <= order_; ++n) {
    const NgramLevel& level = levels_[n];
    for (uint64_t i = 0; level.words && i < level.count; ++i) {
      if (level.words[i] >= uint64_t(V_)) fail(&level.words[i], n, "a word outside the vocabulary");
    }
    if (n == order_) {
      for (uint64_t i = 0; i < level.count; ++i) {
        if (!is_log10(level.top[i])) fail(&level.top[i], n, "no probability");
      }
      break;
    }
    const NgramLevel& next = levels_[n + 1];
    for (uint64_t i = 0; i < level.count; ++i) {
      const NgramEntry& e = level.entries[i];
      if (!is_log10(e.log10_prob)) fail(&e.log10_prob, n, "no probability");
      if (!(std::abs(e.log10_backoff) < 1e4)) fail(&e.log10_backoff, n, "no back-off weight");
      if (e.link().level() >= n ||
          e.link().index() >= (e.link().level() == 0 ? 1 : levels_[e.link().level()].count)) {
        fail(&e.link_bits, n, "a link that leads nowhere");
      }
      const uint64_t end = level.entries[i + 1].first_child;
      if (e.first_child > end || end > next.count) fail(&e.first_child, n, "children out of order");
      for (uint64_t c = e.first_child + 1; c < end; ++c) {
        if (next.words[c - 1] >= next.words[c]) fail(&next.words[c], n + 1, "words out of order");
      }
    }
    if (level.entries[0].first_child != 0 || level.entries[level.count].first_child != next.count) {
      fail(&level.entries[level.count], n, "children that do not fill the next level");
    }
  }
}

}  // namespace unroll
