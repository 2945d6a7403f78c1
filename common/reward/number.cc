#include "common/reward/number.h"

#include <gmpxx.h>
#include <re2/re2.h>

#include <cstdint>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace dtrpo::reward {
namespace {

// A number longer than this is no answer, and its exact value would only cost time.
constexpr size_t kMaxDigits = 1000;

bool IsDigit(absl::string_view text, size_t i) {
  return i < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[i]));
}

bool IsAlnum(absl::string_view text, size_t i) {
  return i < text.size() && absl::ascii_isalnum(static_cast<unsigned char>(text[i]));
}

bool Is(absl::string_view text, size_t i, char c) { return i < text.size() && text[i] == c; }

size_t DigitsEnd(absl::string_view text, size_t i) {
  while (IsDigit(text, i)) ++i;
  return i;
}

// A comma and exactly three digits.
bool IsThousandsGroup(absl::string_view text, size_t i) {
  return Is(text, i, ',') && DigitsEnd(text, i + 1) == i + 4;
}

bool HasMinus(absl::string_view text, size_t begin) {
  if (begin == 0 || text[begin - 1] != '-') return false;
  if (begin == 1) return true;
  return !IsAlnum(text, begin - 2) && text[begin - 2] != ')' && text[begin - 2] != ']';
}

mpz_class PowerOfTen(uint64_t exponent) {
  mpz_class power;
  mpz_ui_pow_ui(power.get_mpz_t(), 10, exponent);
  return power;
}

// digits "/" digits at i, in one piece: neither a part of a longer chain like a date, nor of a
// decimal, nor a division by zero. Moves i past it.
std::optional<mpq_class> ReadFraction(absl::string_view text, size_t& i) {
  const size_t slash = DigitsEnd(text, i);
  if (slash == i || !Is(text, slash, '/') || (i > 0 && text[i - 1] == '/')) return std::nullopt;
  const size_t end = DigitsEnd(text, slash + 1);
  if (end == slash + 1 || end - i > kMaxDigits) return std::nullopt;
  const bool goes_on = (Is(text, end, '/') || Is(text, end, '.')) && IsDigit(text, end + 1);
  if (goes_on) return std::nullopt;
  const mpz_class denominator(std::string(text.substr(slash + 1, end - slash - 1)), 10);
  if (denominator == 0) return std::nullopt;
  mpq_class value(mpz_class(std::string(text.substr(i, slash - i)), 10), denominator);
  value.canonicalize();
  i = end;
  return value;
}

// Digits with separators, decimals and an exponent; moves i past them. Only a whole number in plain
// digits may be the first part of "1 1/2".
struct Decimal {
  mpq_class value;
  bool plain = false;
};

Decimal ReadDecimal(absl::string_view text, size_t& i) {
  size_t end = DigitsEnd(text, i);
  std::string digits(text.substr(i, end - i));
  bool plain = true;
  if (!digits.empty() && digits.size() <= 3) {
    for (; IsThousandsGroup(text, end); end += 4) absl::StrAppend(&digits, text.substr(end + 1, 3));
  }
  int64_t exponent = 0;
  if (Is(text, end, '.') && IsDigit(text, end + 1)) {
    const size_t fraction_end = DigitsEnd(text, end + 1);
    absl::StrAppend(&digits, text.substr(end + 1, fraction_end - end - 1));
    exponent -= static_cast<int64_t>(fraction_end - end - 1);
    end = fraction_end;
    plain = false;
  }
  if (Is(text, end, 'e') || Is(text, end, 'E')) {
    const size_t sign = end + 1;
    const size_t first = Is(text, sign, '-') || Is(text, sign, '+') ? sign + 1 : sign;
    const size_t last = DigitsEnd(text, first);
    if (last > first && last - first <= 3 && !IsAlnum(text, last)) {
      const int64_t shift = std::atoi(std::string(text.substr(first, last - first)).c_str());
      exponent += Is(text, sign, '-') ? -shift : shift;
      end = last;
      plain = false;
    }
  }
  i = end;
  if (digits.size() > kMaxDigits) digits.resize(kMaxDigits);
  mpq_class value{mpz_class(digits, 10)};
  if (exponent >= 0) {
    value *= PowerOfTen(static_cast<uint64_t>(exponent));
  } else {
    value /= PowerOfTen(static_cast<uint64_t>(-exponent));
  }
  return {value, plain};
}

