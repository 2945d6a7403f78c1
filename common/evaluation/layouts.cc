#include "common/evaluation/layouts.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/base/hash.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "common/reward/number.h"

namespace dtrpo::evaluation {
namespace {

std::string IfText(const Json& record, const char* field) {
  const auto it = record.find(field);
  return it != record.end() && it->is_string() ? it->get<std::string>() : "";
}

// A number or a text as an id; empty when there is none.
std::string IdField(const Json& record, const char* field) {
  const auto it = record.find(field);
  if (it == record.end()) return "";
  return it->is_string() ? it->get<std::string>() : it->is_number_integer() ? it->dump() : "";
}

void AddCategory(const std::string& category, std::vector<std::string>& categories) {
  if (!category.empty()) categories.push_back(category);
}

absl::StatusOr<std::vector<std::string>> TextList(const Json& record, const char* field,
                                                  bool required) {
  const auto it = record.find(field);
  std::vector<std::string> texts;
  if (it == record.end() || it->is_null()) {
    if (required) return BadField(field, "missing");
    return texts;
  }
  if (!it->is_array()) return BadField(field, "must be a list of texts");
  for (const Json& text : *it) {
    if (!text.is_string()) return BadField(field, "must be a list of texts");
    texts.push_back(text.get<std::string>());
  }
  if (required && texts.empty()) return BadField(field, "is empty");
  return texts;
}

absl::StatusOr<LayoutLine> ReadGsm8k(const Json& record, uint64_t) {
  LayoutLine line;
  line.id = IdField(record, "id");
  DTRPO_ASSIGN_OR_RETURN(line.fields["question"], TextField(record, "question"));
  DTRPO_ASSIGN_OR_RETURN(const std::string answer, TextField(record, "answer"));
  const size_t mark = answer.rfind("####");
  if (mark == std::string::npos)
    return BadField("answer", "has no \"#### \" with the final number");
  line.expected = std::string(absl::StripAsciiWhitespace(answer.substr(mark + 4)));
  if (!reward::FinalNumber(line.expected).has_value()) {
    return BadField("answer", absl::StrCat("'", line.expected, "' behind #### is no number"));
  }
  AddCategory(IfText(record, "category"), line.categories);
  return line;
}

absl::StatusOr<LayoutLine> ReadMath(const Json& record, uint64_t) {
  LayoutLine line;
  line.id = IdField(record, "unique_id");
  DTRPO_ASSIGN_OR_RETURN(line.fields["problem"], TextField(record, "problem"));
  DTRPO_ASSIGN_OR_RETURN(const std::string solution, TextField(record, "solution"));
  const auto boxed = reward::LastBoxed(solution);
  if (!boxed.has_value()) return BadField("solution", "has no \\boxed{}");
  line.expected = std::string(*boxed);
  AddCategory(IfText(record, record.contains("type") ? "type" : "subject"), line.categories);
  const auto level = record.find("level");
  if (level != record.end() && level->is_number_integer()) {
    line.categories.push_back(absl::StrCat("Level ", level->dump()));  // MATH-500
  } else {
    AddCategory(IfText(record, "level"), line.categories);
  }
  return line;
}

absl::StatusOr<LayoutLine> ReadGpqa(const Json& record, uint64_t seed) {
  LayoutLine line;
  line.id = IdField(record, "Record ID");
  DTRPO_ASSIGN_OR_RETURN(std::string question, TextField(record, "Question"));
  std::vector<std::string> choices;
  for (const char* field :
       {"Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"}) {
    DTRPO_ASSIGN_OR_RETURN(const std::string choice, TextField(record, field));
    choices.emplace_back(absl::StripAsciiWhitespace(choice));
  }
  // Fisher and Yates, with words of the question's own: which letter is right depends on no other
  // question.
  std::vector<size_t> order = {0, 1, 2, 3};
  base::CounterRng rng(seed, base::StableHash("gpqa", question));
  for (size_t i = order.size(); i-- > 1;) std::swap(order[i], order[rng.UniformInt(i + 1)]);
  for (size_t i = 0; i < order.size(); ++i) {
    const std::string letter(1, static_cast<char>('A' + i));
    line.fields[letter] = choices[order[i]];
    if (order[i] == 0) line.expected = letter;
  }
  line.fields["question"] = std::move(question);
  AddCategory(IfText(record, "High-level domain"), line.categories);
  AddCategory(IfText(record, "Subdomain"), line.categories);
  return line;
}

absl::StatusOr<LayoutLine> ReadMbpp(const Json& record, uint64_t) {
  LayoutLine line;
  line.id = IdField(record, "task_id");
  DTRPO_ASSIGN_OR_RETURN(line.fields["prompt"],
                         TextField(record, record.contains("text") ? "text" : "prompt"));
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> tests, TextList(record, "test_list", true));
  DTRPO_ASSIGN_OR_RETURN(std::vector<std::string> setup, TextList(record, "test_imports", false));
  AddCategory(IfText(record, "test_setup_code"), setup);
  line.fields["tests"] = absl::StrJoin(tests, "\n");
  Json expected = {{"setup", absl::StrJoin(setup, "\n")}, {"tests", tests}};
  // The many tests of MBPP+ are one program.
  if (const std::string plus = IfText(record, "test"); !plus.empty()) {
    expected["tests"].push_back(plus);
  }
  line.expected = expected.dump();
  return line;
}

// Test cases are a list, or the text of one.
absl::Status ReadCases(const Json& record, const char* field, Json& cases) {
  const auto it = record.find(field);
  if (it == record.end() || it->is_null()) return absl::OkStatus();
  Json list = *it;
  if (list.is_string()) {
    const std::string text = list.get<std::string>();
    list = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (list.is_discarded()) {
      return BadField(field,
                      "is no JSON list of test cases (the compressed form of the release must be "
                      "unpacked first)");
    }
  }
  if (!list.is_array()) return BadField(field, "must be a list of test cases");
  for (const Json& test : list) {
    if (!test.is_object() || !test.contains("input") || !test.contains("output") ||
        !test["input"].is_string() || !test["output"].is_string()) {
      return BadField(field, "a test case has no texts 'input' and 'output'");
    }
    cases.push_back(
        {{"input", test["input"]},
         {"output", test["output"]},
         {"testtype", IfText(test, "testtype").empty() ? "stdin" : IfText(test, "testtype")}});
  }
  return absl::OkStatus();
}

absl::StatusOr<LayoutLine> ReadLiveCodeBench(const Json& record, uint64_t) {
  LayoutLine line;
  line.id = IdField(record, "question_id");
  DTRPO_ASSIGN_OR_RETURN(line.fields["question"], TextField(record, "question_content"));
  Json cases = Json::array();
  DTRPO_RETURN_IF_ERROR(ReadCases(record, "public_test_cases", cases));
  DTRPO_RETURN_IF_ERROR(ReadCases(record, "private_test_cases", cases));
  if (cases.empty()) return BadField("public_test_cases", "there is no test case");
  Json expected = {{"cases", std::move(cases)}};
  // The name of the function that functional tests call is in "metadata", JSON in a text.
  const Json metadata = Json::parse(IfText(record, "metadata"), nullptr, false);
  if (metadata.is_object() && metadata.contains("func_name") && metadata["func_name"].is_string()) {
    expected["function"] = metadata["func_name"];
  }
  line.expected = expected.dump();
  const std::string starter = IfText(record, "starter_code");
  line.fields["starter_code"] = starter;
  line.fields["how"] =
      starter.empty()
          ? "Read the input from standard input and write the answer to standard output."
          : absl::StrCat("Begin with this code:\n\n```python\n", starter, "\n```");
  AddCategory(IfText(record, "difficulty"), line.categories);
  return line;
}

absl::StatusOr<LayoutLine> ReadIfeval(const Json& record, uint64_t) {
  LayoutLine line;
  line.id = IdField(record, "key");
  DTRPO_ASSIGN_OR_RETURN(const std::string prompt, TextField(record, "prompt"));
  line.fields["prompt"] = prompt;
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> instructions,
                         TextList(record, "instruction_id_list", true));
  const auto kwargs = record.find("kwargs");
  if (kwargs == record.end() || !kwargs->is_array() || kwargs->size() != instructions.size()) {
    return BadField("kwargs", "must be a list with one entry for each instruction");
  }
  line.expected =
      Json{{"prompt", prompt}, {"instruction_id_list", instructions}, {"kwargs", *kwargs}}.dump();
  for (const std::string& instruction : instructions) {
    const std::string group = instruction.substr(0, instruction.find(':'));
    bool there = false;
    for (const std::string& other : line.categories) there = there || other == group;
    if (!there) line.categories.push_back(group);
  }
  return line;
}

constexpr Layout kLayouts[] = {
    {"gsm8k", "number", ReadGsm8k},
    {"math", "service:math", ReadMath},
    {"gpqa", "choice:ABCD", ReadGpqa},
    {"mbpp", "service:code", ReadMbpp},
    {"livecodebench", "service:code", ReadLiveCodeBench},
    {"ifeval", "service:ifeval", ReadIfeval},
};

}  // namespace

const Layout* FindLayout(absl::string_view name) {
  for (const Layout& layout : kLayouts) {
    if (name == layout.name) return &layout;
  }
  return nullptr;
}

absl::Status BadField(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("field '", field, "': ", what));
}

absl::StatusOr<std::string> TextField(const Json& record, const std::string& field) {
  const auto it = record.find(field);
  if (it == record.end()) return BadField(field, "missing");
  if (!it->is_string() || it->get<std::string>().empty()) {
    return BadField(field, "must be a text that isn't empty");
  }
  return it->get<std::string>();
}

}  // namespace dtrpo::evaluation
