// Thread safety: immutable after Parse().
//
// A JSON object from an untrusted file, read field by field; every error is "<file>: field
// '<name>': <what>". A field that is null counts as absent, as in Hugging Face's own configs. Used
// inside this room only.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::checkpoint {

class JsonObject {
 public:
  // Anything but one object, or an object that names a field twice, is refused. A parse error says
  // line and column.
  static absl::StatusOr<JsonObject> Parse(absl::string_view text, const std::string& file);

  // Of a value inside another file, e.g. `prefix` = "rope_parameters.".
  JsonObject(nlohmann::json object, std::string file, std::string prefix = "")
      : object_(std::move(object)), file_(std::move(file)), prefix_(std::move(prefix)) {}

  const nlohmann::json& value() const { return object_; }
  // Null when absent or null.
  const nlohmann::json* Find(const std::string& field) const;

  absl::Status Invalid(absl::string_view field, absl::string_view what) const;

  absl::StatusOr<std::optional<int64_t>> OptionalInt(const std::string& field, int64_t min,
                                                     int64_t max) const;
  absl::StatusOr<int64_t> Int(const std::string& field, int64_t min, int64_t max) const;
  // Finite and in [min, max].
  absl::StatusOr<std::optional<double>> OptionalNumber(const std::string& field, double min,
                                                       double max) const;
  absl::StatusOr<std::optional<bool>> OptionalBool(const std::string& field) const;
  absl::StatusOr<std::optional<std::string>> OptionalString(const std::string& field) const;
  // One int or a list of them; empty when absent.
  absl::StatusOr<std::vector<int32_t>> TokenIds(const std::string& field) const;
  // Errors of its fields say "<field>.<name>".
  absl::StatusOr<std::optional<JsonObject>> OptionalObject(const std::string& field) const;

 private:
  nlohmann::json object_;
  std::string file_;
  std::string prefix_;
};

}  // namespace dtrpo::checkpoint
