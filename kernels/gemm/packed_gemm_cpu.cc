// Packed products by oneDNN's matmul primitive.
#include "kernels/gemm/packed_gemm.h"

#include <string>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/cpu_threads.h"
#include "kernels/gemm/onednn_cpu.h"

namespace unroll::cpu {
namespace {

using dnnl::memory;
constexpr auto f32 = memory::data_type::f32;

// A is read at a distance of `lda` between rows, or once rounded without a gap.
dnnl::matmul::primitive_desc describe(const Exec& exec, const dnnl::engine& engine,
                                      const PackedGemm::Shape& s, int64_t lda, double beta) {
  const bool rounds = rounds_to_bf16(exec);
  const auto type = rounds ? memory::data_type::bf16 : f32;
  return product_of(engine, matrix(type, s.M, s.K, rounds ? s.K : lda),
                    {{s.K, s.N}, type, memory::format_tag::any}, matrix(f32, s.M, s.N, s.N), beta);
}

size_t packed_bytes(const dnnl::matmul::primitive_desc& d) {
  return (d.weights_desc().get_size() + 63) / 64 * 64;
}

}  // namespace

struct PackedGemm::Product {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul::primitive_desc description;
  dnnl::matmul primitive;
  Exec exec;
  View<float, 2> given;       // A's shape
  bf16* rounded_A = nullptr;  // where A lies once rounded
  memory A, B, C;

  Product(const Exec& e, const View<float, 2>& a, const View<float, 2>& b, Transpose transpose_B,
          double beta, Scratch scratch)
      : description(describe(
            e, engine, {a.n[0], b.n[transpose_B == Transpose::yes ? 0 : 1], a.n[1]}, a.ld, beta)),
        primitive(description),
        exec(e),
        given(a) {
    const int64_t N = description.dst_desc().dims()[1], K = a.n[1];
    UNROLL_CHECK(
        scratch.bytes >= scratch_bytes(exec, {a.n[0], N, K}),
        "packed_gemm: scratch of " + std::to_string(scratch.bytes) + " bytes is too small");
    if (rounds_to_bf16(exec))
      rounded_A =
          reinterpret_cast<bf16*>(static_cast<char*>(scratch.data) + packed_bytes(description));
    A = memory(description.src_desc(), engine, rounded_A);
    B = memory(description.weights_desc(), engine, scratch.data);
    C = memory(description.dst_desc(), engine, nullptr);
    const bool transposed = transpose_B == Transpose::yes;
    memory plain(matrix(f32, K, N, transposed ? 1 : b.ld, transposed ? b.ld : 1), engine, b.data);
    dnnl::reorder(plain, B).execute(stream, plain, B);
  }

  void multiply(float* c, const float* a) {
    if (rounded_A) {
      given.data = const_cast<float*>(a);
      round_to_bf16(exec, given, rounded_A);
    } else {
      A.set_data_handle(const_cast<float*>(a));
    }
    C.set_data_handle(c);
    primitive.execute(stream, {{DNNL_ARG_SRC, A}, {DNNL_ARG_WEIGHTS, B}, {DNNL_ARG_DST, C}});
  }
};

size_t PackedGemm::scratch_bytes(const Exec& exec, const Shape& s) {
  if (rounds_to_bf16(exec) && !multiplies_bf16()) return 0;
  use_threads(exec);
  return reporting("packed_gemm", [&] {
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    const auto description = describe(exec, engine, s, s.K, 0);
    return packed_bytes(description) +
           (rounds_to_bf16(exec) ? description.src_desc().get_size() : 0);
  });
}

PackedGemm::PackedGemm(const Exec& exec, const View<float, 2>& A, const View<float, 2>& B,
                       Transpose transpose_B, double beta, Scratch scratch) {
  use_threads(exec);
  product_ = reporting("packed_gemm", [&] {
    return std::make_unique<Product>(exec, A, B, transpose_B, beta, scratch);
  });
}

PackedGemm::~PackedGemm() = default;

void PackedGemm::multiply(float* C, const float* A) {
  reporting("packed_gemm", [&] { product_->multiply(C, A); });
}

}  // namespace unroll::cpu
