#include "host/device/graph.h"

#include <utility>

#include "kernels/base/cuda_check.h"

namespace unroll {

Graph Graph::capture(const Stream& stream, const std::function<void()>& work) {
  Graph graph;
  cudaGraph_t recorded = nullptr;
  CUDA_CHECK(cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeThreadLocal));
  try {
    work();
  } catch (...) {  // leave capture mode before the caller sees the error
    cudaStreamEndCapture(stream.handle(), &recorded);
    if (recorded) cudaGraphDestroy(recorded);
    throw;
  }
  CUDA_CHECK(cudaStreamEndCapture(stream.handle(), &recorded));
  CUDA_CHECK(cudaGraphGetNodes(recorded, nullptr, &graph.nodes_));
  // Without the flag every kernel has the priority of the stream that the graph is launched in.
  const cudaError_t status =
      cudaGraphInstantiate(&graph.handle_, recorded, cudaGraphInstantiateFlagUseNodePriority);
  CUDA_CHECK_NOTHROW(cudaGraphDestroy(recorded));
  CUDA_CHECK(status);
  return graph;
}

Graph::~Graph() {
  if (handle_) CUDA_CHECK_NOTHROW(cudaGraphExecDestroy(handle_));
}
Graph::Graph(Graph&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), nodes_(other.nodes_) {}
Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(nodes_, other.nodes_);
  return *this;
}

void Graph::launch(const Stream& stream) const {
  CUDA_CHECK(cudaGraphLaunch(handle_, stream.handle()));
}

}  // namespace unroll
