// Counting n-grams by sorting packed windows and merging sorted runs into a forward trie.
#include "host/ngram/counts.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <compare>
#include <thread>
#include <vector>

#include "kernels/base/error.h"

namespace unroll {

struct SortedWindows::Runs {
  virtual ~Runs() = default;
  virtual void for_each(const Visit& visit) const = 0;
  uint64_t size = 0, memory_bytes = 0;
};

namespace {

// How words are packed: id + 1 (0 stands for "no word"), the first word in the highest bits, so
// that keys compare as their words do.
struct Packing {
  int order, bits, per_part;

  Packing(int64_t V, int order)
      : order(order), bits(std::bit_width(uint64_t(V) + 1)), per_part(64 / bits) {}
  int parts() const { return (order + per_part - 1) / per_part; }
};

template <int K>
struct Key {
  uint64_t part[K];
  bool operator==(const Key&) const = default;
  auto operator<=>(const Key&) const = default;
};

template <int K>
Key<K> pack(const Packing& packing, const uint32_t* words, int length) {
  Key<K> key{};
  for (int i = 0; i < length; ++i) {
    const int part = i / packing.per_part, slot = i % packing.per_part;
    key.part[part] |= (uint64_t(words[i]) + 1) << (64 - packing.bits * (slot + 1));
  }
  return key;
}

template <int K>
int unpack(const Packing& packing, const Key<K>& key, uint32_t* words) {
  const uint64_t mask = (uint64_t(1) << packing.bits) - 1;
  for (int i = 0; i < packing.order; ++i) {
    const int part = i / packing.per_part, slot = i % packing.per_part;
    const uint64_t word = key.part[part] >> (64 - packing.bits * (slot + 1)) & mask;
    if (word == 0) return i;
    words[i] = uint32_t(word - 1);
  }
  return packing.order;
}

// Reads the windows of a corpus one after another.
class WindowReader {
 public:
  WindowReader(const Corpus& corpus, int64_t V, int order)
      : corpus_(corpus), V_(V), order_(order) {}

  // The next window into words[0 .. order); its length, or 0 at the end.
  int next(uint32_t* words) {
    if (at_ == sentence_.size()) {
      if (line_ == corpus_.lines()) return 0;
      read_sentence();
    }
    const size_t length = std::min<size_t>(size_t(order_), sentence_.size() - at_);
    std::copy_n(sentence_.begin() + long(at_), length, words);
    ++at_;
    return int(length);
  }

 private:
  void read_sentence() {
    const uint64_t begin = corpus_.line_start(line_), end = corpus_.line_start(line_ + 1);
    sentence_.assign(1, uint32_t(V_));
    for (uint64_t i = begin; i < end; ++i) {
      const int32_t id = corpus_[i];
      if (id < 0 || id >= V_) {
        throw Error(ErrorKind::data,
                    fmt::format("line {} of the corpus has token id {}, the vocabulary has V = {}; "
                                "encode the text with the model's vocabulary",
                                line_ + 1, id, V_));
      }
      sentence_.push_back(uint32_t(id));
    }
    ++line_;
    at_ = 0;
  }

  const Corpus& corpus_;
  int64_t V_;
  int order_;
  uint64_t line_ = 0;
  std::vector<uint32_t> sentence_;
  size_t at_ = 0;
};

template <int K>
class PackedRuns final : public SortedWindows::Runs {
 public:
  PackedRuns(const Corpus& corpus, int64_t V, int order, const SortSettings& settings,
             ProgressMeter& meter)
      : packing_(V, order) {
    size = corpus.size() + corpus.lines();
    const uint64_t capacity =
        std::clamp<uint64_t>(settings.memory / 3 / sizeof(Key<K>), 1024, size);
    buffer_ = Mapping::anonymous(capacity * sizeof(Key<K>));
    memory_bytes = buffer_.bytes();
    auto* keys = reinterpret_cast<Key<K>*>(buffer_.data());
    WindowReader reader(corpus, V, order);
    uint32_t words[kMaxNgramOrder];
    for (uint64_t done = 0; done < size;) {
      const uint64_t count = std::min(capacity, size - done);
      for (uint64_t i = 0; i < count; ++i) {
        keys[i] = pack<K>(packing_, words, reader.next(words));
        if (i % 65536 == 0) meter.update((double(done) + 0.3 * double(i)) / double(size));
      }
      std::vector<Run> sorted = sort(keys, count, settings.threads);
      if (capacity < size) {
        spilled_.push_back(Mapping::temporary_file(count * sizeof(Key<K>), settings.folder));
        auto* copy = reinterpret_cast<Key<K>*>(spilled_.back().data());
        std::copy_n(keys, count, copy);
        for (Run& run : sorted) run = {copy + (run.begin - keys), copy + (run.end - keys)};
      }
      runs_.insert(runs_.end(), sorted.begin(), sorted.end());
      done += count;
      meter.update(double(done) / double(size));
    }
    if (capacity < size) {
      buffer_ = Mapping();
      memory_bytes = 0;
    }
  }

