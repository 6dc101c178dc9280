// Token files: content, reuse, staleness, unknown words, overlap with the training text.
#include "host/data/corpus.h"

#include <unistd.h>

#include "host/data/corpus_checks.h"
#include "tests/host/data/scratch_folder.h"

namespace unroll::test {
namespace {

std::vector<int32_t> ids_of(const Corpus& corpus) {
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < corpus.size(); ++i) ids.push_back(corpus[i]);
  return ids;
}

std::vector<uint64_t> starts_of(const Corpus& corpus) {
  std::vector<uint64_t> starts;
  for (uint64_t n = 0; n <= corpus.lines(); ++n) starts.push_back(corpus.line_start(n));
  return starts;
}

Vocab list(const char* text, Unit unit = Unit::word) { return Vocab::parse(text, unit, "v"); }

TEST(Corpus, EveryLineEndsWithEosAndUnknownWordsAreReported) {
  ScratchFolder folder;
  const auto path = folder.write("x", "a b\n\nz <unk> z y\na");
  const Vocab vocab = list("a\nb\n<eos>\n<unk>\n");
  const Corpus corpus({{path}, "--train"}, vocab, "");
  EXPECT_EQ(ids_of(corpus), (std::vector<int32_t>{0, 1, 2, 2, 3, 3, 3, 3, 2, 0, 2}));
  EXPECT_EQ(starts_of(corpus), (std::vector<uint64_t>{0, 3, 4, 9, 11}));
  EXPECT_EQ(corpus.lines(), 4u);
  EXPECT_EQ(corpus.oov_tokens(), 3u);  // not the literal <unk>
  ASSERT_EQ(corpus.top_oov().size(), 2u);
  EXPECT_EQ(corpus.top_oov()[0], (std::pair<std::string, uint64_t>("z", 2)));
  EXPECT_EQ(corpus.notes().missing_final_newlines, 1u);
  EXPECT_EQ(corpus.before(0), 2);
  EXPECT_EQ(corpus.before(1), 0);
}

TEST(Corpus, TopOovIsTheTenMostFrequent) {
  ScratchFolder folder;
  std::string text;
  for (int w = 0; w < 15; ++w) {
    for (int n = 0; n <= w; ++n) text += "w" + std::to_string(w) + " ";
  }
  const Corpus corpus({{folder.write("x", text)}, "--test"}, list("a\n"), "");
  ASSERT_EQ(corpus.top_oov().size(), 10u);
  EXPECT_EQ(corpus.top_oov()[0].first, "w14");
  EXPECT_EQ(corpus.top_oov()[9], (std::pair<std::string, uint64_t>("w5", 6)));
}

TEST(Corpus, WideIdsWhereTheVocabularyIsLarge) {
  ScratchFolder folder;
  std::string words;
  for (int i = 0; i < 65534; ++i) words += std::to_string(i) + "\n";
  const auto path = folder.write("x", "0 65533 last\n");
  const Vocab narrow = Vocab::parse(words, Unit::word, "v");  // 65536 with <eos> and <unk>
  const Vocab wide = Vocab::parse(words + "last\n", Unit::word, "v");
  const Corpus in_16({{path}, "--train"}, narrow, ""), in_32({{path}, "--train"}, wide, "");
  EXPECT_EQ(ids_of(in_16), (std::vector<int32_t>{0, 65533, 65535, 65534}));
  EXPECT_EQ(ids_of(in_32), (std::vector<int32_t>{0, 65533, 65534, 65535}));
}

TEST(Corpus, CharactersAndMarks) {
  ScratchFolder folder;
  const auto path = folder.write("x", "a b\nb\n");
  const Corpus chars({{path}, "--train"}, list("a\nb\n\\x20\n", Unit::character), "");
  EXPECT_EQ(ids_of(chars), (std::vector<int32_t>{0, 2, 1, 3, 1, 3}));
  const auto marked = folder.write("y", "a\n<s> b </s>\n" + std::string(1025, 'q') + "\n");
  const Corpus marks({{marked}, "--train"}, list("a\nb\n"), "");
  EXPECT_EQ(marks.notes().sentence_marks, 2u);
  EXPECT_EQ(marks.notes().first_mark_line, 2u);
  EXPECT_EQ(marks.notes().long_words, 1u);
}

TEST(Corpus, ErrorsNameFileLineAndFlag) {
  ScratchFolder folder;
  const Vocab closed = Vocab::deserialize("char\na\n<eos>\n", "m");
  const auto path = folder.write("x", "a\nab\n");
  expect_contains(error_of(ErrorKind::data,
                           [&] {
                             Corpus({{path}, "--valid"}, closed, "");
                           }),
                  path + ":2: 'b'");
  const auto empty = folder.write("empty", "");
  const auto message = error_of(ErrorKind::data, [&] { Corpus({{empty}, "--valid"}, closed, ""); });
  expect_contains(message, empty);
  expect_contains(message, "--valid");
  const auto good = folder.write("good", "a\n");
  expect_contains(error_of(ErrorKind::disk,
                           [&] {
                             Corpus({{good}, "--valid"}, closed, folder.path("no/cache"));
                           }),
                  "no/cache");
}

class CorpusCache : public ::testing::Test {
 protected:
  Corpus open(const Vocab& vocab) { return Corpus({{path_}, "--train"}, vocab, cache_); }

