// Thread safety: pure functions. Rewards for form: terms of a sum beside one that says what is
// right.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/reward/verifier.h"

namespace dtrpo::reward {

// "MIN..MAX" tokens, stop token included, 1 <= MIN <= MAX: 1 inside; below MIN tokens / MIN; above
// falling in a line from 1 at MAX to 0 at twice MAX.
absl::StatusOr<std::unique_ptr<Verifier>> MakeLengthVerifier(absl::string_view argument);

// "NAME,NAME": the share that holds of: each <NAME>...</NAME> is there exactly once, in this order,
// and nothing but white space is outside of them.
absl::StatusOr<std::unique_ptr<Verifier>> MakeTagsVerifier(absl::string_view argument);

}  // namespace dtrpo::reward
