// The tool finds what it is for: every planted mistake is reported, by kind and by line, in the
// builds that can see it, and its correct twin has no finding.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/planted_bugs.h"

namespace unroll::gpu_on_cpu {
namespace {

bool has_word(const std::string& words, const std::string& word) {
  std::istringstream in(words);
  for (std::string w; in >> w;)
    if (w == word) return true;
  return false;
}

// "<file>:<line>" for every line marked with the name.
std::vector<std::string> planted_lines(const std::string& name) {
  std::vector<std::string> lines;
  for (const std::string file :
       {"planted_bugs.cu", "planted_grid_bugs.cu", "planted_cluster_bugs.cu"}) {
    std::ifstream in(UNROLL_SOURCE_ROOT "/tests/gpu_on_cpu/" + file);
    EXPECT_TRUE(in.good()) << file;
    int number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      const size_t comment = line.find("// planted:");
      if (comment != std::string::npos && has_word(line.substr(comment + 3), "planted:" + name))
        lines.push_back(file + ":" + std::to_string(number));
    }
  }
  return lines;
}

constexpr uint64_t kSeeds = 8;

class PlantedBugs : public testing::TestWithParam<int> {
 protected:
  const PlantedBug& bug() const { return kPlantedBugs[GetParam()]; }
};

TEST_P(PlantedBugs, TwinIsClean) {
  try {
    EXPECT_TRUE(bug().run(false)) << "wrong result";
  } catch (const Finding& f) {
    ADD_FAILURE() << f.what();
  }
}

TEST_P(PlantedBugs, PlantedIsReported) {
  std::string expected = race_build() ? bug().race : asan_build() ? bug().asan : bug().plain;
  if (expected.empty()) expected = bug().plain;
  bool right = true;
  std::string kind, text;
  // What shows only in some orders has several chances to show in a random one.
  for (options().seed = 1; right && options().seed <= kSeeds; ++options().seed) {
    try {
      right = bug().run(true);
    } catch (const Finding& f) {
      right = false;
      kind = f.kind();
      text = f.what();
    }
  }
  if (expected == "missed") return;
  if (expected == "wrong") {
    EXPECT_TRUE(!right || !kind.empty()) << "the result is right and nothing was reported";
    return;
  }
  EXPECT_TRUE(has_word(expected, kind)) << "expected " << expected << ", got '" << kind << "'\n"
                                        << text;
  // A gap found damaged after the launch cannot say by whom.
  if (!race_build() && !asan_build() && kind == "out-of-bounds") return;
  const std::vector<std::string> lines = planted_lines(bug().name);
  EXPECT_FALSE(lines.empty());
  bool named = false;
  for (const std::string& line : lines) named = named || text.find(line) != std::string::npos;
  EXPECT_TRUE(named) << "the report names none of the planted lines:\n" << text;
}

INSTANTIATE_TEST_SUITE_P(, PlantedBugs, testing::Range(0, kPlantedBugCount), [](const auto& info) {
  return std::string(kPlantedBugs[info.param].name);
});

// Two places of the code, one report each: both must be named where threads disagree.
TEST(Reports, DivergenceNamesBothLines) {
  for (int i = 0; i < kPlantedBugCount; ++i) {
    if (std::strcmp(kPlantedBugs[i].name, "divergent_barrier") != 0) continue;
    try {
      kPlantedBugs[i].run(true);
      FAIL() << "nothing was reported";
    } catch (const Finding& f) {
      for (const std::string& line : planted_lines("divergent_barrier"))
        EXPECT_NE(std::string(f.what()).find(line), std::string::npos) << f.what();
    }
  }
}

}  // namespace
}  // namespace unroll::gpu_on_cpu
