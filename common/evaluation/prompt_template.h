// Thread safety: pure functions.
//
// A prompt's template is a text with {{field}} for each field of a question: any text field of its
// line, and what a layout makes of others (lettered choices, a list of tests). No logic. The
// newline that ends its file is no part of it.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::evaluation {

// INVALID_ARGUMENT for a field that isn't there (naming those that are) and for "{{" without "}}".
absl::StatusOr<std::string> FillTemplate(absl::string_view prompt_template,
                                         const std::map<std::string, std::string>& fields);

// The layout's own, templates/<layout>.txt, which the program holds; empty for "prompts", whose
// prompts are taken as they are.
std::string DefaultTemplate(absl::string_view layout);

}  // namespace dtrpo::evaluation
