#include "common/evaluation/answer.h"

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace dtrpo::evaluation {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

std::string ToJsonLine(const JudgedAnswer& a) {
  const Json line = {{"unmask", a.unmask},     {"id", a.id},
                     {"sample", a.sample},     {"category", a.categories},
                     {"question", a.question}, {"expected", a.expected},
                     {"answer", a.answer},     {"correct", a.correct},
                     {"finished", a.finished}, {"reason", a.reason},
                     {"tokens", a.tokens},     {"forwards", a.forwards},
                     {"pieces", a.pieces},     {"steps", a.steps}};
  return absl::StrCat(line.dump(-1, ' ', false, Json::error_handler_t::replace), "\n");
}

absl::StatusOr<JudgedAnswer> ParseAnswer(absl::string_view line) {
  const Json record = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!record.is_object()) return absl::InvalidArgumentError("not a JSON object");
  JudgedAnswer a;
  try {  // the library's way to say that a field is missing or of another type
    record.at("unmask").get_to(a.unmask);
    record.at("id").get_to(a.id);
    record.at("sample").get_to(a.sample);
    record.at("category").get_to(a.categories);
    record.at("question").get_to(a.question);
    record.at("expected").get_to(a.expected);
    record.at("answer").get_to(a.answer);
    record.at("correct").get_to(a.correct);
    record.at("finished").get_to(a.finished);
    record.at("reason").get_to(a.reason);
    record.at("tokens").get_to(a.tokens);
    record.at("forwards").get_to(a.forwards);
    record.at("pieces").get_to(a.pieces);
    record.at("steps").get_to(a.steps);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (a.pieces.size() != a.steps.size()) {
    return absl::InvalidArgumentError("fields 'pieces' and 'steps' have different lengths");
  }
  return a;
}

}  // namespace dtrpo::evaluation
