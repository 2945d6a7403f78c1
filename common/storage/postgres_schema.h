// The tables of a PostgreSQL store and the statements that use them. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/storage/log_index.h"
#include "common/storage/postgres_connection.h"

namespace dtrpo::storage {

// Raised with every change of the tables, together with a migration or words that say why not.
inline constexpr int kSchemaFormat = 1;

struct TakenShard {
  int64_t number = 0;
  int64_t epoch = 0;
  LogIndexes logs;
};

// Makes the tables when they aren't there; FAILED_PRECONDITION for another format.
absl::Status MakeSchema(PostgresConnection& connection, const std::string& schema);
absl::Status PrepareStatements(PostgresConnection& connection, const std::string& schema);
// Raises the shard's epoch; REQUIRES: prepared statements.
absl::StatusOr<TakenShard> TakeShard(PostgresConnection& connection, const std::string& shard);

}  // namespace dtrpo::storage
