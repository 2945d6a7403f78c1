#include "common/runtime/config_loader.h"

#include <yaml-cpp/yaml.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace dtrpo::runtime {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kMaxConfigBytes = 1 << 20;

// yaml-cpp marks a quoted scalar by the tag "!".
bool IsQuoted(const YAML::Node& node) { return node.Tag() == "!"; }

// Walks a YAML tree beside a message's descriptor.
class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}

  absl::Status ReadMessage(const YAML::Node& node, const std::string& path, Message* message) {
    if (!node.IsMap()) return Refuse(node, path, "expected fields (key: value)");
    std::set<std::string> seen;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) return Refuse(entry.first, path, "a key must be a name");
      const std::string key = entry.first.Scalar();
      const std::string field_path = path.empty() ? key : absl::StrCat(path, ".", key);
      lines_.emplace(field_path, entry.first.Mark().line);
      const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(key);
      if (field == nullptr) {
        return Refuse(
            entry.first, field_path,
            absl::StrCat("unknown field; known are: ", FieldNames(*message->GetDescriptor())));
      }
      if (!seen.insert(key).second) return Refuse(entry.first, field_path, "set twice");
      if (const auto* oneof = field->real_containing_oneof();
          oneof != nullptr && !seen.insert(absl::StrCat("oneof ", oneof->name())).second) {
        return Refuse(entry.first, field_path,
                      absl::StrCat("another field of '", oneof->name(), "' is already set"));
      }
      if (entry.second.IsNull()) return Refuse(entry.first, field_path, "has no value");
      DTRPO_RETURN_IF_ERROR(ReadField(entry.second, field_path, field, message));
    }
    return absl::OkStatus();
  }

  // "file:line: path: problem", with the line of the field or of the nearest one that holds it.
  absl::Status Refuse(const FieldProblem& problem) const {
    for (std::string path = problem.path; !path.empty();) {
      if (auto found = lines_.find(path); found != lines_.end()) {
        return Refuse(found->second, problem.path, problem.problem);
      }
      const size_t end = path.find_last_of(".[");
      path.resize(end == std::string::npos ? 0 : end);
    }
    return absl::InvalidArgumentError(
        absl::StrCat(name_, ": ", problem.path, ": ", problem.problem));
  }

  absl::Status Refuse(int line, absl::string_view path, absl::string_view problem) const {
    return absl::InvalidArgumentError(
        absl::StrCat(name_, ":", line + 1, ": ", path, path.empty() ? "" : ": ", problem));
  }

 private:
  absl::Status Refuse(const YAML::Node& node, absl::string_view path,
                      absl::string_view problem) const {
    return Refuse(node.Mark().line, path, problem);
  }

  static std::string FieldNames(const Descriptor& descriptor) {
    std::vector<std::string> names;
    for (int i = 0; i < descriptor.field_count(); ++i) names.push_back(descriptor.field(i)->name());
    return absl::StrJoin(names, ", ");
  }

  absl::Status ReadField(const YAML::Node& node, const std::string& path,
                         const FieldDescriptor* field, Message* message) {
    const Reflection* reflection = message->GetReflection();
    if (!field->is_repeated()) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        return ReadMessage(node, path, reflection->MutableMessage(message, field));
      }
      return ReadScalar(node, path, field, message);
    }
    if (!node.IsSequence()) return Refuse(node, path, "expected a list");
    reflection->ClearField(message, field);
    for (size_t i = 0; i < node.size(); ++i) {
      const std::string item_path = absl::StrCat(path, "[", i, "]");
      lines_.emplace(item_path, node[i].Mark().line);
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        DTRPO_RETURN_IF_ERROR(
            ReadMessage(node[i], item_path, reflection->AddMessage(message, field)));
      } else {
        DTRPO_RETURN_IF_ERROR(ReadScalar(node[i], item_path, field, message));
      }
    }
    return absl::OkStatus();
  }

  // Sets, or adds to a repeated field.
  absl::Status ReadScalar(const YAML::Node& node, const std::string& path,
                          const FieldDescriptor* field, Message* message) {
    if (!node.IsScalar()) return Refuse(node, path, "expected one value");
    const std::string& text = node.Scalar();
    const bool is_text = field->type() == FieldDescriptor::TYPE_STRING;
    const bool is_enum = field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM;
    if (IsQuoted(node) && !is_text && !is_enum) {
      return Refuse(node, path, "expected a number or true/false, not quoted text");
    }
    const Reflection* reflection = message->GetReflection();
    auto store = [&](auto set, auto add, const auto& value) {
      field->is_repeated() ? (reflection->*add)(message, field, value)
                           : (reflection->*set)(message, field, value);
      return absl::OkStatus();
    };
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32: {
        DTRPO_ASSIGN_OR_RETURN(int32_t value, ParseInteger<int32_t>(node, path));
        return store(&Reflection::SetInt32, &Reflection::AddInt32, value);
      }
      case FieldDescriptor::CPPTYPE_INT64: {
        DTRPO_ASSIGN_OR_RETURN(int64_t value, ParseInteger<int64_t>(node, path));
        return store(&Reflection::SetInt64, &Reflection::AddInt64, value);
      }
      case FieldDescriptor::CPPTYPE_UINT32: {
        DTRPO_ASSIGN_OR_RETURN(uint32_t value, ParseInteger<uint32_t>(node, path));
        return store(&Reflection::SetUInt32, &Reflection::AddUInt32, value);
      }
      case FieldDescriptor::CPPTYPE_UINT64: {
        DTRPO_ASSIGN_OR_RETURN(uint64_t value, ParseInteger<uint64_t>(node, path));
        return store(&Reflection::SetUInt64, &Reflection::AddUInt64, value);
      }
      case FieldDescriptor::CPPTYPE_DOUBLE: {
        DTRPO_ASSIGN_OR_RETURN(double value, ParseNumber(node, path));
        return store(&Reflection::SetDouble, &Reflection::AddDouble, value);
      }
      case FieldDescriptor::CPPTYPE_FLOAT: {
        DTRPO_ASSIGN_OR_RETURN(double value, ParseNumber(node, path));
        if (std::abs(value) > std::numeric_limits<float>::max()) {
          return Refuse(node, path, absl::StrCat(text, " is too large for a float"));
        }
        return store(&Reflection::SetFloat, &Reflection::AddFloat, static_cast<float>(value));
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        if (text != "true" && text != "false") {
          return Refuse(node, path, absl::StrCat("'", text, "' is not true or false"));
        }
        return store(&Reflection::SetBool, &Reflection::AddBool, text == "true");
      case FieldDescriptor::CPPTYPE_ENUM: {
        const EnumValueDescriptor* value = field->enum_type()->FindValueByName(text);
        if (value == nullptr) {
          return Refuse(
              node, path,
              absl::StrCat("'", text, "' is not a value of ", field->enum_type()->name()));
        }
        return store(&Reflection::SetEnum, &Reflection::AddEnum, value);
      }
      case FieldDescriptor::CPPTYPE_STRING:
        if (!is_text) return Refuse(node, path, "bytes can't be given in a file");
        field->is_repeated() ? reflection->AddString(message, field, text)
                             : reflection->SetString(message, field, text);
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_MESSAGE:
        break;  // handled by ReadField
    }
    return Refuse(node, path, "this type of field can't be given in a file");
  }

  template <typename Integer>
  absl::StatusOr<Integer> ParseInteger(const YAML::Node& node, const std::string& path) const {
    Integer value = 0;
    if (absl::SimpleAtoi(node.Scalar(), &value)) return value;
    return Refuse(node, path,
                  absl::StrCat("'", node.Scalar(), "' is not a whole number from ",
                               std::numeric_limits<Integer>::min(), " to ",
                               std::numeric_limits<Integer>::max()));
  }

  absl::StatusOr<double> ParseNumber(const YAML::Node& node, const std::string& path) const {
    double value = 0;
    if (absl::SimpleAtod(node.Scalar(), &value) && std::isfinite(value)) return value;
    return Refuse(node, path, absl::StrCat("'", node.Scalar(), "' is not a finite number"));
  }

  const std::string name_;
  std::map<std::string, int> lines_;  // of every field that the file sets, from 0
};

}  // namespace

absl::Status ParseConfig(absl::string_view text, const std::string& name, Message* message,
                         const ConfigCheck& check) {
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": longer than ", kMaxConfigBytes, " bytes"));
  }
  Reader reader(name);
  try {  // yaml-cpp throws; nothing leaves this block
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    if (documents.size() > 1) {
      return reader.Refuse(documents[1].Mark().line, "", "more than one document");
    }
    if (!documents.empty() && !documents[0].IsNull()) {
      DTRPO_RETURN_IF_ERROR(reader.ReadMessage(documents[0], "", message));
    }
  } catch (const YAML::Exception& error) {
    return reader.Refuse(error.mark.line, "", absl::StrCat("not valid YAML: ", error.msg));
  }
  if (check == nullptr) return absl::OkStatus();
  const std::vector<FieldProblem> problems = check();
  return problems.empty() ? absl::OkStatus() : reader.Refuse(problems.front());
}

absl::Status LoadConfig(base::FileSystem* files, const std::string& path, Message* message,
                        const ConfigCheck& check) {
  DTRPO_ASSIGN_OR_RETURN(std::string text, files->Read(path));
  return ParseConfig(text, path, message, check);
}

}  // namespace dtrpo::runtime
