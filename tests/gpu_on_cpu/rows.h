// The values of a matrix on the device, row by row: rows of bf16 have room behind them that nobody
// writes.
#pragma once

#include <vector>

#include "host/device/backend.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {

inline std::vector<double> read_rows(const Backend& backend, const View2& v) {
  std::vector<unsigned char> row(size_t(v.columns()) * size_of(v.dtype));
  std::vector<double> values;
  for (int64_t r = 0; r < v.rows(); ++r) {
    backend.stream().copy(row.data(), v.slice(r, 1).data, row.size());
    backend.stream().synchronize();
    for (int64_t i = 0; i < v.columns(); ++i) values.push_back(load(row.data(), v.dtype, i));
  }
  return values;
}

inline void write_rows(const Backend& backend, const View2& v, const std::vector<double>& values) {
  std::vector<unsigned char> row(size_t(v.columns()) * size_of(v.dtype));
  for (int64_t r = 0; r < v.rows(); ++r) {
    for (int64_t i = 0; i < v.columns(); ++i)
      store(row.data(), v.dtype, i, values[size_t(r * v.columns() + i)]);
    backend.stream().copy(v.slice(r, 1).data, row.data(), row.size());
    backend.stream().synchronize();
  }
}

}  // namespace unroll::test
