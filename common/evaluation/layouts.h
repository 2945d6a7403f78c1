// Thread safety: pure functions. One line of each published layout.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace dtrpo::evaluation {

using Json = nlohmann::ordered_json;

struct LayoutLine {
  std::string id;  // empty: the layout has none
  std::vector<std::string> categories;
  std::string expected;
  std::map<std::string, std::string> fields;  // for the template
};

struct Layout {
  const char* name;
  const char* verifier;  // what suits it
  // Errors are INVALID_ARGUMENT "field '<name>': <what>".
  absl::StatusOr<LayoutLine> (*read)(const Json& record, uint64_t seed);
};

// Null for a name that none has; "prompts" is none of them.
const Layout* FindLayout(absl::string_view name);

// Unless it is empty or there already: a question counts once in each of its categories.
void AddCategory(const std::string& category, std::vector<std::string>& categories);

absl::Status BadField(absl::string_view field, absl::string_view what);
// A text that isn't empty.
absl::StatusOr<std::string> TextField(const Json& record, const std::string& field);

}  // namespace dtrpo::evaluation
