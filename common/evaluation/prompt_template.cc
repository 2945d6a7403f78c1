#include "common/evaluation/prompt_template.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace dtrpo::evaluation {
namespace {

struct Template {
  const char* layout;
  const char* text;
};

constexpr Template kTemplates[] = {
    {"gsm8k",
     "{{question}}\n\nReason step by step. End with a line that says \"#### \" and the final "
     "number."},
    {"math", "{{problem}}\n\nReason step by step, and put your final answer within \\boxed{}."},
    {"gpqa",
     "{{question}}\n\nA) {{A}}\nB) {{B}}\nC) {{C}}\nD) {{D}}\n\nReason step by step. End with a "
     "line that says \"Answer: \" and the letter of the right choice."},
    {"mbpp",
     "{{prompt}}\n\nYour code must pass these tests:\n\n{{tests}}\n\nAnswer with Python code in "
     "one block between ```python and ```."},
    {"livecodebench",
     "{{question}}\n\n{{how}}\n\nAnswer with Python code in one block between ```python and ```."},
    {"ifeval", "{{prompt}}"},
};

}  // namespace

absl::StatusOr<std::string> FillTemplate(absl::string_view prompt_template,
                                         const std::map<std::string, std::string>& fields) {
  std::string filled;
  while (true) {
    const size_t open = prompt_template.find("{{");
    absl::StrAppend(&filled, prompt_template.substr(0, open));
    if (open == absl::string_view::npos) return filled;
    const size_t close = prompt_template.find("}}", open);
    if (close == absl::string_view::npos) {
      return absl::InvalidArgumentError("template: '{{' without '}}'");
    }
    const std::string name(
        absl::StripAsciiWhitespace(prompt_template.substr(open + 2, close - open - 2)));
    const auto field = fields.find(name);
    if (field == fields.end()) {
      std::string known;
      for (const auto& [other, value] : fields) absl::StrAppend(&known, " ", other);
      return absl::InvalidArgumentError(
          absl::StrCat("template: there is no field '", name, "'; there are:", known));
    }
    absl::StrAppend(&filled, field->second);
    prompt_template.remove_prefix(close + 2);
  }
}

std::string DefaultTemplate(absl::string_view layout) {
  for (const Template& entry : kTemplates) {
    if (layout == entry.layout) return entry.text;
  }
  return "";
}

}  // namespace dtrpo::evaluation
