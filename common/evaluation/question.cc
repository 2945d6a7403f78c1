#include "common/evaluation/question.h"

#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/evaluation/layouts.h"
#include "common/evaluation/prompt_template.h"

namespace dtrpo::evaluation {
namespace {

std::string AsText(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

absl::StatusOr<Json> ParseRecord(absl::string_view line) {
  Json record = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!record.is_object()) return absl::InvalidArgumentError("not a JSON object");
  return record;
}

absl::StatusOr<Question> ReadLine(absl::string_view text, int64_t number, const Layout& layout,
                                  const QuestionOptions& options) {
  DTRPO_ASSIGN_OR_RETURN(const Json record, ParseRecord(text));
  DTRPO_ASSIGN_OR_RETURN(LayoutLine read, layout.read(record, options.seed));
  for (const auto& [name, value] : record.items()) {
    if (value.is_string()) read.fields.emplace(name, value.get<std::string>());
  }
  Question question;
  question.id = read.id.empty() ? absl::StrCat(layout.name, "-", number) : std::move(read.id);
  question.categories = std::move(read.categories);
  question.expected = std::move(read.expected);
  DTRPO_ASSIGN_OR_RETURN(question.prompt, FillTemplate(options.prompt_template.empty()
                                                           ? DefaultTemplate(options.layout)
                                                           : options.prompt_template,
                                                       read.fields));
  Json line = record;  // reward services read the published fields: tests, instructions
  line["id"] = question.id;
  line["prompt"] = question.prompt;
  if (!question.categories.empty()) line["category"] = question.categories;
  line[options.answer_field] = question.expected;
  question.line = line.dump(-1, ' ', false, Json::error_handler_t::replace);
  return question;
}

}  // namespace

absl::StatusOr<Question> ParseQuestionLine(absl::string_view line,
                                           const std::string& answer_field) {
  DTRPO_ASSIGN_OR_RETURN(const Json record, ParseRecord(line));
  Question question;
  question.line = std::string(line);
  if (const auto id = record.find("id"); id != record.end()) question.id = AsText(*id);
  if (question.id.empty()) return BadField("id", "missing");
  for (const char* field : {"prompt", "messages", "prompt_tokens"}) {
    if (record.contains(field)) question.prompt = AsText(record[field]);
  }
  const auto answer = record.find(answer_field);
  if (answer == record.end()) return BadField(answer_field, "missing");
  question.expected = AsText(*answer);
  if (const auto category = record.find("category"); category != record.end()) {
    if (category->is_string()) AddCategory(category->get<std::string>(), question.categories);
    if (category->is_array()) {
      for (const Json& name : *category) AddCategory(AsText(name), question.categories);
    }
  }
  return question;
}

absl::StatusOr<std::vector<Question>> ReadQuestions(absl::string_view content,
                                                    const std::string& file,
                                                    const QuestionOptions& options) {
  const Layout* const layout = FindLayout(options.layout);
  if (layout == nullptr && options.layout != "prompts") {
    return absl::InvalidArgumentError(absl::StrCat("layout '", options.layout, "' is unknown"));
  }
  if (layout == nullptr && !options.prompt_template.empty()) {
    return absl::InvalidArgumentError("layout 'prompts' has its prompts as they are: no template");
  }
  std::vector<Question> questions;
  std::map<std::string, int64_t> line_of_id;
  int64_t number = 0;
  for (absl::string_view text : absl::StrSplit(content, '\n')) {
    ++number;
    text = absl::StripAsciiWhitespace(text);
    if (text.empty()) continue;
    const std::string where = absl::StrCat(file, ":", number);
    DTRPO_ASSIGN_OR_RETURN(
        Question question,
        base::Annotate(layout == nullptr ? ParseQuestionLine(text, options.answer_field)
                                         : ReadLine(text, number, *layout, options),
                       where));
    const auto [first, inserted] = line_of_id.emplace(question.id, number);
    if (!inserted) {
      return base::Annotate(
          BadField("id", absl::StrCat("'", question.id, "' is also on line ", first->second)),
          where);
    }
    questions.push_back(std::move(question));
  }
  if (questions.empty()) return absl::InvalidArgumentError(absl::StrCat(file, ": no questions"));
  return questions;
}

std::string VerifierOf(const std::string& asked, absl::string_view layout) {
  const Layout* const found = FindLayout(layout);
  return found == nullptr || !asked.empty() ? asked : found->verifier;
}

std::string AnswerName(absl::string_view question_id, int32_t sample) {
  return absl::StrCat("evaluation/", question_id, "/", sample);
}

}  // namespace dtrpo::evaluation
