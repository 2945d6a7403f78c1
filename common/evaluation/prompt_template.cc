#include "common/evaluation/prompt_template.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace dtrpo::evaluation {
namespace {

struct Template {
  const char* layout;
  const char* text;
};

constexpr Template kTemplates[] = {
#include "common/evaluation/template_table.inc"  // from templates/, by CMakeLists.txt
};

}  // namespace

absl::StatusOr<std::string> FillTemplate(absl::string_view prompt_template,
                                         const std::map<std::string, std::string>& fields) {
  absl::ConsumeSuffix(&prompt_template, "\n");
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
