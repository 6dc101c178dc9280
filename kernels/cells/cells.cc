// The table of cells, by identifier and by name.
#include "kernels/cells/cells.h"

#include <iterator>

#include "kernels/base/error.h"
#include "kernels/cells/cell_types.h"

namespace unroll {
namespace {

constexpr CellInfo kCells[] = {
#define UNROLL_CELL(id, Type) {Type::name, Type::gates, Type::states, Type::saved, Type::split},
#include "kernels/cells/cells.def"
#undef UNROLL_CELL
};

}  // namespace

const CellInfo& info_of(Cell cell) { return kCells[size_t(cell)]; }

std::vector<std::string> cell_names() {
  std::vector<std::string> names;
  for (const CellInfo& cell : kCells) names.push_back(cell.name);
  return names;
}

Cell cell_of(const std::string& name) {
  std::string known;
  for (size_t i = 0; i < std::size(kCells); ++i) {
    if (name == kCells[i].name) return Cell(i);
    known += std::string(known.empty() ? "" : ", ") + kCells[i].name;
  }
  throw Error(ErrorKind::usage, "unknown cell \"" + name + "\"; known: " + known);
}

}  // namespace unroll
