#include <yaml-cpp/yaml.h>

#include <charconv>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/redact.h"
#include "common/runtime/config_loader.h"

namespace dtrpo::runtime {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// The shortest text that reads back as the same number.
template <typename Number>
std::string ShortestText(Number value) {
  char text[32];
  const std::to_chars_result end = std::to_chars(text, text + sizeof(text), value);
  return std::string(text, end.ptr);
}

// Item `index` of a repeated field, or a single field for index -1.
void PrintScalar(const Message& message, const FieldDescriptor* field, int index, bool hide,
                 YAML::Emitter* out) {
  const Reflection* reflection = message.GetReflection();
  auto get = [&](auto single, auto repeated) {
    return index < 0 ? (reflection->*single)(message, field)
                     : (reflection->*repeated)(message, field, index);
  };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      *out << get(&Reflection::GetInt32, &Reflection::GetRepeatedInt32);
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      *out << absl::StrCat(get(&Reflection::GetInt64, &Reflection::GetRepeatedInt64));
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      *out << get(&Reflection::GetUInt32, &Reflection::GetRepeatedUInt32);
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      *out << absl::StrCat(get(&Reflection::GetUInt64, &Reflection::GetRepeatedUInt64));
      break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      *out << ShortestText(get(&Reflection::GetDouble, &Reflection::GetRepeatedDouble));
      break;
    case FieldDescriptor::CPPTYPE_FLOAT:
      *out << ShortestText(get(&Reflection::GetFloat, &Reflection::GetRepeatedFloat));
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      *out << get(&Reflection::GetBool, &Reflection::GetRepeatedBool);
      break;
    case FieldDescriptor::CPPTYPE_ENUM:
      *out << get(&Reflection::GetEnum, &Reflection::GetRepeatedEnum)->name();
      break;
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string text = get(&Reflection::GetString, &Reflection::GetRepeatedString);
      *out << YAML::DoubleQuoted << (hide ? base::HideSecrets(text) : text);
      break;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;  // handled by PrintMessage
  }
}

void PrintMessage(const Message& message, bool hide, YAML::Emitter* out) {
  const Reflection* reflection = message.GetReflection();
  *out << YAML::BeginMap;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (!is_message && field->has_presence() && !reflection->HasField(message, field)) continue;
    *out << YAML::Key << field->name() << YAML::Value;
    if (field->is_repeated()) {
      const int size = reflection->FieldSize(message, field);
      if (size == 0) *out << YAML::Flow;  // prints []
      *out << YAML::BeginSeq;
      for (int item = 0; item < size; ++item) {
        if (is_message) {
          PrintMessage(reflection->GetRepeatedMessage(message, field, item), hide, out);
        } else {
          PrintScalar(message, field, item, hide, out);
        }
      }
      *out << YAML::EndSeq;
    } else if (is_message) {
      PrintMessage(reflection->GetMessage(message, field), hide, out);
    } else {
      PrintScalar(message, field, -1, hide, out);
    }
  }
  *out << YAML::EndMap;
}

std::string Print(const Message& message, bool hide) {
  YAML::Emitter out;
  PrintMessage(message, hide, &out);
  return absl::StrCat(out.c_str(), "\n");
}

}  // namespace

std::string PrintConfig(const Message& message) { return Print(message, /*hide=*/false); }

std::string PrintConfigWithoutSecrets(const Message& message) {
  return Print(message, /*hide=*/true);
}

}  // namespace dtrpo::runtime
