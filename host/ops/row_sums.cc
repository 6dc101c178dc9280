#include "host/ops/row_sums.h"

#include "kernels/embedding/embedding.h"
#include "kernels/embedding/store_rows.h"

namespace unroll {

RowSums::RowSums(const Backend& backend, const ParamStore& params, int steps, int64_t tokens) {
  for (const Param p : params.row_params()) {
    const ParamStore::Entry& e = params.entries()[size_t(p.index)];
    Terms t{tokens + e.more_rows, e.rows, e.columns, params.acc(), {}, {}};
    const size_t all = size_t(steps * t.places);
    t.ids = Buffer(backend.device(), MemoryKind::device, all * sizeof(int32_t));
    t.rows = Buffer(backend.device(), MemoryKind::device, all * size_t(t.D) * size_of(t.dtype));
    terms_.push_back(std::move(t));
  }
}

View1 RowSums::Terms::ids_of(int64_t first, int64_t count) const {
  return view_of(ids.as<int32_t>() + first, count);
}
View2 RowSums::Terms::rows_of(int64_t first, int64_t count) const {
  return view_of(rows.as<char>() + size_t(first * D) * size_of(dtype), dtype, count, D);
}

void RowSums::store(const Tape& tape, int step) const {
  const std::vector<RowGradient> given = tape.row_gradients();
  for (size_t i = 0; i < terms_.size(); ++i) {
    const Terms& t = terms_[i];
    store_rows(tape.exec(), {.ids = t.ids_of(step * t.places, t.places),
                             .terms = t.rows_of(step * t.places, t.places),
                             .g = given[i],
                             .V = t.V});
  }
}

std::vector<RowGradient> RowSums::sums(const Tape& tape, int steps,
                                       std::vector<Tensor>& holder) const {
  std::vector<RowGradient> all;
  for (const Terms& t : terms_) {
    const int64_t N = steps * t.places;
    const Tensor words = tape.tensor(DType::u32, {N}), rows = tape.tensor(t.dtype, {N, t.D});
    all.push_back({words.view<1>(), rows.matrix()});
    holder.insert(holder.end(), {words, rows});
    Tensor scratch;
    embedding_rows_backward(
        tape.exec(), {.dE = all.back(),
                      .V = t.V,
                      .dy = t.rows_of(0, N),
                      .ids = t.ids_of(0, N),
                      .scratch = tape.scratch(
                          scratch, embedding_scratch_bytes(tape.exec(), t.dtype, int(N), t.D))});
  }
  return all;
}

size_t RowSums::bytes() const {
  size_t bytes = 0;
  for (const Terms& t : terms_) bytes += t.ids.bytes() + t.rows.bytes();
  return bytes;
}

}  // namespace unroll
