#include "host/memory/param_store.h"

#include <algorithm>

#include "kernels/base/dims.h"
#include "kernels/base/philox.h"
#include "kernels/update/exchange.h"

namespace unroll {
namespace {

constexpr int64_t kAlignElements = 64;  // every slice starts at a multiple of 256 bytes in f32

int64_t align_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Initial values draw from a step no training step reaches, so they share no bits with any mask.
constexpr uint32_t kInitStep = 0xffffffffu;

// Values first .. first+count-1 of a weight: in pieces, because a large matrix should not stand in
// memory twice.
constexpr int64_t kInitPiece = 1 << 16;
template <class T>
std::vector<T> initial_values(const ParamStore::Entry& e, int index, uint64_t seed, int64_t first,
                              int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  for (int64_t i = first; i < first + count; ++i) {
    double value = e.init.kind == Init::Kind::one ? 1 : 0;
    if (e.init.kind == Init::Kind::uniform) {
      const Philox4 r = philox_block(seed, kInitStep, uint32_t(index), uint64_t(i));
      const double u = (double(r.v[0]) * 4294967296.0 + double(r.v[1])) / 18446744073709551616.0;
      value = (2 * u - 1) * e.init.bound;
    }
    if (i >= e.rows / 4 && i < e.rows / 2) value += e.init.forget_bias;
    values[size_t(i - first)] = T(value);
  }
  return values;
}

template <class T>
void initialize(const Stream& stream, const ParamStore::Entry& e, int index, uint64_t seed,
                void* to) {
  if (e.init.kind == Init::Kind::zero && e.init.forget_bias == 0) return;  // as the slab is
  for (int64_t first = 0; first < e.size(); first += kInitPiece) {
    const int64_t count = std::min(kInitPiece, e.size() - first);
    const std::vector<T> values = initial_values<T>(e, index, seed, first, count);
    stream.copy(static_cast<T*>(to) + first, values.data(), values.size() * sizeof(T));
    stream.synchronize();
  }
}

template <class T>
void upload(const Backend& backend, const std::vector<double>& values, Buffer& to) {
  const std::vector<T> copy(values.begin(), values.end());
  to = Buffer(backend.device(), MemoryKind::device, copy.size() * sizeof(T));
  backend.stream().copy(to.data(), copy.data(), to.bytes());
  backend.stream().synchronize();
}

}  // namespace

Param ParamStore::add(const std::string& name, int64_t rows, int64_t columns, const Init& init) {
  UNROLL_CHECK(!weights_, "a weight is declared after the slab was reserved");
  UNROLL_CHECK(!has(name), "two weights are called " + name);
  entries_.push_back({name, rows, columns, init});
  return {int(entries_.size()) - 1};
}

void ParamStore::touch_by_rows(Param p, int64_t more) {
  UNROLL_CHECK(entries_[size_t(p.index)].columns > 0, "a vector has no rows");
  entries_[size_t(p.index)].more_rows = more;
}

void ParamStore::keep_row_gradients(int64_t tokens, int64_t chunks) {
  UNROLL_CHECK(!weights_, "gradients are kept by rows after the slab was reserved");
  for (Entry& e : entries_)
    e.in_rows = e.more_rows >= 0 && (tokens + e.more_rows) * chunks < e.rows;
}

std::vector<Param> ParamStore::row_params() const {
  std::vector<Param> all;
  for (size_t i = 0; i < entries_.size(); ++i)
    if (entries_[i].in_rows) all.push_back({int(i)});
  return all;
}

Constant ParamStore::add_constant(DType dtype, std::vector<double> values) {
  UNROLL_CHECK(!weights_, "a constant is declared after the slab was reserved");
  const int64_t n = int64_t(values.size());
  constants_.push_back({dtype, std::move(values), n, {}});
  return {int(constants_.size()) - 1};
}

bool ParamStore::has(const std::string& name) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& e) { return e.name == name; });
}

void ParamStore::lay_out() {
  size_ = gradient_size_ = shadow_size_ = 0;
  for (Entry& e : entries_) {
    const int64_t size = align_up(e.size(), kAlignElements);
    e.offset = size_;
    size_ += size;
    e.gradient_offset = gradient_size_;
    if (!e.in_rows) gradient_size_ += size;
    if (e.columns == 0) continue;  // vectors are read in acc
    e.shadow_offset = shadow_size_;
    e.shadow_ld = shadow_stride(e.columns);
    shadow_size_ += align_up(e.rows * e.shadow_ld, kAlignElements);
  }
}

void ParamStore::materialize(const Backend& backend, DType act, uint64_t seed) {
  act_ = act;
  lay_out();
  weights_ = Buffer(backend.device(), MemoryKind::device, size_t(size_) * size_of(acc()));
  gradients_ =
      Buffer(backend.device(), MemoryKind::device, size_t(gradient_size_) * size_of(acc()));
  for (const Buffer* slab : {&weights_, &gradients_})
    backend.stream().fill_zero(slab->data(), slab->bytes());
  if (act == DType::bf16) {
    shadow_ = Buffer(backend.device(), MemoryKind::device, size_t(shadow_size_) * 2);
    backend.stream().fill_zero(shadow_.data(), shadow_.bytes());
    pieces_ = to_device(backend, pieces());
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    void* to = weight_at(entries_[i]);
    if (acc() == DType::f64)
      initialize<double>(backend.stream(), entries_[i], int(i), seed, to);
    else
      initialize<float>(backend.stream(), entries_[i], int(i), seed, to);
  }
  for (ConstantEntry& c : constants_) {
    if (c.dtype == DType::f64) c.dtype = acc();
    switch (c.dtype) {
      case DType::i32:
        upload<int32_t>(backend, c.values, c.on_device);
        break;
      case DType::u32:
        upload<uint32_t>(backend, c.values, c.on_device);
        break;
      case DType::f32:
        upload<float>(backend, c.values, c.on_device);
        break;
      default:
        upload<double>(backend, c.values, c.on_device);
    }
    c.values = {};
  }
  cast_shadow(backend.exec());
  backend.stream().synchronize();
}

