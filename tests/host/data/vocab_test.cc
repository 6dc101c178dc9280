// Order, limits, files and round trips of the vocabulary.
#include "host/data/vocab.h"

#include "tests/host/data/scratch_folder.h"

namespace unroll::test {
namespace {

TypeCounts count(const std::string& text, Unit unit = Unit::word) {
  ScratchFolder folder;
  return count_types({folder.write("x", text)}, "--train", unit);
}

std::vector<std::string> tokens_of(const Vocab& vocab) {
  std::vector<std::string> tokens;
  for (int32_t i = 0; i < vocab.size(); ++i) tokens.emplace_back(vocab.token(i));
  return tokens;
}

using Tokens = std::vector<std::string>;

// b 3, <eos> 3, c 2, a 2, d 1; b appears before the first <eos>, c before a.
constexpr const char* kText = "b c b a\nb c\na d\n";

TEST(Vocab, DescendingCountThenFirstAppearanceWithEosCounted) {
  const Vocab vocab(count(kText), {});
  EXPECT_EQ(tokens_of(vocab), (Tokens{"b", "<eos>", "c", "a", "d", "<unk>"}));
  EXPECT_EQ(vocab.counts(), (std::vector<uint64_t>{3, 3, 2, 2, 1, 0}));
  EXPECT_EQ(vocab.eos(), 1);
  EXPECT_EQ(vocab.unk(), 5);
  EXPECT_EQ(vocab.id("a"), 3);
  EXPECT_EQ(vocab.id("nothing"), std::nullopt);
}

TEST(Vocab, LiteralUnkIsAWord) {
  const Vocab vocab(count("<unk> a <unk>\n<unk> b\n"), {});
  EXPECT_EQ(tokens_of(vocab), (Tokens{"<unk>", "<eos>", "a", "b"}));
  EXPECT_EQ(vocab.counts()[0], 3u);
}

TEST(Vocab, SizeIncludesEosAndUnkWhichCollectsWhatIsCut) {
  const Vocab four(count(kText), {.size = 4});
  EXPECT_EQ(tokens_of(four), (Tokens{"b", "<eos>", "<unk>", "c"}));  // <unk>: a a d
  EXPECT_EQ(four.counts(), (std::vector<uint64_t>{3, 3, 3, 2}));
  EXPECT_EQ(Vocab(count(kText), {.size = 6}).size(), 6);
  EXPECT_EQ(Vocab(count(kText), {.size = 100}).size(), 6);
  EXPECT_EQ(tokens_of(Vocab(count(kText), {.min_count = 2})),
            (Tokens{"b", "<eos>", "c", "a", "<unk>"}));
  EXPECT_EQ(tokens_of(Vocab(count(kText), {.size = 4, .min_count = 3})),
            (Tokens{"<unk>", "b", "<eos>"}));
  expect_contains(error_of(ErrorKind::usage, [] { Vocab(count(kText), {.size = 2}); }),
                  "at least 3");
  expect_contains(error_of(ErrorKind::usage, [] { Vocab(count(kText), {.min_count = 9}); }),
                  "min_count 9");
}

TEST(Vocab, CharactersAreCodePointsAndStrayBytes) {
  const Vocab vocab(count("\xc3\xa9\xc3\xa9 \xff\n\n", Unit::character), {});
  EXPECT_EQ(tokens_of(vocab), (Tokens{"\xc3\xa9", "<eos>", " ", "\xff"}));
  EXPECT_EQ(vocab.unk(), std::nullopt);
  std::vector<int32_t> ids;
  vocab.encode("\xff \xc3\xa9", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{3, 2, 0}));
  const auto message =
      error_of(ErrorKind::data, [&] { vocab.encode("z", ids, nullptr, "x.txt:7"); });
  expect_contains(message, "x.txt:7: 'z' is not in the vocabulary of 4 characters");
  expect_contains(message, "min_count");
  const Vocab cut(count("aaab\n", Unit::character), {.min_count = 2});
  EXPECT_EQ(tokens_of(cut), (Tokens{"a", "<eos>", "<unk>"}));
  // Also where nothing is cut: other texts may have other characters.
  const Vocab whole(count("aabb\n", Unit::character), {.min_count = 2});
  EXPECT_EQ(tokens_of(whole), (Tokens{"a", "b", "<eos>", "<unk>"}));
}

TEST(Vocab, EncodeReportsOovPositionsAndDecodeInverts) {
  const Vocab vocab(count("a b <unk>\n"), {});
  std::vector<int32_t> ids = {vocab.eos()};
  std::vector<uint32_t> oov;
  vocab.encode("\tb x  <unk> y\r", ids, &oov);
  EXPECT_EQ(oov, (std::vector<uint32_t>{2, 4}));
  EXPECT_EQ(ids.size(), 5u);
  ids.push_back(vocab.eos());
  EXPECT_EQ(vocab.decode(ids), "\nb <unk> <unk> <unk>\n");
  const Vocab chars(count("ab c\n", Unit::character), {});
  ids.clear();
  chars.encode("c ba", ids);
  ids.push_back(chars.eos());
  EXPECT_EQ(chars.decode(ids), "c ba\n");
}

TEST(Vocab, SerializesAnyBytesAsValidText) {
  TypeCounts counts(Unit::word);
  Tokens odd = {"\xff\xfe", "a\\xffb", "back\\slash", "\\", "\\x", std::string("\x01\x7f\x00z", 4),
                "\xc3\xa9", "12",      "\"q\""};
  for (size_t i = 0; i < odd.size(); ++i) counts.add(odd[i], 100 - i);
  counts.add(kEos, 3);
  const Vocab vocab(counts, {});
  const std::string text = vocab.serialize();
  for (size_t i = 0; i < text.size();) {
    const size_t n = utf8_length(std::string_view(text).substr(i));
    ASSERT_GT(n, 0u);
    ASSERT_TRUE(text[i] == '\n' || static_cast<unsigned char>(text[i]) >= ' ');
    i += n;
  }
  const Vocab back = Vocab::deserialize(text, "model");
  EXPECT_EQ(tokens_of(back), tokens_of(vocab));
  EXPECT_EQ(back.counts(), vocab.counts());
  EXPECT_EQ(back.hash(), vocab.hash());
  EXPECT_EQ(back.serialize(), text);
  ScratchFolder folder;
  vocab.save(folder.path("v"));
  EXPECT_EQ(Vocab::read_file(folder.path("v"), Unit::word, "--vocab").hash(), vocab.hash());
  error_of(ErrorKind::disk, [&] { vocab.save(folder.path("no/v")); });

  const Vocab chars(count("a b\t\xff\n", Unit::character), {});
  const Vocab chars_back = Vocab::deserialize(chars.serialize(), "model");
  EXPECT_EQ(tokens_of(chars_back), tokens_of(chars));
  EXPECT_EQ(chars_back.unk(), std::nullopt);
  expect_contains(error_of(ErrorKind::model, [] { Vocab::deserialize("{}", "m.safetensors"); }),
                  "m.safetensors");
  expect_contains(error_of(ErrorKind::model, [] { Vocab::deserialize("word\na\n", "m"); }),
                  "<eos>");
}

TEST(Vocab, HashKnowsOrderTokensAndUnit) {
  const auto hash = [](const char* text, Unit unit = Unit::word) {
    return Vocab::parse(text, unit, "v").hash();
  };
  EXPECT_EQ(hash("a\nb\n<eos>\n<unk>\n").size(), 16u);
  EXPECT_EQ(hash("a\nb\n"), hash("a 9\nb 5\n<eos> 2\n"));  // counts are not part of it
  EXPECT_NE(hash("a\nb\n"), hash("b\na\n"));
  EXPECT_NE(hash("a\nb\n"), hash("ab\n"));
  EXPECT_NE(hash("a\nb\n"), hash("a\nb\n", Unit::character));
  // FNV-1a itself, from its authors' test vectors.
  EXPECT_EQ(fnv1a(""), 0xcbf29ce484222325u);
  EXPECT_EQ(fnv1a("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(fnv1a("foobar"), 0x85944171f73967e8u);
}

TEST(VocabFile, OneColumnIdsOrCounts) {
  EXPECT_EQ(tokens_of(Vocab::parse("x\ny", Unit::word, "v")), (Tokens{"x", "y", "<eos>", "<unk>"}));
  const Vocab ids = Vocab::parse("<eos> 0\n<unk> 1\nx 2\n", Unit::word, "v");
  EXPECT_EQ(tokens_of(ids), (Tokens{"<eos>", "<unk>", "x"}));
  EXPECT_EQ(ids.counts(), (std::vector<uint64_t>{0, 0, 0}));
  const Vocab counts = Vocab::parse("x 7\n<eos> 7\ny 1\n", Unit::word, "v");
  EXPECT_EQ(counts.counts(), (std::vector<uint64_t>{7, 7, 1, 0}));
  EXPECT_EQ(counts.unk(), 3);
  EXPECT_EQ(tokens_of(Vocab::parse("a\n\\x20\n", Unit::character, "v")),
            (Tokens{"a", " ", "<eos>", "<unk>"}));
  ScratchFolder folder;
  EXPECT_EQ(tokens_of(Vocab::read_file(folder.write("v", "\xef\xbb\xbfx\r\ny\r\n"), Unit::word,
                                       "--vocab")),
            (Tokens{"x", "y", "<eos>", "<unk>"}));
}

TEST(VocabFile, BadLinesAreNamed) {
  const auto message = [](const char* text, Unit unit = Unit::word) {
    return error_of(ErrorKind::data, [&] { Vocab::parse(text, unit, "v.txt"); });
  };
  expect_contains(message("a\nb c d\n"), "v.txt:2: 'b c d': 3 columns");
  expect_contains(message("a\n\nb\n"), "v.txt:2: '': no token");
  expect_contains(message("a\nb\na\n"), "v.txt:3: 'a': the token is already in line 1");
  expect_contains(message("a 0\nb 2\n"), "v.txt:2: 'b 2': id 2, expected 1");
  expect_contains(message("a 5\nb x\n"), "v.txt:2: 'b x': the second column is not a number");
  expect_contains(message("a 5\nb\n"), "v.txt:2: 'b': 1 column, but line 1 has 2");
  expect_contains(message("a\nab\n", Unit::character), "v.txt:2: 'ab': more than one character");
  expect_contains(
      error_of(ErrorKind::usage, [] { Vocab::read_file("/nowhere", Unit::word, "--vocab"); }),
      "--vocab");
}

TEST(TokenTable, NumbersInOrderOfInsertionAcrossGrowth) {
  TokenTable table;
  EXPECT_FALSE(table.find("0"));
  for (uint32_t i = 0; i < 10000; ++i) ASSERT_EQ(table.insert(std::to_string(i)), i);
  for (uint32_t i = 0; i < 10000; ++i) {
    ASSERT_EQ(table.insert(std::to_string(i)), i);
    ASSERT_EQ(table.find(std::to_string(i)), i);
    ASSERT_EQ(table[i], std::to_string(i));
  }
  EXPECT_EQ(table.size(), 10000u);
  EXPECT_EQ(table.insert(""), 10000u);
  EXPECT_FALSE(table.find("x"));
}

}  // namespace
}  // namespace unroll::test
