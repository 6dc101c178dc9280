// The cells as types: from a run-time Cell to its struct. For schedules, which are templates on the
// cell.
#pragma once

#include "kernels/cells/cells.h"
#include "kernels/cells/gru.h"
#include "kernels/cells/lstm.h"
#include "kernels/cells/relu.h"
#include "kernels/cells/tanh.h"

namespace unroll {

// Calls body(Tanh{}), body(Lstm{}), ... for the given cell.
template <class Body>
void with_cell(Cell cell, Body&& body) {
  switch (cell) {
#define UNROLL_CELL(id, Type) \
  case Cell::id:              \
    return body(Type{});
#include "kernels/cells/cells.def"
#undef UNROLL_CELL
  }
}

}  // namespace unroll
