// Model files: what is saved is what is opened, and no damaged file does harm.
#include "host/ngram/ngram_file.h"

#include <algorithm>

#include "tests/host/ngram/ngram_harness.h"

namespace unroll::test {
namespace {

constexpr int kWords = 19;

NgramModel trained(int order) {
  return NgramModel::train(Corpus(random_lines(kWords, 200, 29), kWords), small_vocab(kWords),
                           {.order = order, .discount_fallback = true});
}

TEST(NgramFile, OpensWhatWasSaved) {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.ngram"), again = folder.file("again.ngram");
  const Corpus text(random_lines(kWords, 100, 31), kWords);
  for (const int order : {1, 2, 5}) {
    const NgramModel model = trained(order);
    model.save(path);
    EXPECT_TRUE(NgramModel::is_model_file(path));
    const NgramModel opened = NgramModel::open(path, &model.vocab());
    std::vector<double> before(text.size()), after(text.size()), parallel(text.size());
    EXPECT_EQ(model.score(text, before), opened.score(text, after));
    EXPECT_EQ(model.score(text, before), opened.score(text, parallel, 3));
    EXPECT_EQ(before, after);
    EXPECT_EQ(before, parallel);
    EXPECT_EQ(opened.vocab().hash(), model.vocab().hash());
    EXPECT_EQ(opened.info().config, model.info().config);
    EXPECT_EQ(opened.info().ngrams, model.info().ngrams);
    EXPECT_EQ(opened.info().discounts[0].D, model.info().discounts[0].D);
    opened.save(again);
    EXPECT_EQ(read_bytes(path), read_bytes(again));
  }
}

TEST(NgramFile, RefusesAnotherVocabulary) {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.ngram");
  trained(2).save(path);
  const Vocab other = small_vocab(kWords + 1);
  const std::string message = message_of(ErrorKind::model, [&] { NgramModel::open(path, &other); });
  EXPECT_NE(message.find(other.hash()), std::string::npos) << message;
  EXPECT_NE(message.find("--vocab-of"), std::string::npos) << message;
}

TEST(NgramFile, RefusesTruncatedFilesWithTheOffset) {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.ngram"), cut = folder.file("cut.ngram");
  trained(3).save(path);
  const std::string bytes = read_bytes(path);
  for (size_t length = 0; length < bytes.size(); length += 1 + bytes.size() / 97) {
    write_bytes(cut, bytes.substr(0, length));
    const std::string message = message_of(ErrorKind::model, [&] { NgramModel::open(cut); });
    EXPECT_NE(message.find(cut), std::string::npos) << message;
    EXPECT_NE(message.find("byte offset " + std::to_string(length)), std::string::npos) << message;
  }
  message_of(ErrorKind::model, [&] {
    write_bytes(cut, bytes + "x");
    NgramModel::open(cut);
  });
  message_of(ErrorKind::usage, [&] { NgramModel::open(folder.file("absent")); });
  EXPECT_FALSE(NgramModel::is_model_file(folder.file("absent")));
  write_bytes(cut, std::string(5000, 'x'));
  EXPECT_FALSE(NgramModel::is_model_file(cut));
  message_of(ErrorKind::model, [&] { NgramModel::open(cut); });
}

// A changed byte is refused or changes numbers; no query leaves the block.
TEST(NgramFile, SurvivesDamage) {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.ngram"), bad = folder.file("bad.ngram");
  trained(4).save(path);
  const std::string bytes = read_bytes(path);
  const Corpus text(random_lines(kWords, 100, 31), kWords);
  std::vector<double> nats(text.size());
  std::mt19937 random(37);
  int refused = 0;
  for (int trial = 0; trial < 400; ++trial) {
    std::string damaged = bytes;
    // Every fourth time in the header.
    const size_t at = random() % (trial % 4 == 0 ? 200 : bytes.size());
    damaged[at] = char(damaged[at] ^ (1 << random() % 8));
    write_bytes(bad, damaged);
    try {
      NgramModel::open(bad).score(text, nats);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 150);
}

}  // namespace
}  // namespace unroll::test
