#include "common/storage/storage_engine.h"

#include "common/base/status_macros.h"

namespace dtrpo::storage {

absl::string_view DurabilityName(Durability durability) {
  switch (durability) {
    case Durability::kMemory:
      return "memory";
    case Durability::kLog:
      return "log";
    case Durability::kSync:
      return "sync";
  }
  return "unknown";
}

std::optional<Durability> DurabilityFromName(absl::string_view name) {
  for (Durability level : {Durability::kMemory, Durability::kLog, Durability::kSync}) {
    if (DurabilityName(level) == name) return level;
  }
  return std::nullopt;
}

absl::StatusOr<Confirmation> StorageEngine::Append(absl::string_view log, Operations operations,
                                                   Durability level, absl::Duration timeout) {
  DTRPO_ASSIGN_OR_RETURN(const Written written, Write(log, std::move(operations)));
  DTRPO_ASSIGN_OR_RETURN(const Durability reached, Confirm(written.sequence, level, timeout));
  return Confirmation{.position = written.position, .durability = reached};
}

}  // namespace dtrpo::storage
