#include "common/reward/number.h"

#include <gtest/gtest.h>

#include <string>

namespace dtrpo::reward {
namespace {

std::string ValueOf(const std::string& text) {
  const std::optional<Number> number = FinalNumber(text);
  return number ? number->value : "none";
}

struct Case {
  const char* text;
  const char* value;
};

// The table of hard cases: what a text is worth as a number.
constexpr Case kCases[] = {
    // The last number of a text.
    {"2 and 3 make 5.", "5"},
    {"x=7", "7"},
    {"no digits", "none"},
    {"", "none"},
    {"5 . , -", "5"},
    {"It costs $12.", "12"},
    {"Answer: 42!", "42"},
    // The mark of GSM8K: the first number after the last one.
    {"1 2 #### 42 of 50", "42"},
    {"#### 1 #### 7", "7"},
    {"12 ####", "none"},
    {"####-3", "-3"},
    {"#### 1,234", "1234"},
    {"\\boxed{1} #### 2", "2"},
    // MATH's box: the last one, its last number.
    {"\\boxed{12} of 100", "12"},
    {"\\boxed{1} or \\boxed{2} of 3", "2"},
    {"$\\boxed{x = 7}$", "7"},
    {"\\boxed{\\frac{3}{4}}", "3/4"},
    {"\\boxed{-\\dfrac{6}{4}} 1", "-3/2"},
    {"\\boxed{\\text{none}} 5", "none"},
    {"\\boxed{unclosed 5", "5"},
    // Ways to write the same number.
    {"1,234,567.50", "2469135/2"},
    {"1{,}234", "1234"},
    {"1,\\!234", "1234"},
    {"1\\,000", "1000"},
    {"007", "7"},
    {"5.00", "5"},
    {"0.0", "0"},
    {"-0", "0"},
    {".5", "1/2"},
    {"1e3", "1000"},
    {"1.5E-3", "3/2000"},
    {"2e+2", "200"},
    {"\xe2\x88\x92"
     "5",
     "-5"},
    // Fractions.
    {"3/4", "3/4"},
    {"6/8", "3/4"},
    {"-1/2", "-1/2"},
    {"1 1/2", "3/2"},
    {"-1 1/2", "-3/2"},
    {"1\\frac{1}{2}", "3/2"},
    {"\\frac12", "1/2"},
    {"4/2", "2"},
    {"5/0", "0"},
    {"1/2/2020", "2020"},
    {"2 3/2", "3/2"},
    {"1/2.5", "5/2"},
    // Percentages.
    {"50%", "1/2"},
    {"12.5 %", "1/8"},
    {"50\\%", "1/2"},
    {"5% of 100", "100"},
    // Commas that separate no thousands separate numbers.
    {"1,2", "2"},
    {"1,2345", "2345"},
    {"1234,567", "567"},
    {"3, 400", "400"},
    // A minus that subtracts is no sign.
    {"-5", "-5"},
    {"is -5", "-5"},
    {"8-5", "5"},
    {"(3)-5", "5"},
    {"=-1,200.5", "-2401/2"},
    // What looks like an exponent and is none.
    {"3e", "3"},
    {"3em", "3"},
    {"2e3x", "3"},
    {"1e9999", "9999"},
};

TEST(NumberTest, TheTableOfHardCases) {
  for (const Case& c : kCases) EXPECT_EQ(ValueOf(c.text), c.value) << "'" << c.text << "'";
}

bool Same(const std::string& a, const std::string& b) {
  return SameNumber(*FinalNumber(a), *FinalNumber(b));
}

TEST(NumberTest, APercentSignMayBeLeftOutByOneSide) {
  EXPECT_TRUE(Same("50%", "50"));
  EXPECT_TRUE(Same("50%", "0.5"));
  EXPECT_TRUE(Same("1/2", "50 %"));
  EXPECT_TRUE(Same("50%", "50.0%"));
  EXPECT_FALSE(Same("50", "0.5"));
  EXPECT_FALSE(Same("50%", "5%"));
}

TEST(NumberTest, LongNumbersAreComparedExactly) {
  EXPECT_FALSE(Same("12345678901234567890123", "12345678901234567890124"));
  EXPECT_TRUE(Same("0.10000000000000000000000000", "1/10"));
  EXPECT_FALSE(Same("0.10000000000000000000000001", "0.1"));
}

TEST(NumberTest, AMillionDigitsTakeNoTime) {
  EXPECT_TRUE(FinalNumber(std::string(1000000, '7')).has_value());
  EXPECT_TRUE(FinalNumber("1/" + std::string(1000000, '7')).has_value());
}

TEST(NumberTest, TheTextIsKeptAsWritten) {
  EXPECT_EQ(FinalNumber("so -1,200.50 %.")->text, "-1,200.50 %");
}

TEST(NumberTest, BracesInABoxAreBalanced) {
  EXPECT_EQ(LastBoxed("\\boxed{a{b}c} d"), "a{b}c");
  EXPECT_EQ(LastBoxed("\\boxed{a{b"), std::nullopt);
  EXPECT_EQ(LastBoxed("boxed"), std::nullopt);
}

}  // namespace
}  // namespace dtrpo::reward
