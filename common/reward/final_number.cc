#include "common/reward/final_number.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace dtrpo::reward {
namespace {

bool IsDigit(absl::string_view text, size_t i) {
  return i < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[i]));
}

size_t DigitsEnd(absl::string_view text, size_t i) {
  while (IsDigit(text, i)) ++i;
  return i;
}

// A comma and exactly three digits.
bool IsThousandsGroup(absl::string_view text, size_t i) {
  return i < text.size() && text[i] == ',' && DigitsEnd(text, i + 1) == i + 4;
}

bool HasMinus(absl::string_view text, size_t begin) {
  if (begin == 0 || text[begin - 1] != '-') return false;
  if (begin == 1) return true;
  const unsigned char before = static_cast<unsigned char>(text[begin - 2]);
  return !absl::ascii_isalnum(before) && before != ')' && before != ']';
}

// The number whose first digit (or decimal point) stands at `begin`; moves `begin` past it.
std::string ReadNumber(absl::string_view text, size_t& begin) {
  const bool minus = HasMinus(text, begin);
  std::string integer, fraction;
  size_t end = DigitsEnd(text, begin);
  integer = std::string(text.substr(begin, end - begin));
  if (!integer.empty() && integer.size() <= 3) {
    for (; IsThousandsGroup(text, end); end += 4)
      absl::StrAppend(&integer, text.substr(end + 1, 3));
  }
  if (end < text.size() && text[end] == '.' && IsDigit(text, end + 1)) {
    const size_t fraction_end = DigitsEnd(text, end + 1);
    fraction = std::string(text.substr(end + 1, fraction_end - end - 1));
    end = fraction_end;
  }
  begin = end;
  integer.erase(0, integer.find_first_not_of('0'));
  fraction.erase(fraction.find_last_not_of('0') + 1);
  if (integer.empty()) integer = "0";
  std::string number = fraction.empty() ? integer : integer + "." + fraction;
  return minus && number != "0" ? "-" + number : number;
}

}  // namespace

std::optional<std::string> FinalNumber(absl::string_view text) {
  const size_t mark = text.rfind("####");
  const bool marked = mark != absl::string_view::npos;
  if (marked) text.remove_prefix(mark + 4);
  std::optional<std::string> number;
  for (size_t i = 0; i < text.size();) {
    const bool fraction_only = text[i] == '.' && IsDigit(text, i + 1);
    if (!IsDigit(text, i) && !fraction_only) {
      ++i;
      continue;
    }
    number = ReadNumber(text, i);
    if (marked) break;
  }
  return number;
}

}  // namespace dtrpo::reward
