// CPU body of update.
#include "kernels/base/cpu_dtype.h"
#include "kernels/update/pieces_cpu.h"
#include "kernels/update/rules.h"
#include "kernels/update/update.h"

namespace unroll::cpu {
namespace {

template <class R, class T>
void update_piece(const RuleNumbers<T>& numbers, T factor, int64_t n, T* theta, const T* g, T* a,
                  T* b) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    T none = 0;
    R::step(numbers, theta[i], factor * g[i], R::kSlots > 0 ? a[i] : none,
            R::kSlots > 1 ? b[i] : none);
  }
}

template <class R, class T>
void update_slab(const Exec& exec, const Update& args, const RuleNumbers<T>& numbers) {
  const auto* pieces = static_cast<const SlabPiece*>(args.pieces.data);
  const double* factor = args.scales.as<double>().data + kUpdateScales;
  T* theta = args.theta.as<T>().data;
  const T* g = args.g.as<T>().data;
  T* a = args.a.as<T>().data;
  T* b = args.b.as<T>().data;
  auto* shadow = static_cast<bf16*>(args.shadow.data);
#pragma omp parallel for num_threads(exec.threads)
  for (int64_t p = 0; p < args.pieces.n[0]; ++p) {
    const SlabPiece& piece = pieces[p];
    const auto at = int64_t(piece.offset);
    update_piece<R>(numbers, T(factor[piece.group]), piece.count, theta + at, g + piece.gradient,
                    R::kSlots > 0 ? a + at : nullptr, R::kSlots > 1 ? b + at : nullptr);
    write_shadow(shadow, piece, theta + at);
  }
}

}  // namespace

void update(const Exec& exec, const Update& args) {
  const auto& scales = *static_cast<const UpdateScales*>(args.scales.data);
  if (scales.apply == 0) return;
  const bool averaged = args.rule != UpdateRule::asgd || scales.mean != 0;
  with_real("update", args.theta.dtype, [&](auto zero) {
    using T = decltype(zero);
    const RuleNumbers<T> numbers(scales, args.constants);
    with_rule(averaged ? args.rule : UpdateRule::sgd,
              [&](auto rule) { update_slab<decltype(rule), T>(exec, args, numbers); });
  });
}

}  // namespace unroll::cpu
