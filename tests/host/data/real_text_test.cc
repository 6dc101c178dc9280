// Published facts about the Penn Treebank text, where UNROLL_PTB names its folder.
#include <algorithm>
#include <cstdlib>

#include "host/data/corpus_checks.h"
#include "host/data/lanes.h"
#include "host/data/sentences.h"
#include "host/data/splits.h"
#include "tests/host/data/scratch_folder.h"

namespace unroll::test {
namespace {

class PennTreebank : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* dir = std::getenv("UNROLL_PTB");
    if (dir == nullptr) GTEST_SKIP() << "set UNROLL_PTB to the folder of the Penn Treebank text";
    splits_ = find_splits(dir);
    vocab_ = Vocab(count_types({splits_.train}, "--train", Unit::word), {});
    train_ = Corpus({{splits_.train}, "--train"}, vocab_, "");
    valid_ = Corpus({{splits_.valid}, "--valid"}, vocab_, "");
    test_ = Corpus({{splits_.test}, "--test"}, vocab_, "");
  }

  Splits splits_;
  Vocab vocab_;
  Corpus train_, valid_, test_;
};

struct Facts {
  uint64_t bytes, lines, tokens, unk, numbers, longest;
};

void check(const Corpus& corpus, const Vocab& vocab, const Facts& facts) {
  EXPECT_EQ(corpus.notes().bytes, facts.bytes);
  EXPECT_EQ(corpus.lines(), facts.lines);
  EXPECT_EQ(corpus.size(), facts.tokens);
  EXPECT_EQ(corpus.oov_tokens(), 0u);
  uint64_t unk = 0, numbers = 0, longest = 0, eos = 0;
  for (uint64_t i = 0; i < corpus.size(); ++i) {
    unk += corpus[i] == vocab.unk();
    numbers += corpus[i] == vocab.id("N");
    eos += corpus[i] == vocab.eos();
  }
  for (uint64_t n = 0; n < corpus.lines(); ++n) {
    longest = std::max(longest, corpus.line_start(n + 1) - corpus.line_start(n) - 1);
  }
  EXPECT_EQ(unk, facts.unk);
  EXPECT_EQ(numbers, facts.numbers);
  EXPECT_EQ(longest, facts.longest);
  EXPECT_EQ(eos, facts.lines);
  EXPECT_TRUE(describe_notes(corpus.notes(), "ptb").empty());
}

TEST_F(PennTreebank, CountsOfTheSplits) {
  check(train_, vocab_, {5101618, 42068, 929589, 45020, 32481, 82});
  check(valid_, vocab_, {399782, 3370, 73760, 3485, 2603, 74});
  check(test_, vocab_, {449945, 3761, 82430, 4794, 2523, 77});
}

TEST_F(PennTreebank, VocabularyHasTenThousandTypes) {
  EXPECT_EQ(vocab_.size(), 10000);
  EXPECT_EQ(vocab_.token(0), "the");
  EXPECT_EQ(vocab_.counts()[static_cast<size_t>(vocab_.eos())], 42068u);
  EXPECT_EQ(vocab_.counts()[static_cast<size_t>(*vocab_.unk())], 45020u);
  EXPECT_TRUE(std::is_sorted(vocab_.counts().rbegin(), vocab_.counts().rend()));
  EXPECT_EQ(Vocab::deserialize(vocab_.serialize(), "m").hash(), vocab_.hash());
}

TEST_F(PennTreebank, ChunksPerEpoch) {
  const auto chunks = [&](int B, int T) { return Lanes(train_, B, T, LaneForm::train).chunks(); };
  EXPECT_EQ(chunks(20, 20), 2323);
  EXPECT_EQ(chunks(20, 35), 1327);
  EXPECT_EQ(chunks(20, 70), 663);
  EXPECT_EQ(chunks(12, 70), 1106);
  EXPECT_EQ(chunks(64, 35), 414);
  EXPECT_EQ(Lanes(test_, 1, 35, LaneForm::evaluate).tokens(), 82430);
}

TEST_F(PennTreebank, SentenceBatchesScoreEveryTokenWithLittlePadding) {
  Sentences sentences(train_, {.B = 20});
  HostChunk chunk;
  int64_t tokens = 0, places = 0;
  for (int64_t k = 0; k < sentences.chunks(); ++k) {
    sentences.fill(0, k, chunk);
    tokens += chunk.tokens;
    places += chunk.T * chunk.B;
  }
  EXPECT_EQ(tokens, 929589);
  EXPECT_GT(static_cast<double>(tokens) / static_cast<double>(places), 0.8);
}

TEST_F(PennTreebank, NoWarningAboutItsSplits) {
  EXPECT_TRUE(check_split(valid_, train_, Unit::word, "valid").empty());
  EXPECT_TRUE(check_split(test_, train_, Unit::word, "test").empty());
}

}  // namespace
}  // namespace unroll::test
