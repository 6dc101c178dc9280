// Packed products by oneDNN's matmul primitive. Primitives come from oneDNN's own cache: making one
// again for a shape seen before takes a microsecond.
#include <oneapi/dnnl/dnnl.hpp>
#include <string>

#include "kernels/base/cpu_threads.h"
#include "kernels/base/error.h"
#include "kernels/gemm/packed_gemm.h"

namespace unroll::cpu {
namespace {

using dnnl::matmul;
using dnnl::memory;

matmul::primitive_desc describe(const dnnl::engine& engine, int64_t M, int64_t N, int64_t K,
                                int64_t lda) {
  const auto f32 = memory::data_type::f32;
  const memory::desc A({M, K}, f32, memory::dims{lda, 1});
  const memory::desc B({K, N}, f32, memory::format_tag::any);
  const memory::desc C({M, N}, f32, memory::dims{N, 1});
  return {matmul::desc(A, B, C), engine};
}

template <class Body>
auto reporting(Body&& body) {
  try {
    return body();
  } catch (const dnnl::error& e) {
    throw Error(std::string("packed_gemm: oneDNN: ") + e.what());
  }
}

}  // namespace

struct PackedGemm::Product {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  matmul::primitive_desc description;
  matmul primitive;
  memory A, B, C;

  Product(const View<float, 2>& a, const View<float, 2>& b, Scratch scratch)
      : description(describe(engine, a.n[0], b.n[0], b.n[1], a.ld)), primitive(description) {
    UNROLL_CHECK(
        scratch.bytes >= description.weights_desc().get_size(),
        "packed_gemm: scratch of " + std::to_string(scratch.bytes) + " bytes is too small");
    A = memory(description.src_desc(), engine, nullptr);
    B = memory(description.weights_desc(), engine, scratch.data);
    C = memory(description.dst_desc(), engine, nullptr);
    const memory::desc rows({b.n[1], b.n[0]}, memory::data_type::f32, memory::dims{1, b.ld});
    memory plain(rows, engine, b.data);
    dnnl::reorder(plain, B).execute(stream, plain, B);
  }
};

size_t PackedGemm::scratch_bytes(const Exec& exec, int M, int N, int K) {
  use_threads(exec);
  return reporting([&] {
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    return describe(engine, M, N, K, K).weights_desc().get_size();
  });
}

PackedGemm::PackedGemm(const Exec& exec, const View<float, 2>& A, const View<float, 2>& B,
                       Scratch scratch) {
  use_threads(exec);
  product_ = reporting([&] { return std::make_unique<Product>(A, B, scratch); });
}

PackedGemm::~PackedGemm() = default;

void PackedGemm::multiply(float* C, const float* A) {
  reporting([&] {
    product_->A.set_data_handle(const_cast<float*>(A));
    product_->C.set_data_handle(C);
    product_->primitive.execute(product_->stream, {{DNNL_ARG_SRC, product_->A},
                                                   {DNNL_ARG_WEIGHTS, product_->B},
                                                   {DNNL_ARG_DST, product_->C}});
  });
}

}  // namespace unroll::cpu
