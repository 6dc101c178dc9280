// The cells as run-time values: what host code knows of a cell without being a template.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace unroll {

enum class Cell : uint8_t {
#define UNROLL_CELL(id, Type) id,
#include "kernels/cells/cells.def"
#undef UNROLL_CELL
};

// The constants of the contract in cell.h.
struct CellInfo {
  const char* name;
  int gates, states, saved;
  bool split;
};
const CellInfo& info_of(Cell cell);

std::vector<std::string> cell_names();
// Throws a usage Error that lists the known names.
Cell cell_of(const std::string& name);

}  // namespace unroll
