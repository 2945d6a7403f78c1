#include "common/storage/postgres_schema.h"

#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/fault_points.h"
#include "common/base/status_macros.h"

namespace dtrpo::storage {
namespace {

// One at a time, whoever else opens a store in this database.
constexpr char kBegin[] = "BEGIN; SELECT pg_advisory_xact_lock(7217390431)";

constexpr char kFormatTable[] = R"(
CREATE SCHEMA IF NOT EXISTS $S;
CREATE TABLE IF NOT EXISTS $S.format (version bigint NOT NULL);
)";

// Rows of records and bodies come and go quickly: vacuum looks after 2 % instead of 20 %. Bodies
// are compressed by the caller, so the server needn't try (EXTERNAL).
constexpr char kTables[] = R"(
INSERT INTO $S.format SELECT $F WHERE NOT EXISTS (SELECT 1 FROM $S.format);
CREATE TABLE IF NOT EXISTS $S.shards (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, shard text UNIQUE NOT NULL,
  epoch bigint NOT NULL, sequence bigint NOT NULL, owner text NOT NULL,
  taken timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 10);
CREATE TABLE IF NOT EXISTS $S.logs (
  shard bigint NOT NULL, log bigint NOT NULL, name bytea NOT NULL, first bigint NOT NULL,
  last bigint NOT NULL, next_body bigint NOT NULL, PRIMARY KEY (shard, log),
  UNIQUE (shard, name)) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS $S.records (
  shard bigint NOT NULL, log bigint NOT NULL, position bigint NOT NULL, record bytea NOT NULL,
  PRIMARY KEY (shard, log, position)) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE TABLE IF NOT EXISTS $S.bodies (
  shard bigint NOT NULL, log bigint NOT NULL, id bigint NOT NULL, body bytea NOT NULL,
  PRIMARY KEY (shard, log, id)) WITH (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE $S.bodies ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE IF NOT EXISTS $S.snapshots (
  shard bigint NOT NULL, log bigint NOT NULL, position bigint NOT NULL, state bytea NOT NULL,
  PRIMARY KEY (shard, log));
CREATE OR REPLACE FUNCTION
$S.advance(the_shard bigint, the_epoch bigint, committed bigint, the_sequence bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE $S.shards SET sequence = the_sequence
    WHERE number = the_shard AND epoch = the_epoch AND sequence = committed;
  IF FOUND THEN RETURN; END IF;
  IF EXISTS (SELECT 1 FROM $S.shards WHERE number = the_shard AND epoch = the_epoch) THEN
    RAISE EXCEPTION 'shard % has moved on from step %', the_shard, committed
      USING ERRCODE = 'DT002';
  END IF;
  RAISE EXCEPTION 'another owner took shard % over', the_shard USING ERRCODE = 'DT001';
END $$;
)";

struct Prepared {
  const char* name;
  const char* sql;
};

constexpr Prepared kStatements[] = {
    {"begin", "BEGIN"},
    {"commit", "COMMIT"},
    // Locks the shard's row until the commit: a takeover waits for it, and what comes later fails.
    // So does a transaction that was sent over a connection that broke, and is only carried out
    // now.
    {"advance", "SELECT $S.advance($1::bigint, $2::bigint, $3::bigint, $4::bigint)"},
    {"logs",
     "INSERT INTO $S.logs SELECT $1::bigint, n.* FROM unnest($2::bigint[], $3::bytea[], "
     "$4::bigint[], $5::bigint[], $6::bigint[]) AS n ON CONFLICT (shard, log) DO UPDATE SET "
     "first = excluded.first, last = excluded.last, next_body = excluded.next_body"},
    {"records",
     "INSERT INTO $S.records SELECT $1::bigint, n.* FROM "
     "unnest($2::bigint[], $3::bigint[], $4::bytea[]) AS n"},
    {"bodies",
     "INSERT INTO $S.bodies SELECT $1::bigint, n.* FROM "
     "unnest($2::bigint[], $3::bigint[], $4::bytea[]) AS n"},
    {"delete",
     "DELETE FROM $S.bodies b USING unnest($2::bigint[], $3::bigint[], $4::bigint[]) "
     "AS n(log, first, stop) WHERE b.shard = $1::bigint AND b.log = n.log AND b.id >= n.first AND "
     "b.id < n.stop"},
    {"snapshots",
     "INSERT INTO $S.snapshots SELECT $1::bigint, n.* FROM "
     "unnest($2::bigint[], $3::bigint[], $4::bytea[]) AS n ON CONFLICT (shard, log) DO UPDATE SET "
     "position = excluded.position, state = excluded.state"},
    {"trim",
     "DELETE FROM $S.records r USING unnest($2::bigint[], $3::bigint[]) AS n(log, position) "
     "WHERE r.shard = $1::bigint AND r.log = n.log AND r.position <= n.position"},
    {"committed", "SELECT epoch, sequence FROM $S.shards WHERE number = $1::bigint FOR UPDATE"},
    {"make_shard",
     "INSERT INTO $S.shards (shard, epoch, sequence, owner) VALUES ($1::text, 0, 0, '') "
     "ON CONFLICT (shard) DO NOTHING"},
    {"take_shard",
     "UPDATE $S.shards SET epoch = epoch + 1, sequence = 0, owner = $2::text, taken = now() "
     "WHERE shard = $1::text RETURNING number, epoch"},
    {"read_logs", "SELECT name, log, first, last, next_body FROM $S.logs WHERE shard = $1::bigint"},
    {"read_bodies",
     "SELECT id, body FROM $S.bodies WHERE shard = $1::bigint AND log = $2::bigint AND "
     "id = ANY($3::bigint[])"},
    {"read_records",
     "SELECT position, record FROM $S.records WHERE shard = $1::bigint AND log = $2::bigint AND "
     "position > $3::bigint ORDER BY position LIMIT 5000"},
    {"read_snapshot",
     "SELECT position, state FROM $S.snapshots WHERE shard = $1::bigint AND log = $2::bigint"},
    {"record_bytes",
     "SELECT coalesce(sum(octet_length(record)), 0)::bigint FROM $S.records WHERE "
     "shard = $1::bigint AND log = $2::bigint"},
    {"database_bytes", "SELECT pg_database_size(current_database())::bigint"},
};

std::string Fill(absl::string_view sql, const std::string& schema) {
  return absl::StrReplaceAll(sql, {{"$S", schema}, {"$F", absl::StrCat(kSchemaFormat)}});
}

absl::Status CheckFormat(PostgresConnection& connection, const std::string& schema) {
  DTRPO_RETURN_IF_ERROR(
      connection.Prepare("format", Fill("SELECT version FROM $S.format LIMIT 1", schema)));
  DTRPO_ASSIGN_OR_RETURN(const auto rows, connection.Query({.name = "format", .parameters = {}}));
  if (rows.size() == 0 || rows.number(0, 0) == kSchemaFormat) return absl::OkStatus();
  const int64_t found = rows.number(0, 0);
  return absl::FailedPreconditionError(absl::StrCat(
      "schema ", schema, " has format ", found, ", this program reads format ", kSchemaFormat,
      found > kSchemaFormat ? ": a newer program wrote it; use that one"
                            : ": there is no migration from it; export it with the program that "
                              "wrote it, and import"));
}

}  // namespace

absl::Status MakeSchema(PostgresConnection& connection, const std::string& schema) {
  for (char c : schema) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_') {
      return absl::InvalidArgumentError(
          absl::StrCat("schema \"", schema, "\": only letters, digits and underscores"));
    }
  }
  DTRPO_RETURN_IF_ERROR(connection.Run(kBegin));
  DTRPO_RETURN_IF_ERROR(connection.Run(Fill(kFormatTable, schema)));
  DTRPO_RETURN_IF_ERROR(CheckFormat(connection, schema));
  DTRPO_RETURN_IF_ERROR(connection.Run(Fill(kTables, schema)));
  return connection.Run("COMMIT");
}

