#include "common/checkpoint/json_object.h"

#include <cmath>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace dtrpo::checkpoint {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;  // of any config; hostile nesting must not eat the stack or memory

// nlohmann's messages are "[json.exception.parse_error.101] parse error at line 1, ...".
std::string WithoutTag(absl::string_view message) {
  const size_t end = message.find("] ");
  return std::string(end == absl::string_view::npos ? message : message.substr(end + 2));
}

}  // namespace

absl::StatusOr<JsonObject> JsonObject::Parse(absl::string_view text, const std::string& file) {
  std::set<std::string> names;
  std::string duplicate;
  bool too_deep = false;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    too_deep = too_deep || depth > kMaxDepth;
    if (event == json::parse_event_t::key && depth == 1) {
      const std::string& name = value.get_ref<const std::string&>();
      if (!names.insert(name).second && duplicate.empty()) duplicate = name;
    }
    return !too_deep;
  };
  json parsed;
  try {
    parsed = json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", WithoutTag(error.what())));
  }
  if (too_deep) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": nested more than ", kMaxDepth, " deep"));
  }
  if (!parsed.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": not a JSON object"));
  }
  JsonObject object(std::move(parsed), file);
  if (!duplicate.empty()) return object.Invalid(duplicate, "is there twice");
  return object;
}

const json* JsonObject::Find(const std::string& field) const {
  const auto found = object_.find(field);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

absl::Status JsonObject::Invalid(absl::string_view field, absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(file_, ": field '", prefix_, field, "': ", what));
}

absl::StatusOr<std::optional<int64_t>> JsonObject::OptionalInt(const std::string& field,
                                                               int64_t min, int64_t max) const {
  const json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  const std::string range = absl::StrCat("must be a whole number in [", min, ", ", max, "]");
  if (!value->is_number_integer()) return Invalid(field, range);
  // An unsigned number above INT64_MAX would wrap.
  if (value->is_number_unsigned() &&
      value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Invalid(field, range);
  }
  const int64_t number = value->get<int64_t>();
  if (number < min || number > max) {
    return Invalid(field, absl::StrCat("is ", number, ", ", range));
  }
  return number;
}

absl::StatusOr<int64_t> JsonObject::Int(const std::string& field, int64_t min, int64_t max) const {
  DTRPO_ASSIGN_OR_RETURN(const std::optional<int64_t> value, OptionalInt(field, min, max));
  if (!value.has_value()) return Invalid(field, "is missing");
  return *value;
}

absl::StatusOr<std::optional<double>> JsonObject::OptionalNumber(const std::string& field,
                                                                 double min, double max) const {
  const json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  const std::string range = absl::StrCat("must be a number in [", min, ", ", max, "]");
  if (!value->is_number()) return Invalid(field, range);
  const double number = value->get<double>();
  if (!std::isfinite(number) || number < min || number > max) {
    return Invalid(field, absl::StrCat("is ", number, ", ", range));
  }
  return number;
}

absl::StatusOr<std::optional<bool>> JsonObject::OptionalBool(const std::string& field) const {
  const json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) return Invalid(field, "must be true or false");
  return value->get<bool>();
}

absl::StatusOr<std::optional<std::string>> JsonObject::OptionalString(
    const std::string& field) const {
  const json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return Invalid(field, "must be a string");
  return value->get<std::string>();
}

absl::StatusOr<std::vector<int32_t>> JsonObject::TokenIds(const std::string& field) const {
  constexpr absl::string_view kWhat = "must be a token id or a list of them";
  constexpr size_t kMaxIds = 1024;
  std::vector<int32_t> ids;
  const json* value = Find(field);
  if (value == nullptr) return ids;
  const json list = value->is_array() ? *value : json::array({*value});
  if (list.size() > kMaxIds) return Invalid(field, absl::StrCat("has more than ", kMaxIds, " ids"));
  for (const json& entry : list) {
    if (!entry.is_number_unsigned() ||
        entry.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
      return Invalid(field, kWhat);
    }
    ids.push_back(entry.get<int32_t>());
  }
  return ids;
}

absl::StatusOr<std::optional<JsonObject>> JsonObject::OptionalObject(
    const std::string& field) const {
  const json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) return Invalid(field, "must be an object");
  return JsonObject(*value, file_, absl::StrCat(prefix_, field, "."));
}

}  // namespace dtrpo::checkpoint
