#include "common/reward/shaping_verifiers.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace dtrpo::reward {
namespace {

class ShapingVerifier : public Verifier {
 public:
  absl::Status CheckExpected(absl::string_view) const override { return absl::OkStatus(); }
  bool IsShaping() const override { return true; }
};

class LengthVerifier : public ShapingVerifier {
 public:
  LengthVerifier(int64_t min, int64_t max) : min_(min), max_(max) {}

  Judgement JudgeFinished(const Answer& answer, absl::string_view) const override {
    const double tokens = static_cast<double>(answer.tokens);
    double reward = 1;
    if (answer.tokens < min_) reward = tokens / static_cast<double>(min_);
    if (answer.tokens > max_) reward = std::max(0.0, 2 - tokens / static_cast<double>(max_));
    return {reward, reward == 1,
            absl::StrCat(answer.tokens, " tokens, wanted ", min_, " to ", max_)};
  }

 private:
  const int64_t min_, max_;
};

class TagsVerifier : public ShapingVerifier {
 public:
  explicit TagsVerifier(std::vector<std::string> names) : names_(std::move(names)) {}

  Judgement JudgeFinished(const Answer& answer, absl::string_view) const override {
    int64_t held = 0;
    std::string faults;
    std::string outside;
    size_t at = 0;
    for (const std::string& name : names_) {
      const std::string open = absl::StrCat("<", name, ">"), close = absl::StrCat("</", name, ">");
      const size_t begin = answer.text.find(open);
      const size_t end = answer.text.find(close);
      const bool once = begin != absl::string_view::npos && end != absl::string_view::npos &&
                        answer.text.rfind(open) == begin && answer.text.rfind(close) == end;
      if (!once || begin < at || end < begin + open.size()) {
        absl::StrAppend(&faults, faults.empty() ? "" : ", ", open,
                        once ? " out of order" : " not exactly once");
        continue;
      }
      ++held;
      absl::StrAppend(&outside, answer.text.substr(at, begin - at));
      at = end + close.size();
    }
    absl::StrAppend(&outside, answer.text.substr(at));
    if (absl::StripAsciiWhitespace(outside).empty()) {
      ++held;
    } else {
      absl::StrAppend(&faults, faults.empty() ? "" : ", ", "text outside of the tags");
    }
    const double reward = static_cast<double>(held) / static_cast<double>(names_.size() + 1);
    return {reward, faults.empty(), faults.empty() ? "well formed" : faults};
  }

 private:
  const std::vector<std::string> names_;
};

bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Verifier>> MakeLengthVerifier(absl::string_view argument) {
  const std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(argument, absl::MaxSplits("..", 1));
  int64_t min = 0, max = 0;
  if (!absl::SimpleAtoi(ends.first, &min) || !absl::SimpleAtoi(ends.second, &max) || min < 1 ||
      max < min || max > int64_t{1} << 30) {
    return absl::InvalidArgumentError(
        absl::StrCat("'length' needs MIN..MAX tokens, as in length:10..200, not '", argument, "'"));
  }
  return std::make_unique<LengthVerifier>(min, max);
}

absl::StatusOr<std::unique_ptr<Verifier>> MakeTagsVerifier(absl::string_view argument) {
  std::vector<std::string> names = absl::StrSplit(argument, ',');
  if (names.size() > 16 || !std::all_of(names.begin(), names.end(), IsName)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'tags' needs the names of 1 to 16 tags, as in tags:think,answer, not '", argument, "'"));
  }
  return std::make_unique<TagsVerifier>(std::move(names));
}

}  // namespace dtrpo::reward