absl::Status PrepareStatements(PostgresConnection& connection, const std::string& schema) {
  for (const Prepared& statement : kStatements) {
    DTRPO_RETURN_IF_ERROR(connection.Prepare(statement.name, Fill(statement.sql, schema)));
  }
  return absl::OkStatus();
}

absl::StatusOr<TakenShard> TakeShard(PostgresConnection& connection, const std::string& shard) {
  DTRPO_RETURN_IF_ERROR(connection.Run("BEGIN"));
  DTRPO_RETURN_IF_ERROR(connection.Query({.name = "make_shard", .parameters = {shard}}).status());
  DTRPO_ASSIGN_OR_RETURN(
      const auto taken,
      connection.Query(
          {.name = "take_shard", .parameters = {shard, absl::StrCat("pid ", ::getpid())}}));
  if (taken.size() != 1) return absl::InternalError(absl::StrCat("shard ", shard, " isn't there"));
  TakenShard result = {.number = taken.number(0, 0), .epoch = taken.number(0, 1), .logs = {}};
  DTRPO_FAULT_POINT("storage.takeover");
  DTRPO_ASSIGN_OR_RETURN(
      const auto logs,
      connection.Query({.name = "read_logs", .parameters = {BinaryInt(result.number)}}));
  for (int i = 0; i < logs.size(); ++i) {
    result.logs[std::string(logs.bytes(i, 0))] = {
        .number = static_cast<uint64_t>(logs.number(i, 1)),
        .first = logs.number(i, 2),
        .last = logs.number(i, 3),
        .next_body = logs.number(i, 4)};
  }
  DTRPO_RETURN_IF_ERROR(connection.Run("COMMIT"));
  return result;
}

}  // namespace dtrpo::storage