  void for_each(const SortedWindows::Visit& visit) const override {
    // A heap of the runs by their next key.
    std::vector<Run> heap;
    for (const Run& run : runs_) {
      if (run.begin != run.end) heap.push_back(run);
    }
    const auto later = [](const Run& a, const Run& b) { return *b.begin < *a.begin; };
    std::make_heap(heap.begin(), heap.end(), later);

    uint32_t words[kMaxNgramOrder] = {}, previous[kMaxNgramOrder] = {};
    int previous_length = 0;
    while (!heap.empty()) {
      const Key<K> key = *heap.front().begin;
      uint64_t count = 0;
      while (!heap.empty() && *heap.front().begin == key) {
        Run& run = heap.front();
        while (run.begin != run.end && *run.begin == key) ++run.begin, ++count;
        if (run.begin == run.end) {
          run = heap.back();
          heap.pop_back();
        }
        sift_down(heap);
      }
      const int length = unpack<K>(packing_, key, words);
      int shared = 0;
      while (shared < std::min(length, previous_length) && words[shared] == previous[shared]) {
        ++shared;
      }
      visit(words, length, shared, count);
      std::copy_n(words, length, previous);
      previous_length = length;
    }
  }

 private:
  struct Run {
    const Key<K>* begin;
    const Key<K>* end;
  };

  // Sorts one part per thread.
  static std::vector<Run> sort(Key<K>* keys, uint64_t count, int threads) {
    std::vector<Run> runs;
    std::vector<std::jthread> workers;
    for (int t = 0; t < threads; ++t) {
      Key<K>* begin = keys + count * uint64_t(t) / uint64_t(threads);
      Key<K>* end = keys + count * uint64_t(t + 1) / uint64_t(threads);
      runs.push_back({begin, end});
      workers.emplace_back([begin, end] { std::sort(begin, end); });
    }
    return runs;
  }

  static void sift_down(std::vector<Run>& heap) {
    for (size_t i = 0, child; (child = 2 * i + 1) < heap.size(); i = child) {
      if (child + 1 < heap.size() && *heap[child + 1].begin < *heap[child].begin) ++child;
      if (!(*heap[child].begin < *heap[i].begin)) return;
      std::swap(heap[i], heap[child]);
    }
  }

  Packing packing_;
  Mapping buffer_;
  std::vector<Mapping> spilled_;
  std::vector<Run> runs_;
};

template <int K = 1>
std::unique_ptr<SortedWindows::Runs> make_runs(const Corpus& corpus, int64_t V, int order,
                                               const SortSettings& settings, ProgressMeter& meter) {
  static_assert(kMaxNgramOrder <= 16, "the widest key holds 16 words of up to 64 bits");
  if constexpr (K < kMaxNgramOrder) {
    if (Packing(V, order).parts() > K) {
      return make_runs < K < 4 ? K + 1 : 2 * K > (corpus, V, order, settings, meter);
    }
  }
  return std::make_unique<PackedRuns<K>>(corpus, V, order, settings, meter);
}

}  // namespace

SortedWindows::SortedWindows(const Corpus& corpus, int64_t V, int order,
                             const SortSettings& settings, ProgressMeter& meter) {
  UNROLL_CHECK(order >= 1 && order <= kMaxNgramOrder && settings.threads >= 1,
               "count_ngrams: order and threads out of range");
  if (corpus.size() == 0) {
    throw Error(ErrorKind::data,
                "the training text has 0 tokens; an n-gram model needs at least one line");
  }
  meter.begin("sorting n-grams", 0.35);
  runs_ = make_runs(corpus, V, order, settings, meter);
}
SortedWindows::~SortedWindows() = default;
void SortedWindows::for_each(const Visit& visit) const { runs_->for_each(visit); }
uint64_t SortedWindows::size() const { return runs_->size; }
uint64_t SortedWindows::memory_bytes() const { return runs_->memory_bytes; }

NgramFile count_ngrams(const Corpus& corpus, int64_t V, int order, const SortSettings& settings,
                       ProgressMeter& meter) {
  const SortedWindows windows(corpus, V, order, settings, meter);

  meter.begin("counting n-grams", 0.05);
  std::vector<uint64_t> counts(size_t(order), 0);
  windows.for_each([&](const uint32_t*, int length, int shared, uint64_t) {
    for (int n = shared; n < length; ++n) ++counts[size_t(n)];
  });
  counts[0] = uint64_t(V) + 1;

  meter.begin("building the trie", 0.15);
  const uint64_t left = settings.memory - std::min(settings.memory, windows.memory_bytes());
  NgramFile file = NgramFile::allocate(V, uint32_t(corpus.eos()), counts, left, settings.folder);
  uint64_t next[kMaxNgramOrder + 2] = {};     // entries of each level so far
  uint64_t current[kMaxNgramOrder + 1] = {};  // the n-gram of each level being read
  uint64_t visited = 0, visits = 0;
  const auto append = [&](int n, uint64_t index) {
    if (n < order) file.level(n).entries[index].first_child = next[n + 1];
    next[n] = index + 1;
  };
  windows.for_each([&](const uint32_t* words, int length, int shared, uint64_t count) {
    for (int n = shared + 1; n <= length; ++n) {
      if (n == 1) {
        while (next[1] <= words[0]) append(1, next[1]);  // words before it that begin no window
      } else {
        file.level(n).words[next[n]] = words[n - 1];
        append(n, next[n]);
      }
      current[n] = next[n] - 1;
    }
    for (int n = 1; n <= length; ++n) file.level(n).log10_prob(current[n]) += double(count);
    visited += count;
    if (++visits % 4096 == 0) meter.update(double(visited) / double(windows.size()));
  });
  while (next[1] <= uint64_t(V)) append(1, next[1]);
  for (int n = 1; n < order; ++n) append(n, next[n]);  // the closing entries
  return file;
}

}  // namespace unroll
