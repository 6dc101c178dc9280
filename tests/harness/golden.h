// Files of tests/golden: what another implementation computed.
//
// The first line says who wrote the file; then, in some, a line of settings; then a tensor a line:
// what it is, whose, its values.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace unroll::test {

struct Golden {
  std::string settings;
  std::map<std::string, std::vector<double>> tensors;  // by "what whose"

  const std::vector<double>& at(const std::string& name) const { return tensors.at(name); }
};

enum class GoldenSettings { none, one_line };

inline Golden read_golden(const std::string& path, GoldenSettings settings) {
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  Golden golden;
  std::string line;
  std::getline(in, line);
  if (settings == GoldenSettings::one_line) std::getline(in, golden.settings);
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string what, whose;
    words >> what >> whose;
    std::vector<double>& values = golden.tensors[what + " " + whose];
    for (double v; words >> v;) values.push_back(v);
  }
  return golden;
}

// Token n of lane b of the texts that golden models are trained on.
inline int32_t golden_token(int64_t b, int64_t n, int V) {
  const int64_t k = 31 * b + n;
  return int32_t((k * k + 3 * k) / 2 % V);
}

}  // namespace unroll::test
