// CPU body of the sampler.
#include "kernels/heads/sampler.h"
#include "kernels/heads/sampler_draw.h"

namespace unroll::cpu {

void draw_samples(const Exec&, const DrawSamples& args) {
  const AliasTables q = {args.keep.as<uint32_t>().data, args.alias.as<int32_t>().data,
                         uint64_t(args.keep.n[0])};
  const auto counter = args.counter.as<uint64_t>();
  const auto ids = args.ids.as<int32_t>();
  for (int64_t s = 0; s < ids.n[0]; ++s)
    ids(s) = draw_sample(q, counter(0), counter(1), args.op, s);
}

}  // namespace unroll::cpu