void* ParamStore::weight_at(const Entry& e) const {
  return weights_.as<char>() + size_t(e.offset) * size_of(acc());
}
void* ParamStore::gradient_at(const Entry& e) const {
  UNROLL_CHECK(!e.in_rows, "the gradient of " + e.name + " is kept by rows");
  return gradients_.as<char>() + size_t(e.gradient_offset) * size_of(acc());
}

View2 ParamStore::weight(Param p) const {
  const Entry& e = entries_[size_t(p.index)];
  if (act_ != DType::bf16) return view_of(weight_at(e), acc(), e.rows, e.columns);
  View2 v = view_of(shadow_.as<char>() + e.shadow_offset * 2, DType::bf16, e.rows, e.columns);
  v.ld = e.shadow_ld;
  return v;
}
View1 ParamStore::vector(Param p) const {
  if (!p) return {};
  const Entry& e = entries_[size_t(p.index)];
  return view_of(weight_at(e), acc(), e.rows);
}
View2 ParamStore::gradient(Param p) const {
  const Entry& e = entries_[size_t(p.index)];
  return view_of(gradient_at(e), acc(), e.rows, e.columns);
}
View1 ParamStore::vector_gradient(Param p) const {
  if (!p) return {};
  const Entry& e = entries_[size_t(p.index)];
  return view_of(gradient_at(e), acc(), e.rows);
}
View1 ParamStore::constant(Constant c) const {
  const ConstantEntry& e = constants_[size_t(c.index)];
  return view_of(e.on_device.data(), e.dtype, e.n);
}
View1 ParamStore::slab() const { return view_of(weights_.data(), acc(), size_); }
View1 ParamStore::gradient_slab() const {
  return view_of(gradients_.data(), acc(), gradient_size_);
}
View2 ParamStore::of_slab(const View1& slab, Param p) const {
  const Entry& e = entries_[size_t(p.index)];
  return slab ? view_of(slab.slice(e.offset, e.size()).data, slab.dtype, e.rows, e.columns)
              : View2{};
}

View1 ParamStore::shadow() const {
  return shadow_ ? view_of(shadow_.data(), DType::bf16, shadow_size_) : View1{};
}

void ParamStore::cast_shadow(const Exec& exec) const {
  if (act_ == DType::bf16)
    exchange(exec, {.theta = slab(), .shadow = shadow(), .pieces = piece_table(pieces_)});
}

std::vector<SlabPiece> ParamStore::pieces(
    const std::function<int(const Entry&)>& clip_group) const {
  std::vector<SlabPiece> all;
  for (const Entry& e : entries_)
    for (int64_t first = 0; first < e.size(); first += kPieceEntries) {
      SlabPiece piece{};
      piece.offset = uint64_t(e.offset + first);
      piece.gradient = e.in_rows ? kInRows : uint64_t(e.gradient_offset + first);
      piece.count = uint32_t(std::min(kPieceEntries, e.size() - first));
      piece.group = clip_group ? uint32_t(clip_group(e)) : 0;
      if (e.columns > 0) {
        piece.shadow = uint64_t(e.shadow_offset + first / e.columns * e.shadow_ld);
        piece.columns = uint32_t(e.columns);
        piece.column = uint32_t(first % e.columns);
      }
      all.push_back(piece);
    }
  std::stable_sort(all.begin(), all.end(),
                   [](const SlabPiece& a, const SlabPiece& b) { return a.group < b.group; });
  return all;
}

Buffer ParamStore::to_device(const Backend& backend, const std::vector<SlabPiece>& pieces) {
  Buffer table(backend.device(), MemoryKind::device, pieces.size() * sizeof(SlabPiece));
  backend.stream().copy(table.data(), pieces.data(), table.bytes());
  backend.stream().synchronize();
  return table;
}

View2 ParamStore::piece_table(const Buffer& table) {
  return view_of(table.as<uint64_t>(), int64_t(table.bytes() / sizeof(SlabPiece)), kPieceWords);
}

int64_t ParamStore::parameters() const {
  int64_t n = 0;
  for (const Entry& e : entries_) n += e.size();
  return n;
}

size_t ParamStore::bytes(DType act) const {
  const ParamStore copy = laid_out();
  return size_t(copy.size_ + copy.gradient_size_) * size_of(accumulate_type(act)) +
         (act == DType::bf16 ? size_t(copy.shadow_size_) * 2 : 0);
}

size_t ParamStore::slab_bytes(DType act) const {
  return size_t(laid_out().size_) * size_of(accumulate_type(act));
}

// The declared weights with their places, before they have memory or beside it.
ParamStore ParamStore::laid_out() const {
  ParamStore copy;
  copy.entries_ = entries_;
  copy.lay_out();
  return copy;
}

void ParamStore::read(const Backend& backend, int index, void* to) const {
  const Entry& e = entries_[size_t(index)];
  backend.stream().copy(to, weight_at(e), size_t(e.size()) * size_of(acc()));
  backend.stream().synchronize();
}
void ParamStore::write(const Backend& backend, int index, const void* from) const {
  const Entry& e = entries_[size_t(index)];
  backend.stream().copy(weight_at(e), from, size_t(e.size()) * size_of(acc()));
  backend.stream().synchronize();
}

}  // namespace unroll
