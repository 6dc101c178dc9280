// A captured sequence of device work, replayed with one launch. CUDA only.
#pragma once

#include <cstddef>
#include <functional>

#include "host/device/stream.h"

struct CUgraphExec_st;  // cudaGraphExec_t

namespace unroll {

class Graph {
 public:
  Graph() = default;
  // Runs `work` with `stream` in capture mode: what it issues is recorded, not executed.
  static Graph capture(const Stream& stream, const std::function<void()>& work);
  ~Graph();
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;

  explicit operator bool() const { return handle_ != nullptr; }
  void launch(const Stream& stream) const;
  size_t nodes() const { return nodes_; }  // kernels, copies and fills recorded

 private:
  CUgraphExec_st* handle_ = nullptr;
  size_t nodes_ = 0;
};

}  // namespace unroll
