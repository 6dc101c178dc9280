// A large text is counted, encoded and walked in memory that does not grow with it.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "host/data/lanes.h"
#include "tests/host/data/scratch_folder.h"

namespace unroll::test {
namespace {

uint64_t peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// 64 MB of 20,000 types; without line ends every line is as long as the file.
std::string write_text(const ScratchFolder& folder, const char* name, bool line_ends) {
  std::ofstream file(folder.path(name), std::ios::binary);
  std::string block;
  uint32_t random = 1;
  for (uint64_t written = 0; written < 64'000'000; written += block.size()) {
    block.clear();
    while (block.size() < 100'000) {
      random = random * 1664525u + 1013904223u;
      block += "word" + std::to_string((random >> 12) % 20000);
      block += line_ends && (random >> 8) % 16 == 0 ? '\n' : ' ';
    }
    file << block;
  }
  return folder.path(name);
}

TEST(Memory, OfALargeTextIsBounded) {
  ScratchFolder folder;
  for (const bool line_ends : {true, false}) {
    const std::string path = write_text(folder, "x", line_ends);
    const uint64_t before = peak_bytes();
    const Vocab vocab(count_types({path}, "--train", Unit::word), {});
    EXPECT_EQ(vocab.size(), 20002);
    const Corpus corpus({{path}, "--train"}, vocab, folder.path("tokens"));
    EXPECT_GT(corpus.size(), 6'000'000u);
    EXPECT_LT(peak_bytes() - before, 24'000'000u) << "line ends: " << line_ends;
    Lanes lanes(corpus, 20, 35, LaneForm::train);
    HostChunk chunk;
    for (int64_t k = 0; k < lanes.chunks(); ++k) lanes.fill(0, k, chunk);
    EXPECT_LT(peak_bytes() - before, 24'000'000u + corpus.mapped_bytes());
    // The system may have taken pages that were not read for a while.
    int64_t sum = 0;
    for (uint64_t i = 0; i < corpus.size(); ++i) sum += corpus[i];
    EXPECT_GT(sum, 0);
    const uint64_t with_pages = resident_bytes();
    corpus.release_pages();
    EXPECT_LT(resident_bytes() + corpus.mapped_bytes() * 3 / 4, with_pages);
    lanes.fill(0, 0, chunk);  // read back from the file
  }
}

}  // namespace
}  // namespace unroll::test
