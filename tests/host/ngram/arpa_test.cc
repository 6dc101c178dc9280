// ARPA text: lossless both ways, queries by hand, and errors with file and line.
#include "host/ngram/arpa.h"

#include "tests/host/ngram/ngram_harness.h"

namespace unroll::test {
namespace {

TEST(Arpa, RoundTripIsBitIdentical) {
  const TemporaryFolder folder;
  const std::string first = folder.file("first.arpa"), second = folder.file("second.arpa");
  const int words = 40;
  const Corpus text(random_lines(words, 300, 41), words);
  for (const NgramOptions& options :
       {NgramOptions{.order = 1, .discount_fallback = true},
        NgramOptions{.order = 4, .discount_fallback = true},
        NgramOptions{.order = 4, .min_count = {1, 1, 2, 2}, .discount_fallback = true}}) {
    const NgramModel model = NgramModel::train(text, small_vocab(words), options);
    model.save_arpa(first);
    EXPECT_TRUE(NgramModel::is_model_file(first));
    const NgramModel read = NgramModel::open(first);
    read.save_arpa(second);
    EXPECT_EQ(read_bytes(first), read_bytes(second));
    EXPECT_EQ(read.vocab().hash(), model.vocab().hash());
    EXPECT_EQ(read.info().ngrams, model.info().ngrams);
    std::vector<double> before(text.size()), after(text.size());
    EXPECT_EQ(model.score(text, before), read.score(text, after));
    EXPECT_EQ(before, after);
    std::mt19937 random(1);
    for (int trial = 0; trial < 50; ++trial) {
      EXPECT_NEAR(total_probability(read, random_state(read, random, 6)), 1, 1e-9);
    }
  }
}

// As another program may write it: n-grams unsorted, back-off weights left out, "b c" without the
// trigrams' suffix "c a", a comment before \data\.
const std::string kForeign =
    "made by hand\n"        // 1
    "\n"                    // 2
    "\\data\\\n"            // 3
    "ngram 1=6\n"           // 4
    "ngram 2=3\n"           // 5
    "ngram 3=2\n"           // 6
    "\n"                    // 7
    "\\1-grams:\n"          // 8
    "-1\t<unk>\n"           // 9
    "-99\t<s>\t-0.5\n"      // 10
    "-0.75\t</s>\n"         // 11
    "-0.5\tc\t-0.125\n"     // 12
    "-0.625\ta\t-0.25\n"    // 13
    "-0.875\tb\t-0.375\n"   // 14
    "\n"                    // 15
    "\\2-grams:\n"          // 16
    "-0.25\t<s> b\t-1.5\n"  // 17
    "-0.125 b c -1.25\n"    // 18
    "-0.0625\ta b\n"        // 19
    "\n"                    // 20
    "\\3-grams:\n"          // 21
    "-0.03125\tb c a\n"     // 22
    "-0.015625\t<s> b c\n"  // 23
    "\n"                    // 24
    "\\end\\\n";            // 25

TEST(Arpa, ReadsForeignFiles) {
  const TemporaryFolder folder;
  const std::string path = folder.file("foreign.arpa");
  write_bytes(path, kForeign);
  const NgramModel model = NgramModel::open(path);
  const auto id = [&](const char* word) { return model.vocab().id(word).value(); };
  const int32_t a = id("a"), b = id("b"), c = id("c"), unk = id("<unk>"), eos = id("<eos>");
  EXPECT_EQ(model.vocab().size(), 5);
  EXPECT_EQ(unk, 0);  // the file's order
  const auto log10_prob = [&](std::vector<int32_t> context, int32_t word) {
    return model.log_prob(context, word) / std::log(10);
  };
  EXPECT_NEAR(log10_prob({}, b), -0.25, 1e-14);
  EXPECT_NEAR(log10_prob({}, a), -0.5 - 0.625, 1e-14);
  EXPECT_NEAR(log10_prob({b}, c), -0.015625, 1e-14);
  EXPECT_NEAR(log10_prob({b}, a), -1.5 - 0.375 - 0.625, 1e-14);
  EXPECT_NEAR(log10_prob({a, b}, c), -0.125, 1e-14);
  EXPECT_NEAR(log10_prob({a, b, c}, a), -0.03125, 1e-14);
  EXPECT_NEAR(log10_prob({a, b, c, a}, b), -0.0625, 1e-14);
  EXPECT_NEAR(log10_prob({b, c}, eos), -1.25 - 0.125 - 0.75, 1e-14);
  EXPECT_NEAR(log10_prob({b, eos}, b), -0.25, 1e-14);
  EXPECT_NEAR(log10_prob({unk}, unk), -1, 1e-14);
}

TEST(Arpa, AnswersInTheIdsOfAGivenVocabulary) {
  const TemporaryFolder folder;
  const std::string path = folder.file("foreign.arpa");
  write_bytes(path, kForeign);
  const Vocab vocab = Vocab::parse("extra\na\nb\nc\n<eos>\n<unk>\n", Unit::word, "given");
  const NgramModel model = NgramModel::open(path, &vocab);
  EXPECT_NEAR(model.log_prob(std::vector<int32_t>{1, 2}, 3), -0.125 * std::log(10), 1e-14);
  EXPECT_LT(model.log_prob({}, 0), -200);
  const Vocab small = Vocab::parse("a\nb\n<eos>\n<unk>\n", Unit::word, "small");
  const std::string message = message_of(ErrorKind::model, [&] { NgramModel::open(path, &small); });
  EXPECT_NE(message.find(path + ":12: the word 'c' is not in the vocabulary"), std::string::npos)
      << message;
}

TEST(Arpa, ErrorsNameFileAndLine) {
  const TemporaryFolder folder;
  const std::string path = folder.file("bad.arpa");
  struct Case {
    const char *from, *to;
    int line;
    const char* says;
  };
  for (const Case& c : {
           Case{"-0.875\tb\t-0.375\n", "", 14, "found 5 of the 6 1-grams"},
           Case{"ngram 2=3", "ngram 2=2", 19, "more 2-grams than the 2"},
           Case{"ngram 2=3", "ngram 7=3", 5, "expected 'ngram 2=count'"},
           Case{"ngram 2=3", "ngram 2=99999999999", 5, "more than the file holds"},
           Case{"-0.0625\ta b\n", "-0.0625\ta d\n", 19, "'d' is not among the unigrams"},
           Case{"-0.0625\ta b\n", "-0.0625\ta <s>\n", 19, "<s> may only begin"},
           Case{"-0.0625\ta b\n", "-0.0625\ta\n", 19, "expected 2 words, found 1"},
           Case{"-0.0625\ta b\n", "-0.0625\ta b 1 2\n", 19, "one column too many"},
           Case{"-0.0625\ta b\n", "-0.0625\tb c\n", 19, "occurs twice"},
           Case{"-0.0625\ta b\n", "minus\ta b\n", 19, "log10 probability, found 'minus'"},
           Case{"-0.0625\ta b\n", "0.5\ta b\n", 19, "above 1"},
           Case{"-0.0625\ta b\n", "-0.0625\ta b\tx\n", 19, "back-off weight, found 'x'"},
           Case{"-0.875\tb\t", "-0.875\ta\t", 14, "'a' occurs twice"},
           Case{"-0.125 b c -1.25\n", "-0.125 b a -1.25\n", 22, "not among the 2-grams"},
           Case{"\\3-grams:", "\\4-grams:", 21, "expected \\3-grams:"},
           Case{"\\end\\", "\\stop\\", 25, "expected \\end\\"},
       }) {
    std::string text = kForeign;
    const size_t at = text.find(c.from);
    ASSERT_NE(at, std::string::npos) << c.from;
    write_bytes(path, text.replace(at, std::string(c.from).size(), c.to));
    const std::string message = message_of(ErrorKind::model, [&] { NgramModel::open(path); });
    const std::string place = path + ":" + std::to_string(c.line) + ": ";
    EXPECT_NE(message.find(place), std::string::npos) << message << "\n wanted " << place;
    EXPECT_NE(message.find(c.says), std::string::npos) << message << "\n wanted " << c.says;
  }
}

TEST(Arpa, TruncatedAnywhereIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("cut.arpa");
  // The last character, a line end, may be missing.
  for (size_t length = kForeign.find("\\data\\") + 6; length + 1 < kForeign.size(); ++length) {
    write_bytes(path, kForeign.substr(0, length));
    const std::string message = message_of(ErrorKind::model, [&] { NgramModel::open(path); });
    EXPECT_NE(message.find(path + ":"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace unroll::test
