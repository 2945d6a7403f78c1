#include "common/reward/json_verifier.h"

// Without it valijson ends the process over a schema that makes no sense.
#define VALIJSON_USE_EXCEPTIONS 1

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validation_visitor.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace dtrpo::reward {
namespace {

using Json = nlohmann::json;
using Adapter = valijson::adapters::NlohmannJsonAdapter;

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr int kMaxDepth = 100;
constexpr size_t kMaxPatternBytes = 1000;
constexpr size_t kMaxMatchedBytes = 4096;  // of a text that a pattern or a format looks at

absl::string_view JsonOf(absl::string_view text) {
  constexpr absl::string_view kFence = "```";
  const size_t close = text.rfind(kFence);
  if (close == absl::string_view::npos || close == 0) return text;
  const size_t open = text.rfind(kFence, close - 1);
  if (open == absl::string_view::npos) return text;
  absl::string_view inside = text.substr(open + kFence.size(), close - open - kFence.size());
  const absl::string_view language = inside.substr(0, inside.find('\n'));
  if (language.size() < inside.size()) inside.remove_prefix(language.size() + 1);
  return inside;
}

// Discarded when it is no JSON or too deep.
Json Parse(absl::string_view text) {
  bool too_deep = false;
  const Json::parser_callback_t limit = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  Json json = Json::parse(text.begin(), text.end(), limit, /*allow_exceptions=*/false);
  return too_deep ? Json(Json::value_t::discarded) : json;
}

// What valijson, which follows every reference and matches with std::regex, wouldn't survive.
class SchemaCheck {
 public:
  explicit SchemaCheck(const Json& root) : root_(root) {}

  // Of `node` and all below it.
  absl::Status Walk(const Json& node) {
    if (node.is_array()) {
      for (const Json& element : node) DTRPO_RETURN_IF_ERROR(Walk(element));
    }
    if (!node.is_object()) return absl::OkStatus();
    if (Loops(node)) return Refuse("a reference leads back to itself");
    for (const auto& [key, value] : node.items()) {
      if (key == "enum" || key == "const") continue;
      if (key == "patternProperties") return Refuse("patternProperties are not supported");
      matches_ = matches_ || key == "format" || key == "pattern";
      if (key == "pattern" && value.is_string()) {
        const auto& pattern = value.get_ref<const std::string&>();
        if (pattern.size() > kMaxPatternBytes) return Refuse("a pattern of more than 1000 bytes");
        patterns_.insert(pattern);
      }
      if (NamesSchemas(key) && value.is_object()) {
        for (const Json& named : value) DTRPO_RETURN_IF_ERROR(Walk(named));
      } else {
        DTRPO_RETURN_IF_ERROR(Walk(value));
      }
    }
    return absl::OkStatus();
  }

  const std::set<std::string>& patterns() const { return patterns_; }
  bool matches_texts() const { return matches_; }

 private:
  static absl::Status Refuse(absl::string_view why) { return absl::InvalidArgumentError(why); }
  static bool NamesSchemas(absl::string_view key) {
    return key == "properties" || key == "definitions" || key == "$defs" || key == "dependencies";
  }

  // Whether `node` is applied to a value before it has judged that same value.
  bool Loops(const Json& node) {
    if (node.is_array()) {
      return std::any_of(node.begin(), node.end(), [this](const Json& one) { return Loops(one); });
    }
    if (!node.is_object() || done_.contains(&node)) return false;
    if (!open_.insert(&node).second) return true;
    bool loops = false;
    if (const auto ref = node.find("$ref"); ref != node.end() && ref->is_string()) {
      const Json* target = Target(ref->get<std::string>());
      loops = target != nullptr && Loops(*target);
    }
    for (const char* key : {"allOf", "anyOf", "oneOf", "not", "if", "then", "else"}) {
      if (const auto found = node.find(key); found != node.end()) loops = loops || Loops(*found);
    }
    if (const auto found = node.find("dependencies"); found != node.end() && found->is_object()) {
      for (const Json& one : *found) loops = loops || Loops(one);
    }
    open_.erase(&node);
    done_.insert(&node);
    return loops;
  }

  // Null: nothing of this document; valijson refuses it.
  const Json* Target(const std::string& reference) const {
    try {
      return reference.starts_with("#") ? &root_.at(Json::json_pointer(reference.substr(1)))
                                        : nullptr;
    } catch (const Json::exception&) {
      return nullptr;
    }
  }

  const Json& root_;
  std::set<const Json*> open_, done_;
  std::set<std::string> patterns_;
  bool matches_ = false;
};

bool HasLongText(const Json& json) {
  if (json.is_string()) return json.get_ref<const std::string&>().size() > kMaxMatchedBytes;
  if (json.is_array()) return std::any_of(json.begin(), json.end(), HasLongText);
  if (!json.is_object()) return false;
  for (const auto& [key, value] : json.items()) {
    if (key.size() > kMaxMatchedBytes || HasLongText(value)) return true;
  }
  return false;
}

class JsonVerifier : public Verifier {
 public:
  // valijson throws for a schema that makes no sense, std::regex for such a pattern.
  JsonVerifier(const Json& schema, const SchemaCheck& check)
      : matches_texts_(check.matches_texts()) {
    // In place of valijson's own, which take exponential time and the stack.
    for (const std::string& pattern : check.patterns()) {
      patterns_.emplace(pattern, std::regex(pattern, std::regex_constants::ECMAScript |
                                                         std::regex_constants::__polynomial));
    }
    valijson::SchemaParser(valijson::SchemaParser::kDraft7)
        .populateSchema(Adapter(schema), schema_);
  }

  absl::Status CheckExpected(absl::string_view) const override { return absl::OkStatus(); }

  Judgement JudgeFinished(const Answer& answer, absl::string_view) const override {
    const absl::string_view text = absl::StripAsciiWhitespace(JsonOf(answer.text));
    if (text.size() > kMaxBytes) return {0, false, "longer than 1 MiB"};
    const Json json = Parse(text);
    if (json.is_discarded()) return {0, false, absl::StrCat(Quoted(text), " is no JSON")};
    if (matches_texts_ && HasLongText(json)) {
      return {0, false,
              absl::StrCat("a text of more than ", kMaxMatchedBytes,
                           " bytes, where the schema has a pattern or a format")};
    }
    valijson::ValidationResults results;
    auto patterns = patterns_;  // it could add to them
    const Adapter adapter(json);
    valijson::ValidationVisitor<Adapter> visitor(adapter, {"<root>"}, /*strictTypes=*/true,
                                                 &results, patterns);
    try {
      if (visitor.validateSchema(schema_)) return {1, true, "fits"};
    } catch (const std::exception& error) {
      return {0, false, error.what()};
    }
    valijson::ValidationResults::Error error;
    results.popError(error);
    std::string where;
    for (const std::string& step : error.context) absl::StrAppend(&where, step);
    return {0, false, absl::StrCat(where, ": ", error.description)};
  }

 private:
  const bool matches_texts_;
  std::unordered_map<std::string, std::regex> patterns_;
  valijson::Schema schema_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Verifier>> MakeJsonVerifier(absl::string_view argument) {
  const Json schema =
      argument.size() > kMaxBytes ? Json(Json::value_t::discarded) : Parse(argument);
  if (!schema.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'json_schema' needs a JSON schema, as in json_schema:{\"type\": \"object\"}, not ",
        Quoted(argument)));
  }
  SchemaCheck check(schema);
  if (const absl::Status status = check.Walk(schema); !status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'json_schema': ", Quoted(argument), ": ", status.message()));
  }
  try {
    return std::make_unique<JsonVerifier>(schema, check);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("'json_schema': ", Quoted(argument), " is no schema: ", error.what()));
  }
}

}  // namespace dtrpo::reward
