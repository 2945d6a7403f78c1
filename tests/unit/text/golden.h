// Expected texts and ids, made by transformers (tests/golden/make_text_fixtures.py).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "common/base/file_system.h"

namespace dtrpo::text {

inline std::string GoldenFolder(const std::string& name) {
  return std::string(DTRPO_SOURCE_DIR) + "/tests/golden/text/" + name;
}

inline const nlohmann::ordered_json& Golden() {
  static const auto* const kGolden = new nlohmann::ordered_json(nlohmann::ordered_json::parse(
      base::PosixFileSystem()->Read(GoldenFolder("expected.json")).value()));
  return *kGolden;
}

}  // namespace dtrpo::text
