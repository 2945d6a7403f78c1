#include "common/reward/final_number.h"

#include <gtest/gtest.h>

namespace dtrpo::reward {
namespace {

TEST(FinalNumberTest, FindsTheLastNumber) {
  EXPECT_EQ(FinalNumber("2 and 3 make 5."), "5");
  EXPECT_EQ(FinalNumber("x=7"), "7");
  EXPECT_EQ(FinalNumber("no digits"), std::nullopt);
  EXPECT_EQ(FinalNumber(""), std::nullopt);
  EXPECT_EQ(FinalNumber("5 . , -"), "5");
}

TEST(FinalNumberTest, TheMarkDecidesWhereItIs) {
  EXPECT_EQ(FinalNumber("1 2 #### 42 of 50"), "42");
  EXPECT_EQ(FinalNumber("#### 1 #### 7"), "7");
  EXPECT_EQ(FinalNumber("12 ####"), std::nullopt);
}

TEST(FinalNumberTest, EqualNumbersAreEqualTexts) {
  EXPECT_EQ(FinalNumber("1,234,567.50"), "1234567.5");
  EXPECT_EQ(FinalNumber("007"), "7");
  EXPECT_EQ(FinalNumber("5.00"), "5");
  EXPECT_EQ(FinalNumber("0.0"), "0");
  EXPECT_EQ(FinalNumber("-0"), "0");
  EXPECT_EQ(FinalNumber(".5"), "0.5");
  EXPECT_EQ(FinalNumber("$1,000"), "1000");
}

TEST(FinalNumberTest, CommasThatSeparateNoThousandsSeparateNumbers) {
  EXPECT_EQ(FinalNumber("1,2"), "2");
  EXPECT_EQ(FinalNumber("1,2345"), "2345");
  EXPECT_EQ(FinalNumber("1234,567"), "567");
  EXPECT_EQ(FinalNumber("3, 400"), "400");
}

TEST(FinalNumberTest, AMinusThatSubtractsIsNoSign) {
  EXPECT_EQ(FinalNumber("-5"), "-5");
  EXPECT_EQ(FinalNumber("is -5"), "-5");
  EXPECT_EQ(FinalNumber("8-5"), "5");
  EXPECT_EQ(FinalNumber("(3)-5"), "5");
  EXPECT_EQ(FinalNumber("=-1,200.5"), "-1200.5");
}

}  // namespace
}  // namespace dtrpo::reward