  ScratchFolder folder_;
  std::string path_ = folder_.write("x", "a b\tz\r\nb \xff\n");
  std::string cache_ = folder_.path(std::string("x") + kTokenFileSuffix);
  Vocab vocab_ = list("a\nb\n");
};

TEST_F(CorpusCache, IsReusedWithAllItKnows) {
  const Corpus first = open(vocab_);
  EXPECT_FALSE(first.reused());
  const Corpus second = open(vocab_);
  EXPECT_TRUE(second.reused());
  EXPECT_EQ(ids_of(first), ids_of(second));
  EXPECT_EQ(starts_of(first), starts_of(second));
  EXPECT_EQ(second.oov_tokens(), 2u);
  EXPECT_EQ(second.eos(), first.eos());
  EXPECT_EQ(second.top_oov(), first.top_oov());
  EXPECT_EQ(second.top_oov()[1].first, "\\xff");
  EXPECT_EQ(describe_notes(second.notes(), "t"), describe_notes(first.notes(), "t"));
  EXPECT_EQ(describe_notes(second.notes(), "t").size(), 3u);
  EXPECT_GT(second.mapped_bytes(), 7 * 2u);
  // Nothing is left beside the token file.
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_.path(""))) {
    ++files;
  }
  EXPECT_EQ(files, 2u);
}

TEST_F(CorpusCache, IsRebuiltForAnotherVocabularyTextOrTime) {
  open(vocab_);
  EXPECT_FALSE(open(list("b\na\n")).reused());
  EXPECT_FALSE(open(vocab_).reused());
  EXPECT_TRUE(open(vocab_).reused());

  const auto time = std::filesystem::last_write_time(path_);
  folder_.write("x", "b b\tz\r\nb \xff\n");  // same size
  std::filesystem::last_write_time(path_, time);
  const Corpus changed = open(vocab_);
  EXPECT_FALSE(changed.reused());
  EXPECT_EQ(changed[0], 1);

  std::filesystem::last_write_time(path_, time + std::chrono::seconds(1));
  EXPECT_FALSE(open(vocab_).reused());
}

TEST_F(CorpusCache, IsRebuiltWhereDamaged) {
  open(vocab_);
  const auto bytes = std::filesystem::file_size(cache_);
  for (const auto size : {bytes - 1, bytes / 2, uintmax_t{5}, uintmax_t{0}}) {
    std::filesystem::resize_file(cache_, size);
    const Corpus corpus = open(vocab_);
    EXPECT_FALSE(corpus.reused()) << size;
    EXPECT_EQ(corpus.size(), 7u);
  }
  folder_.write(std::string("x") + kTokenFileSuffix, std::string(1000, 'x'));
  EXPECT_FALSE(open(vocab_).reused());
}

TEST_F(CorpusCache, KeepsAnOpenCorpusAliveWhileReplaced) {
  Corpus old = open(vocab_);
  const auto before = ids_of(old);
  folder_.write("x", "b b b b b b b\n");
  const Corpus fresh = open(vocab_);
  EXPECT_EQ(ids_of(old), before);
  EXPECT_EQ(fresh.size(), 8u);
  Corpus moved = std::move(old);
  EXPECT_EQ(ids_of(moved), before);
}

Corpus lines_of_words(int first, int lines, int words) {
  std::vector<std::vector<int32_t>> all;
  for (int n = 0; n < lines; ++n) {
    all.emplace_back();
    for (int w = 0; w < words; ++w) all.back().push_back((first + n) * 1000 + w);
  }
  return Corpus(all, -7);
}

TEST(CorpusChecks, OverlapCountsWholeLongLines) {
  const Corpus train = lines_of_words(0, 50, 20);
  const Overlap same = find_overlap(lines_of_words(40, 30, 20), train, Unit::word);
  EXPECT_EQ(same.long_lines, 30u);
  EXPECT_EQ(same.found, 10u);
  EXPECT_EQ(find_overlap(lines_of_words(40, 30, 19), train, Unit::word).long_lines, 0u);
  EXPECT_EQ(find_overlap(lines_of_words(40, 30, 21), train, Unit::word).found, 0u);
  EXPECT_EQ(find_overlap(train, train, Unit::character).long_lines, 0u);
  const auto warnings = check_split(lines_of_words(40, 30, 20), train, Unit::word, "valid");
  ASSERT_EQ(warnings.size(), 1u);
  expect_contains(warnings[0], "valid: 10 of its 30 long lines (33.3%)");
  EXPECT_TRUE(check_split(lines_of_words(49, 30, 20), train, Unit::word, "valid").empty());
}

TEST(CorpusChecks, ManyUnknownWordsAreWarnedOf) {
  ScratchFolder folder;
  const Vocab vocab = list("a\n");
  const Corpus train({{folder.write("t", "a a a\n")}, "--train"}, vocab, "");
  const Corpus few({{folder.write("f", "a a a z\n")}, "--valid"}, vocab, "");     // 1 of 5
  const Corpus many({{folder.write("m", "a a y y z\n")}, "--valid"}, vocab, "");  // 3 of 6
  EXPECT_TRUE(check_split(few, train, Unit::word, "valid").empty());
  const auto warnings = check_split(many, train, Unit::word, "valid");
  ASSERT_EQ(warnings.size(), 1u);
  expect_contains(warnings[0], "valid: 3 of 6 tokens (50.0%)");
  expect_contains(warnings[0], "'y' 2, 'z' 1");
}

}  // namespace
}  // namespace unroll::test
