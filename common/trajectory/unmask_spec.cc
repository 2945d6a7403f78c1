#include "common/trajectory/unmask_spec.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace dtrpo::trajectory {
namespace {

constexpr int32_t kMaxCount = 1 << 20;
constexpr double kNoLimit = std::numeric_limits<double>::max();

// The numbers of one policy, read from left to right.
class Arguments {
 public:
  Arguments(absl::string_view text, absl::string_view list)
      : text_(text), values_(absl::StrSplit(list, ',')) {}

  absl::Status Count(absl::string_view name, int32_t* value) {
    const absl::string_view word = Take();
    if (absl::SimpleAtoi(word, value) && *value >= 1 && *value <= kMaxCount) {
      return absl::OkStatus();
    }
    return Refuse(word, absl::StrCat(name, " must be a whole number in [1, ", kMaxCount, "]"));
  }

  absl::Status Number(absl::string_view name, double low, double high, absl::string_view range,
                      double* value) {
    const absl::string_view word = Take();
    if (absl::SimpleAtod(word, value) && *value >= low && *value <= high) return absl::OkStatus();
    return Refuse(word, absl::StrCat(name, " must be a number ", range));
  }

  absl::Status Order(DreamOrder* order) {
    const absl::string_view word = Take();
    for (const auto& [name, value] : {std::pair("origin", DreamOrder::kOrigin),
                                      std::pair("maskgit_plus", DreamOrder::kMaskgitPlus),
                                      std::pair("topk_margin", DreamOrder::kTopkMargin),
                                      std::pair("entropy", DreamOrder::kEntropy)}) {
      if (word == name) {
        *order = value;
        return absl::OkStatus();
      }
    }
    return Refuse(word, "the order must be origin, maskgit_plus, topk_margin or entropy");
  }

  bool more() const { return next_ < values_.size(); }

  template <typename Spec>
  absl::StatusOr<UnmaskSpec> Done(Spec spec) {
    if (more()) return Refuse(values_[next_], "there is nothing to come here");
    return UnmaskSpec(spec);
  }

  absl::Status Refuse(absl::string_view word, absl::string_view problem) const {
    return absl::InvalidArgumentError(
        absl::StrCat("unmask '", text_, "': at '", word, "': ", problem));
  }

 private:
  absl::string_view Take() { return more() ? values_[next_++] : absl::string_view(); }

  const absl::string_view text_;
  const std::vector<absl::string_view> values_;
  size_t next_ = 0;
};

absl::StatusOr<UnmaskSpec> ParseDream(Arguments arguments) {
  DreamSpec spec;
  DTRPO_RETURN_IF_ERROR(arguments.Order(&spec.order));
  if (arguments.more()) DTRPO_RETURN_IF_ERROR(arguments.Count("steps", &spec.steps));
  if (arguments.more()) {
    DTRPO_RETURN_IF_ERROR(arguments.Number("eps", std::numeric_limits<double>::min(), 0.999,
                                           "in (0, 0.999]", &spec.eps));
  }
  if (arguments.more()) {
    DTRPO_RETURN_IF_ERROR(arguments.Number("alg_temp", 0, kNoLimit, ">= 0", &spec.alg_temp));
    if (spec.order == DreamOrder::kOrigin && spec.alg_temp != 0) {
      return arguments.Refuse("origin", "this order has no alg_temp");
    }
  }
  return arguments.Done(spec);
}

}  // namespace

absl::StatusOr<UnmaskSpec> ParseUnmaskSpec(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  const absl::string_view name = parts.first;
  Arguments arguments(text, parts.second);
  if (name == "steps") {
    StepsSpec spec;
    DTRPO_RETURN_IF_ERROR(arguments.Count("k", &spec.steps));
    return arguments.Done(spec);
  }
  if (name == "threshold") {
    ThresholdSpec spec;
    DTRPO_RETURN_IF_ERROR(arguments.Number("tau", 0, 1, "in [0, 1]", &spec.threshold));
    if (arguments.more()) DTRPO_RETURN_IF_ERROR(arguments.Count("k", &spec.at_least));
    return arguments.Done(spec);
  }
  if (name == "factor") {
    FactorSpec spec;
    DTRPO_RETURN_IF_ERROR(
        arguments.Number("f", std::numeric_limits<double>::min(), kNoLimit, "> 0", &spec.factor));
    return arguments.Done(spec);
  }
  if (name == "entropy") {
    EntropySpec spec;
    DTRPO_RETURN_IF_ERROR(arguments.Number("bound", 0, kNoLimit, ">= 0", &spec.bound));
    return arguments.Done(spec);
  }
  if (name == "dream") return ParseDream(std::move(arguments));
  if (name == "sequential") {
    SequentialSpec spec;
    DTRPO_RETURN_IF_ERROR(arguments.Count("k", &spec.tokens));
    return arguments.Done(spec);
  }
  if (name == "random") {
    RandomSpec spec;
    DTRPO_RETURN_IF_ERROR(arguments.Count("k", &spec.tokens));
    return arguments.Done(spec);
  }
  return arguments.Refuse(name, absl::StrCat("must be ", kUnmaskForms));
}

absl::Status CheckConfidence(absl::string_view confidence) {
  if (confidence == kUntempered || confidence == kTempered) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("confidence '", confidence, "': must be ", kUntempered, " or ", kTempered));
}

}  // namespace dtrpo::trajectory
