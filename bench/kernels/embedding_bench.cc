// Embedding lookup and its gradient.
#include "bench/harness/roofline.h"
#include "kernels/embedding/embedding.h"
#include "kernels/embedding/store_rows.h"

namespace unroll::bench {

void add_embedding(const Bench& bench) {
  for (const int V : kVocabularies)
    for (const Shape& s : kShapes) {
      const int N = s.T * s.B, D = s.H;
      const double es = double(size_of(bench.act()));
      const std::string sizes =
          "V" + std::to_string(V) + "/N" + std::to_string(N) + "/D" + std::to_string(D);
      bench.add("embedding_forward/" + sizes, [=, &bench](Bench::Case& c) {
        const EmbeddingForward a{.y = c.array(bench, bench.act(), N, D),
                                 .E = c.array(bench, bench.act(), V, D),
                                 .ids = c.ids(bench, N, V)};
        c.work.bytes = double(N) * D * 2 * es;
        c.body = [exec = bench.exec(), a] { embedding_forward(exec, a); };
      });
      // Words of a corpus repeat: ids below V / 32 give about the share of distinct words of a
      // text.
      for (const Accumulate to : {Accumulate::overwrite, Accumulate::add})
        bench.add(std::string("embedding_backward/") +
                      (to == Accumulate::add ? "add/" : "overwrite/") + sizes,
                  [=, &bench](Bench::Case& c) {
                    const EmbeddingBackward a{
                        .dE = c.array(bench, DType::f32, V, D),
                        .to_dE = to,
                        .dy = c.array(bench, bench.act(), N, D),
                        .ids = c.ids(bench, N, V / 32),
                        .scratch = c.scratch(
                            bench, embedding_scratch_bytes(bench.exec(), bench.act(), N, D))};
                    const double table = to == Accumulate::add ? 0.0 : double(V) * D * 4;
                    c.work.bytes = table + double(N) * D * (es + 4);
                    c.body = [exec = bench.exec(), a] { embedding_backward(exec, a); };
                  });
      bench.add("embedding_rows_backward/" + sizes, [=, &bench](Bench::Case& c) {
        const size_t scratch = embedding_scratch_bytes(bench.exec(), bench.act(), N, D);
        View1 words = c.ids(bench, N, V);
        words.dtype = DType::u32;
        const EmbeddingRowsBackward a{.dE = {words, c.array(bench, DType::f32, N, D)},
                                      .V = V,
                                      .dy = c.array(bench, bench.act(), N, D),
                                      .ids = c.ids(bench, N, V / 32),
                                      .scratch = c.scratch(bench, scratch)};
        c.work.bytes = double(N) * D * (es + 4);
        c.body = [exec = bench.exec(), a] { embedding_rows_backward(exec, a); };
      });
      bench.add("store_rows/" + sizes, [=, &bench](Bench::Case& c) {
        View1 words = c.ids(bench, N, V);
        words.dtype = DType::u32;
        const StoreRows a{.ids = c.ids(bench, N, V),
                          .terms = c.array(bench, DType::f32, N, D),
                          .g = {words, c.array(bench, DType::f32, N, D)},
                          .V = V};
        c.work.bytes = double(N) * D * 8;
        c.body = [exec = bench.exec(), a] { store_rows(exec, a); };
      });
    }
}

}  // namespace unroll::bench
