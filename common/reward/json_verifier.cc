#include "common/reward/json_verifier.h"

// Without it valijson ends the process over a schema that makes no sense.
#define VALIJSON_USE_EXCEPTIONS 1

#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace dtrpo::reward {
namespace {

using Json = nlohmann::json;
using Adapter = valijson::adapters::NlohmannJsonAdapter;

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr int kMaxDepth = 100;

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

class JsonVerifier : public Verifier {
 public:
  // valijson throws for a schema that makes no sense.
  explicit JsonVerifier(const Json& schema) {
    valijson::SchemaParser(valijson::SchemaParser::kDraft7)
        .populateSchema(Adapter(schema), schema_);
  }

  absl::Status CheckExpected(absl::string_view) const override { return absl::OkStatus(); }

  Judgement JudgeFinished(const Answer& answer, absl::string_view) const override {
    const absl::string_view text = absl::StripAsciiWhitespace(JsonOf(answer.text));
    if (text.size() > kMaxBytes) return {0, false, "longer than 1 MiB"};
    const Json json = Parse(text);
    if (json.is_discarded()) return {0, false, absl::StrCat(Quoted(text), " is no JSON")};
    valijson::Validator validator;
    valijson::ValidationResults results;
    try {
      if (validator.validate(schema_, Adapter(json), &results)) return {1, true, "fits"};
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
  try {
    return std::make_unique<JsonVerifier>(schema);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("'json_schema': ", Quoted(argument), " is no schema: ", error.what()));
  }
}

}  // namespace dtrpo::reward
