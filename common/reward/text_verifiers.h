// Thread safety: pure functions. Verifiers that compare an answer's text with the expected one.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/reward/verifier.h"

namespace dtrpo::reward {

// Equal after trimming white space.
absl::StatusOr<std::unique_ptr<Verifier>> MakeExactVerifier(absl::string_view argument);

// Equal after Normalised.
absl::StatusOr<std::unique_ptr<Verifier>> MakeNormalisedVerifier(absl::string_view argument);

// Equal numbers, see number.h. The expected answer must hold one.
absl::StatusOr<std::unique_ptr<Verifier>> MakeNumberVerifier(absl::string_view argument);

// The pattern (RE2, linear in the answer's length) matches somewhere. "{expected}" in it stands for
// the expected answer, taken literally; otherwise the expected answer has no say.
absl::StatusOr<std::unique_ptr<Verifier>> MakeRegexVerifier(absl::string_view argument);

// Lower case (ASCII), without ASCII punctuation and the words a, an, the, single blanks: as SQuAD's
// evaluation script does it.
std::string Normalised(absl::string_view text);

// INVALID_ARGUMENT: `rule` takes none.
absl::Status NoArgument(absl::string_view rule, absl::string_view argument);

}  // namespace dtrpo::reward
