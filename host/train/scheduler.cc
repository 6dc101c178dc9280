#include "host/train/scheduler.h"

#include <algorithm>
#include <utility>

#include "host/ops/persistent_watch.h"
#include "kernels/elementwise/add.h"
#include "kernels/update/step_metrics.h"

namespace unroll {
namespace {

constexpr int kRing = 1024;  // steps whose figures fit the ring

}  // namespace

Scheduler::Scheduler(const Backend& backend, const LanguageModel& model, const ParamStore& params,
                     const Optimizer* optimizer, const Options& options)
    : backend_(backend),
      model_(model),
      params_(params),
      optimizer_(optimizer),
      options_(options),
      arena_(backend.device()),
      inputs_(backend, options.max_tokens, options.max_lanes, params.acc()) {
  const auto on_device = [&](size_t bytes) {
    Buffer b(backend.device(), MemoryKind::device, bytes);
    backend.stream().fill_zero(b.data(), bytes);
    return b;
  };
  slot_ = on_device(sizeof(uint64_t));
  ring_ = on_device(kRing * kStepMetrics * sizeof(double));
  ring_copy_ = Buffer(backend.device(), MemoryKind::pinned, ring_.bytes());
  backend.stream().synchronize();
  if (optimizer && options.micro_steps > 1 && !params.row_params().empty())
    row_sums_.emplace(backend, params, options.micro_steps, options.max_tokens);
}

void Scheduler::append_figures(const Exec& exec, const Tensor& nll, const Chunk& chunk,
                               bool with_norm) {
  step_metrics(exec, {.ring = view_of(ring_.as<double>(), kRing, kStepMetrics),
                      .slot = view_of(slot_.as<uint64_t>(), 1),
                      .loss = nll.view<1>(),
                      .target = chunk.target,
                      .norm2 = with_norm ? optimizer_->norm2() : View1{}});
}

void Scheduler::body(const Exec& exec, const Key& key, const State& state) {
  Chunk chunk = inputs_.chunk(key.T, key.B, key.has_lengths);
  chunk.logits_bytes = options_.logits_bytes;
  chunk.room = key.room;
  chunk.finetuning = key.finetuning;
  const bool training = key.kind == Kind::train;
  const Mode mode = training ? Mode::training() : Mode{key.record, key.noise};
  StepTimes* const times = training && exec.kind != DeviceKind::none ? options_.times : nullptr;
  Tape tape(exec, arena_, params_, mode, inputs_.mask_counter(), !key.first,
            options_.side_branch && !options_.times ? backend_.side() : nullptr, times);
  if (times) times->begin();

  if (key.kind == Kind::next_word) {
    const Tensor log_p = model_.log_probabilities(tape, model_.hidden(tape, chunk, state));
    add_scaled(exec, {.y = view_of(output_.data(), params_.acc(), key.B, model_.vocabulary_size()),
                      .x = log_p.view<2>()});
    return;
  }
  const Tensor nll = [&] {
    const Var hidden = model_.hidden(tape, chunk, state);
    Tensor loss = model_.loss(tape, hidden, chunk);
    if (key.hook) key.hook->scored(tape, hidden, chunk);
    return loss;
  }();
  if (key.kind == Kind::score) {
    const int64_t N = int64_t(key.T) * key.B;
    add_scaled(exec, {.y = view_of(output_.data(), params_.acc(), 1, N),
                      .x = view_of(nll.view<1>().data, params_.acc(), 1, N)});
    if (!key.record) return;
    tape.backward();
    if (key.hook) key.hook->differentiated(exec);
    return;
  }
  if (training) tape.backward();
  if (training && row_sums_) row_sums_->store(tape, key.micro);
  if (training && key.last) {
    Tensor holder;
    std::vector<Tensor> rows_holder;
    const auto rows =
        row_sums_ ? row_sums_->sums(tape, key.micro + 1, rows_holder) : tape.row_gradients();
    const Scratch scratch = tape.scratch(holder, optimizer_->scratch_bytes());
    optimizer_->update(exec, params_, inputs_.update_inputs(), scratch, rows);
  }
  append_figures(exec, nll, chunk, training && key.last);
  if (!times) return;
  times->end_forward("norm, clip, update");
  times->end();
}

Scheduler::Needs Scheduler::measure(const Key& key, const State& state) {
  arena_.begin_measuring();
  body(backend_.measuring(), key, state);
  return {arena_.end_measuring(), arena_.logits()};
}

Scheduler::Needs Scheduler::measure(bool training, int T, int B, bool has_lengths,
                                    const State& state) {
  Key key{training ? Kind::train : Kind::evaluate, T, B, has_lengths, true, true, nullptr};
  key.micro = options_.micro_steps - 1;  // the last micro-step adds up the rows of all
  return measure(key, state);
}

void Scheduler::reserve(size_t bytes) {
  if (bytes <= arena_.capacity()) return;
  backend_.stream().synchronize();
  drop_graphs([](const Key&) { return true; });  // they hold addresses of the old slab
  arena_.reserve(bytes);
}

void Scheduler::reserve(bool training, int T, int B, bool has_lengths, const State& state) {
  reserve(measure(training, T, B, has_lengths, state).bytes);
}

void Scheduler::run(const Key& key, const State& state) {
  Program& program = programs_[key];
  if (program.uses == 0) reserve(measure(key, state).bytes);
  // The first time runs eagerly and lets libraries set themselves up; that is a step like any
  // other.
  const bool capture = program.uses > 0 && !options_.eager && !options_.times &&
                       !watches_passes() && backend_.device().kind() == DeviceKind::cuda;
  ++program.uses;
  if (!capture) return body(backend_.exec(), key, state);
  if (!program.graph)
    program.graph = Graph::capture(backend_.stream(), [&] { body(backend_.exec(), key, state); });
  program.graph.launch(backend_.stream());
  last_captured_ = &program;
}

void Scheduler::train(const HostChunk& chunk, const State& state, const StepScalars& scalars,
                      bool first, bool last) {
  UNROLL_CHECK(optimizer_ != nullptr, "a scheduler without an optimizer is asked to train");
  if (issued_ - read_ == kRing) drain();
  micro_ = first ? 0 : micro_ + 1;
  UNROLL_CHECK(!row_sums_ || micro_ < options_.micro_steps,
               "an update has more micro-steps than Options::micro_steps");
  UNROLL_CHECK(
      row_sums_ || (first && last) || params_.row_params().empty(),
      "gradients are kept by rows, and Options::micro_steps is 1; an update is of one chunk");
  inputs_.send(backend_, chunk, scalars);
  run({Kind::train, chunk.T, chunk.B, !chunk.lengths.empty(), first, last, state.memory().data(),
       false, false, nullptr, model_.room(chunk.target), scalars.finetuning,
       row_sums_ ? micro_ : 0},
      state);
  ++issued_;
}

void Scheduler::evaluate(const HostChunk& chunk, const State& state, const StepScalars& scalars) {
  if (issued_ - read_ == kRing) drain();
  inputs_.send(backend_, chunk, scalars);
  run({Kind::evaluate, chunk.T, chunk.B, !chunk.lengths.empty(), true, true, state.memory().data(),
       false, false, nullptr, model_.room(chunk.target)},
      state);
  ++issued_;
}

std::vector<double> Scheduler::score(const HostChunk& chunk, const State& state,
                                     const ScorePass& pass) {
  const int64_t N = int64_t(chunk.T) * chunk.B;
  const size_t bytes = size_t(options_.max_tokens) * size_of(params_.acc());
  reserve_output(bytes);
  inputs_.send(backend_, chunk, pass.scalars);
  run({Kind::score, chunk.T, chunk.B, !chunk.lengths.empty(), true, true, state.memory().data(),
       pass.mode.record, pass.mode.noise, pass.hook, model_.room(chunk.target)},
      state);
  return read_output(N);
}

std::vector<double> Scheduler::next_word(const std::vector<int32_t>& tokens,
                                         const std::vector<int32_t>& keep, const State& state) {
  const int B = int(tokens.size());
  const int64_t n = int64_t(B) * model_.vocabulary_size();
  reserve_output(size_t(n) * size_of(params_.acc()));
  HostChunk chunk;
  chunk.T = 1;
  chunk.B = B;
  chunk.input = tokens;
  chunk.target.assign(tokens.size(), -1);
  chunk.keep = keep;
  inputs_.send(backend_, chunk, {});
  run({Kind::next_word, 1, B, false, true, true, state.memory().data()}, state);
  return read_output(n);
}

void Scheduler::reserve_output(size_t bytes) {
  if (output_.bytes() >= bytes) return;
  backend_.stream().synchronize();
  output_ = Buffer(backend_.device(), MemoryKind::device, bytes);
  drop_graphs(
      [](const Key& key) { return key.kind == Kind::score || key.kind == Kind::next_word; });
}

void Scheduler::drop_graphs(bool (*which)(const Key&)) {
  for (auto& [key, program] : programs_)
    if (which(key)) program.graph = Graph();
  last_captured_ = nullptr;
}

std::vector<double> Scheduler::read_output(int64_t n) {
  const size_t bytes = size_t(n) * size_of(params_.acc());
  if (output_copy_.bytes() < bytes)
    output_copy_ = Buffer(backend_.device(), MemoryKind::pinned, output_.bytes());
  backend_.stream().copy(output_copy_.data(), output_.data(), bytes);
  backend_.stream().synchronize();
  std::vector<double> values(static_cast<size_t>(n));
  if (params_.acc() == DType::f64)
    std::copy_n(output_copy_.as<double>(), n, values.begin());
  else
    std::copy_n(output_copy_.as<float>(), n, values.begin());
  return values;
}

void Scheduler::drain() {
  if (read_ == issued_) return;
  backend_.stream().copy(ring_copy_.data(), ring_.data(), ring_.bytes());
  backend_.stream().synchronize();
  for (; read_ < issued_; ++read_) {
    const double* row = ring_copy_.as<double>() + read_ % kRing * kStepMetrics;
    UNROLL_CHECK(row[0] == double(read_), "the figures of step " + std::to_string(read_) +
                                              " were overwritten before they were read");
    figures_.push_back({row[1], row[2], row[3]});
  }
}

std::vector<StepFigures> Scheduler::take_figures() {
  drain();
  return std::exchange(figures_, {});
}

size_t Scheduler::graphs() const {
  return size_t(std::count_if(programs_.begin(), programs_.end(),
                              [](const auto& p) { return bool(p.second.graph); }));
}
size_t Scheduler::graph_nodes() const { return last_captured_ ? last_captured_->graph.nodes() : 0; }
size_t Scheduler::persistent_bytes() const {
  return inputs_.bytes() + ring_.bytes() + output_.bytes() + slot_.bytes() +
         (row_sums_ ? row_sums_->bytes() : 0);
}

}  // namespace unroll
