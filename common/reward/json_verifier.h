// Thread safety: pure functions.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/reward/verifier.h"

namespace dtrpo::reward {

// The answer is JSON that fits a schema (draft 7 as valijson knows it; `argument` is the schema's
// text, without references to other documents). The JSON is the whole answer, or its last block
// fenced by ``` or ```json. At most 1 MiB and 100 levels deep; where the schema has a pattern
// (ECMAScript, without back-references) or a format, no text in it is longer than 4 KiB. A schema
// that applies itself to the same value again, or with patternProperties, is refused. The expected
// answer has no say.
absl::StatusOr<std::unique_ptr<Verifier>> MakeJsonVerifier(absl::string_view argument);

}  // namespace dtrpo::reward
