#include "common/evaluation/layouts.h"

#include <utility>

#include "absl/algorithm/container.h"
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
  line.fields["tests"] = line.expected = absl::StrJoin(tests, "\n");
  return line;
}

absl::StatusOr<LayoutLine> ReadLiveCodeBench(const Json& record, uint64_t) {
  LayoutLine line;
  line.id = IdField(record, "question_id");
  DTRPO_ASSIGN_OR_RETURN(line.fields["question"], TextField(record, "question_content"));
  if (!record.contains("public_test_cases") && !record.contains("private_test_cases")) {
    return BadField("public_test_cases", "missing, as is 'private_test_cases'");
  }
  line.expected = "passes the test cases";
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
  DTRPO_ASSIGN_OR_RETURN(line.fields["prompt"], TextField(record, "prompt"));
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> instructions,
                         TextList(record, "instruction_id_list", true));
  const auto kwargs = record.find("kwargs");
  if (kwargs == record.end() || !kwargs->is_array() || kwargs->size() != instructions.size()) {
    return BadField("kwargs", "must be a list with one entry for each instruction");
  }
  line.expected = absl::StrJoin(instructions, "\n");
  for (const std::string& instruction : instructions) {
    AddCategory(instruction.substr(0, instruction.find(':')), line.categories);
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

void AddCategory(const std::string& category, std::vector<std::string>& categories) {
  if (category.empty() || absl::c_linear_search(categories, category)) return;
  categories.push_back(category);
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
