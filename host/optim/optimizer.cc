#include "host/optim/optimizer.h"

#include <fnmatch.h>

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "kernels/base/error.h"
#include "kernels/update/clip.h"
#include "kernels/update/exchange.h"
#include "kernels/update/update_rows.h"

namespace unroll {
namespace {

Buffer zeros(const Backend& backend, size_t bytes) {
  Buffer b(backend.device(), MemoryKind::device, bytes);
  backend.stream().fill_zero(b.data(), bytes);
  return b;
}

template <class T>
Buffer on_device(const Backend& backend, const std::vector<T>& values) {
  Buffer b(backend.device(), MemoryKind::device, values.size() * sizeof(T));
  backend.stream().copy(b.data(), values.data(), b.bytes());
  backend.stream().synchronize();
  return b;
}

template <class T>
View1 all_of(const Buffer& b) {
  return view_of(b.as<T>(), int64_t(b.bytes() / sizeof(T)));
}

int group_of(const std::vector<ClipGroup>& groups, const std::string& name) {
  for (size_t i = 0; i < groups.size(); ++i)
    if (fnmatch(groups[i].pattern.c_str(), name.c_str(), 0) == 0) return int(i);
  return int(groups.size());
}

[[noreturn]] void empty_group(const ParamStore& params, const std::string& pattern) {
  std::string names;
  for (const ParamStore::Entry& e : params.entries()) names += (names.empty() ? "" : ", ") + e.name;
  throw Error(ErrorKind::usage, "clip_groups: no weight is left for '" + pattern +
                                    "'; a weight is in the first group that its name matches, and "
                                    "the model has " +
                                    names);
}

// Names of the slots in a checkpoint.
std::vector<const char*> slot_names(UpdateRule rule) {
  switch (rule) {
    case UpdateRule::sgd:
      return {};
    case UpdateRule::momentum:
      return {"momentum.velocity"};
    case UpdateRule::asgd:
      return {"asgd.mean"};
    case UpdateRule::adagrad:
      return {"adagrad.squares"};
    case UpdateRule::rmsprop:
      return {"rmsprop.v"};
    case UpdateRule::adam:
    case UpdateRule::adamw:
      return {"adam.m", "adam.v"};
  }
  return {};
}

}  // namespace

Optimizer::Optimizer(const Backend& backend, const ParamStore& params,
                     const OptimizerSettings& settings)
    : settings_(settings) {
  const size_t bytes = size_t(params.slab().n[0]) * size_of(params.acc());
  if (slots_of(settings.rule) > 0) a_ = zeros(backend, bytes);
  if (slots_of(settings.rule) > 1) b_ = zeros(backend, bytes);
  if (settings.rule == UpdateRule::adagrad && settings.accumulator > 0) {
    if (params.acc() == DType::f64)
      a_ = on_device(backend, std::vector<double>(bytes / sizeof(double), settings.accumulator));
    else
      a_ = on_device(backend,
                     std::vector<float>(bytes / sizeof(float), float(settings.accumulator)));
  }

  const std::vector<ClipGroup>& groups = settings.clip_groups;
  const std::vector<SlabPiece> pieces =
      params.pieces([&](const ParamStore::Entry& e) { return group_of(groups, e.name); });
  std::vector<int32_t> first(groups.size() + 2, 0);  // pieces of each group, then their prefix sums
  for (const SlabPiece& piece : pieces) ++first[piece.group + 1];
  for (size_t i = 0; i < groups.size(); ++i)
    if (first[i + 1] == 0) empty_group(params, groups[i].pattern);
  for (size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
  std::vector<double> clips;
  for (const ClipGroup& group : groups) clips.push_back(group.clip);
  clips.push_back(-1);
  pieces_ = ParamStore::to_device(backend, pieces);
  std::vector<SlabPiece> whole;
  std::copy_if(pieces.begin(), pieces.end(), std::back_inserter(whole),
               [](const SlabPiece& piece) { return piece.gradient != kInRows; });
  whole_ = ParamStore::to_device(backend, whole);
  for (const Param p : params.row_params()) {
    const std::string& name = params.entries()[size_t(p.index)].name;
    UNROLL_CHECK(
        leaves_untouched(settings.rule, settings.decay),
        "the gradient of " + name + " is kept by rows, and this optimiser moves the others too");
    row_groups_.push_back(group_of(groups, name));
  }
  group_first_ = on_device(backend, first);
  clips_ = on_device(backend, clips);
  counts_ = zeros(backend, sizeof(UpdateCounts));
  scales_ = zeros(backend, (kUpdateScales + clips.size()) * sizeof(double));
  backend.stream().synchronize();
  if (settings.rule == UpdateRule::asgd) begin_mean(backend, params);
}

void Optimizer::update(const Exec& exec, const ParamStore& params, const View1& inputs,
                       const Scratch& scratch, const std::vector<RowGradient>& rows) const {
  if (exec.kind == DeviceKind::none) return;
  const std::vector<Param> in_rows = params.row_params();
  UNROLL_CHECK(rows.size() == in_rows.size(),
               std::to_string(rows.size()) + " gradients by rows are given, and " +
                   std::to_string(in_rows.size()) + " weights keep them so");
  std::vector<SlabRows> slab_rows;
  for (size_t i = 0; i < rows.size(); ++i) {
    const ParamStore::Entry& e = params.entries()[size_t(in_rows[i].index)];
    UNROLL_CHECK(rows[i], "the gradient of " + e.name + " is kept by rows, and no op gave it");
    slab_rows.push_back({rows[i], e.offset});
  }
  const View1 scales = all_of<double>(scales_);
  const bool adam = settings_.rule == UpdateRule::adam || settings_.rule == UpdateRule::adamw;
  clip(exec, {.scales = scales,
              .counts = all_of<double>(counts_),
              .g = params.gradient_slab(),
              .rows = slab_rows,
              .pieces = ParamStore::piece_table(pieces_),
              .group_first = all_of<int32_t>(group_first_),
              .clips = all_of<double>(clips_),
              .inputs = inputs,
              .beta1 = adam ? settings_.beta1 : 0,
              .beta2 = adam ? settings_.beta2 : 0,
              .scratch = scratch});
  const View1 theta = params.slab();
  const View1 a = view_of(a_.data(), params.acc(), theta.n[0]);
  const UpdateConstants constants = {.decay = settings_.decay,
                                     .momentum = settings_.momentum,
                                     .nesterov = settings_.nesterov,
                                     .beta1 = settings_.beta1,
                                     .beta2 = settings_.beta2,
                                     .eps = settings_.eps};
  unroll::update(exec, {.rule = settings_.rule,
                        .constants = constants,
                        .theta = theta,
                        .a = a,
                        .b = view_of(b_.data(), params.acc(), theta.n[0]),
                        .g = params.gradient_slab(),
                        .shadow = params.shadow(),
                        .pieces = ParamStore::piece_table(whole_),
                        .scales = scales});
  for (size_t i = 0; i < rows.size(); ++i)
    update_rows(exec, {.rule = settings_.rule,
                       .constants = constants,
                       .theta = params.of_slab(theta, in_rows[i]),
                       .a = params.of_slab(a, in_rows[i]),
                       .shadow = params.shadow() ? params.weight(in_rows[i]) : View2{},
                       .g = rows[i],
                       .scales = scales,
                       .group = row_groups_[i]});
}

size_t Optimizer::scratch_bytes() const {
  return clip_scratch_bytes(ParamStore::piece_table(pieces_).n[0]);
}

View1 Optimizer::norm2() const { return view_of(scales_.as<double>(), 1); }

void Optimizer::begin_mean(const Backend& backend, const ParamStore& params) const {
  UNROLL_CHECK(settings_.rule == UpdateRule::asgd, "only ASGD keeps a mean of the weights");
  backend.stream().copy(a_.data(), params.slab().data, a_.bytes());
  backend.stream().fill_zero(counts_.as<char>() + offsetof(UpdateCounts, averaged),
                             sizeof(UpdateCounts::averaged));
  backend.stream().synchronize();
}

void Optimizer::swap_mean(const Exec& exec, const ParamStore& params) const {
  UNROLL_CHECK(settings_.rule == UpdateRule::asgd, "only ASGD keeps a mean of the weights");
  const View1 theta = params.slab();
  exchange(exec, {.theta = theta,
                  .other = view_of(a_.data(), params.acc(), theta.n[0]),
                  .shadow = params.shadow(),
                  .pieces = ParamStore::piece_table(pieces_)});
}

std::vector<Optimizer::Slot> Optimizer::slots() const {
  std::vector<Slot> all;
  for (const char* name : slot_names(settings_.rule))
    all.push_back({name, all.empty() ? &a_ : &b_});
  all.push_back({"update_counts", &counts_});
  return all;
}

}  // namespace unroll
