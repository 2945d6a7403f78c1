// Thread safety: verifiers are immutable; Judge may run on many threads.
//
// Rule-based verifiers: was an answer right? Both compare an answer's decoded targets with what the
// data says. An answer without a stop token is wrong whatever it says: it would be cut in use too.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::reward {

struct Judgement {
  double reward = 0;
  std::string reason;  // one line that a person can follow
};

class Verifier {
 public:
  virtual ~Verifier() = default;

  // `text`: the decoded answer without its stop token; `finished`: the stop token is there.
  // INVALID_ARGUMENT when `expected` can't be judged against (a fault of the data, never a zero
  // reward).
  virtual absl::StatusOr<Judgement> Judge(absl::string_view text, absl::string_view expected,
                                          bool finished) const = 0;

  // "exact": equal after trimming white space. "number": equal numbers, see FinalNumber.
  // INVALID_ARGUMENT for other names.
  static absl::StatusOr<std::unique_ptr<Verifier>> Create(absl::string_view name);
};

}  // namespace dtrpo::reward
