#include "common/base/hash.h"

#include <gtest/gtest.h>

#include <string>

#include "common/base/crc32c.h"
#include "common/base/sha256.h"

namespace dtrpo::base {
namespace {

// Golden values from an independent Python implementation of the definition in hash.h.
TEST(StableHashTest, NeverChanges) {
  EXPECT_EQ(StableHash(), 0xf52a15e9a9b5e89bu);
  EXPECT_EQ(StableHash(uint64_t{0}), 0x813f0174a2367c13u);
  EXPECT_EQ(StableHash(uint64_t{1}), 0x5ca6bbcbb1e85355u);
  EXPECT_EQ(StableHash("job-1"), 0xe422ebde0905db50u);
  EXPECT_EQ(StableHash("job-1", uint64_t{3}), 0x40b7cd9a34b7ce31u);
  EXPECT_EQ(StableHash("ab", "c"), 0x482f6f543bbc5465u);
  EXPECT_EQ(StableHash("a", "bc"), 0x461d25214179d9fbu);
}

TEST(StableHashTest, TellsWhereOneTextEndsAndTheNextBegins) {
  EXPECT_NE(StableHash("ab", "c"), StableHash("a", "bc"));
  EXPECT_NE(StableHash(""), StableHash("", ""));
}

TEST(StableHashTest, IsAConstantExpression) {
  static_assert(StableHash(uint64_t{1}) != StableHash(uint64_t{2}));
}

TEST(StableHashTest, SplitsConsecutiveIdsEvenly) {
  int held_out = 0;
  for (uint64_t id = 0; id < 10000; ++id) held_out += StableHash("prompt", id) % 10 == 0;
  EXPECT_NEAR(held_out, 1000, 150);  // five standard deviations
}

TEST(StableHashTest, Hex64HasSixteenDigits) {
  EXPECT_EQ(Hex64(0xab), "00000000000000ab");
  EXPECT_EQ(Hex64(~uint64_t{0}), "ffffffffffffffff");
}

// RFC 3720 B.4, and the usual check value.
TEST(Crc32cTest, AgreesWithTheKnownAnswers) {
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(Crc32cTest, PartsGiveTheSameAsTheWhole) {
  std::string data;
  for (int i = 0; i < 1000; ++i) data.push_back(static_cast<char>(i * 37));
  for (size_t cut : {0, 1, 7, 8, 9, 500, 999, 1000}) {
    EXPECT_EQ(ExtendCrc32c(Crc32c(data.substr(0, cut)), data.substr(cut)), Crc32c(data)) << cut;
  }
}

// FIPS 180-2, appendix B.
TEST(Sha256Test, AgreesWithTheKnownAnswers) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256Test, PartsGiveTheSameAsTheWhole) {
  Sha256 hasher;
  hasher.Update("a");
  hasher.Update("bc");
  EXPECT_EQ(hasher.FinishHex(), Sha256Hex("abc"));
}

}  // namespace
}  // namespace dtrpo::base
