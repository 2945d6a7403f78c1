// Thread safety: pure functions, plain data.
//
// The number that an answer gives, as an exact fraction (GMP), so that equal numbers are equal
// however they are written.
//
// Where it stands, first rule that fits: after the last "####" (GSM8K), the first number; in the
// last \boxed{} (MATH), the last number; else the last number of the text.
//
// What is a number: integers and decimals, thousands separators in their places ("1,234,567.5",
// "1{,}234"), exponents ("1.5e-3"), fractions ("3/4", "\frac{3}{4}", "1 1/2"), percentages. With a
// minus sign unless the sign follows a letter, a digit or a closing bracket ("3-5" ends with 5).
// Dates ("1/2/2020") are no fractions.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace dtrpo::reward {

struct Number {
  std::string text;      // as written, "1,200%"
  std::string value;     // canonical fraction "12" or "-3/4"; of a percentage the hundredth
  std::string unscaled;  // the same without regard for the percent sign, "1200"
  bool percent = false;
};

// Equal values. Where only one of the two has a percent sign the other may leave it out ("50" for
// "50%"), since questions name the unit as often as answers do.
bool SameNumber(const Number& a, const Number& b);

// Nothing when there is none.
std::optional<Number> FinalNumber(absl::string_view text);

// What the last \boxed{...} of the text holds, with its own braces in balance.
std::optional<absl::string_view> LastBoxed(absl::string_view text);

}  // namespace dtrpo::reward