// The number whose first digit (or decimal point) stands at i; moves i past it.
Number ReadNumber(absl::string_view text, size_t& i) {
  const bool minus = HasMinus(text, i);
  const size_t begin = minus ? i - 1 : i;
  mpq_class value;
  if (const std::optional<mpq_class> fraction = ReadFraction(text, i)) {
    value = *fraction;
  } else {
    const Decimal decimal = ReadDecimal(text, i);
    value = decimal.value;
    size_t rest = i + 1;
    if (decimal.plain && Is(text, i, ' ') && IsDigit(text, rest)) {
      if (const std::optional<mpq_class> part = ReadFraction(text, rest); part && *part < 1) {
        value += *part;
        i = rest;
      }
    }
  }
  if (minus) value = -value;
  Number number;
  number.unscaled = value.get_str();
  const size_t sign = Is(text, i, ' ') ? i + 1 : i;
  if (Is(text, sign, '%')) {
    number.percent = true;
    value /= 100;
    i = sign + 1;
  }
  number.value = value.get_str();
  number.text = std::string(text.substr(begin, i - begin));
  return number;
}

// LaTeX as plain text: \frac{3}{4} as 3/4, 1{,}234 as 1,234, \% as %. And the typographic minus.
std::string Plain(absl::string_view text) {
  static const RE2* const minus = new RE2("\u2212");
  static const RE2* const separator = new RE2(R"((\d)(?:\{,\}|,?\\[,!])(\d))");
  static const RE2* const escape = new RE2(R"(\\([%$#]))");
  static const RE2* const mixed = new RE2(R"((\d)\s*\\[dt]?frac)");
  static const RE2* const fraction = new RE2(R"(\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\})");
  static const RE2* const short_fraction = new RE2(R"(\\[dt]?frac\s*(\d)\s*(\d))");
  std::string plain(text);
  RE2::GlobalReplace(&plain, *minus, "-");
  RE2::GlobalReplace(&plain, *separator, "\\1,\\2");
  RE2::GlobalReplace(&plain, *escape, "\\1");
  RE2::GlobalReplace(&plain, *mixed, "\\1 \\\\frac");
  RE2::GlobalReplace(&plain, *fraction, "\\1/\\2");
  RE2::GlobalReplace(&plain, *short_fraction, "\\1/\\2");
  return plain;
}

std::optional<Number> ReadNumbers(absl::string_view text, bool first) {
  std::optional<Number> number;
  for (size_t i = 0; i < text.size();) {
    if (IsDigit(text, i) || (text[i] == '.' && IsDigit(text, i + 1))) {
      number = ReadNumber(text, i);
      if (first) break;
    } else {
      ++i;
    }
  }
  return number;
}

}  // namespace

bool SameNumber(const Number& a, const Number& b) {
  return a.value == b.value || (a.percent != b.percent && a.unscaled == b.unscaled);
}

std::optional<absl::string_view> LastBoxed(absl::string_view text) {
  constexpr absl::string_view kBoxed = "\\boxed{";
  const size_t at = text.rfind(kBoxed);
  if (at == absl::string_view::npos) return std::nullopt;
  text.remove_prefix(at + kBoxed.size());
  int64_t depth = 1;
  for (size_t i = 0; i < text.size(); ++i) {
    depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
    if (depth == 0) return text.substr(0, i);
  }
  return std::nullopt;
}

std::optional<Number> FinalNumber(absl::string_view text) {
  const size_t mark = text.rfind("####");
  if (mark != absl::string_view::npos) return ReadNumbers(Plain(text.substr(mark + 4)), true);
  if (const std::optional<absl::string_view> boxed = LastBoxed(text)) {
    return ReadNumbers(Plain(*boxed), false);
  }
  return ReadNumbers(Plain(text), false);
}

}  // namespace dtrpo::reward
