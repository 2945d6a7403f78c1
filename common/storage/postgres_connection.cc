#include "common/storage/postgres_connection.h"

#include <set>
#include <utility>

#include "absl/base/internal/endian.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/redact.h"
#include "common/base/status_macros.h"

namespace dtrpo::storage {
namespace {

constexpr uint32_t kBlobType = 17;
constexpr uint32_t kIntType = 20;
constexpr uint32_t kTextType = 25;
constexpr char kFencedState[] = "DT001";
constexpr char kMovedOnState[] = "DT002";

// A server or a network that goes away is noticed after some seconds instead of hours.
constexpr char kTimeouts[] =
    "connect_timeout=5 keepalives_idle=5 keepalives_interval=5 keepalives_count=2 "
    "tcp_user_timeout=15000 ";

void AppendInt32(std::string& bytes, uint32_t value) {
  char buffer[4];
  absl::big_endian::Store32(buffer, value);
  bytes.append(buffer, sizeof(buffer));
}

void BeginArray(std::string& bytes, uint32_t type, size_t size) {
  AppendInt32(bytes, size == 0 ? 0 : 1);  // dimensions
  AppendInt32(bytes, 0);                  // no nulls
  AppendInt32(bytes, type);
  if (size == 0) return;
  AppendInt32(bytes, static_cast<uint32_t>(size));
  AppendInt32(bytes, 1);  // the first index
}

std::string BinaryStrings(uint32_t type, absl::Span<const absl::string_view> values) {
  size_t total = 20;
  for (absl::string_view value : values) total += 4 + value.size();
  std::string bytes;
  bytes.reserve(total);
  BeginArray(bytes, type, values.size());
  for (absl::string_view value : values) {
    AppendInt32(bytes, static_cast<uint32_t>(value.size()));
    bytes.append(value.data(), value.size());
  }
  return bytes;
}

// What passes: connections (08), resources (53), the server stopping or starting (57), failed
// serialisation (40), a standby that only reads (25006), statements that don't wait for locks (55),
// and a shard that moved on because an earlier attempt came through after all.
bool MayPass(absl::string_view state) {
  return absl::StartsWith(state, "08") || absl::StartsWith(state, "53") ||
         absl::StartsWith(state, "57") || absl::StartsWith(state, "40") ||
         absl::StartsWith(state, "55") || state == "25006" || state == kMovedOnState ||
         state.empty();
}

}  // namespace

std::string BinaryInt(int64_t value) {
  char buffer[8];
  absl::big_endian::Store64(buffer, static_cast<uint64_t>(value));
  return std::string(buffer, sizeof(buffer));
}

std::string BinaryInts(absl::Span<const int64_t> values) {
  std::string bytes;
  bytes.reserve(20 + 12 * values.size());
  BeginArray(bytes, kIntType, values.size());
  for (int64_t value : values) {
    AppendInt32(bytes, 8);
    bytes += BinaryInt(value);
  }
  return bytes;
}

std::string BinaryTexts(absl::Span<const absl::string_view> values) {
  return BinaryStrings(kTextType, values);
}

std::string BinaryBlobs(absl::Span<const absl::string_view> values) {
  return BinaryStrings(kBlobType, values);
}

absl::string_view PostgresConnection::Result::bytes(int row, int column) const {
  return {PQgetvalue(rows.get(), row, column),
          static_cast<size_t>(PQgetlength(rows.get(), row, column))};
}

int64_t PostgresConnection::Result::number(int row, int column) const {
  const absl::string_view value = bytes(row, column);
  return value.size() == 8 ? static_cast<int64_t>(absl::big_endian::Load64(value.data())) : -1;
}

absl::StatusOr<PostgresConnection> PostgresConnection::Connect(const std::string& connection) {
  const bool address = absl::StartsWith(connection, "postgres");
  // In an address the timeouts are the caller's to say.
  PGconn* raw =
      PQconnectdb(address ? connection.c_str() : absl::StrCat(kTimeouts, connection).c_str());
  PostgresConnection made(raw);
  if (PQstatus(raw) != CONNECTION_OK) {
    // A connection string that can't be read is repeated in the message, password and all.
    return absl::UnavailableError(base::HideSecrets(
        absl::StrCat("PostgreSQL: ", absl::StripAsciiWhitespace(PQerrorMessage(raw)))));
  }
  PQsetNoticeProcessor(
      raw, [](void*, const char*) {}, nullptr);
  return made;
}

absl::Status PostgresConnection::ErrorOf(const PGresult* result) const {
  const char* field = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const absl::string_view state = field == nullptr ? "" : field;
  const std::string message =
      absl::StrCat("PostgreSQL: ",
                   absl::StripAsciiWhitespace(result == nullptr ? PQerrorMessage(connection_.get())
                                                                : PQresultErrorMessage(result)),
                   state.empty() ? "" : absl::StrCat(" (", state, ")"));
  if (state == kFencedState) return absl::FailedPreconditionError(message);
  if (MayPass(state) || PQstatus(connection_.get()) != CONNECTION_OK) {
    return absl::UnavailableError(message);
  }
  return absl::InternalError(message);
}

absl::Status PostgresConnection::Run(const std::string& sql) {
  const Result result{{PQexec(connection_.get(), sql.c_str()), PQclear}};
  const ExecStatusType status = PQresultStatus(result.rows.get());
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return absl::OkStatus();
  return ErrorOf(result.rows.get());
}

absl::Status PostgresConnection::Prepare(const std::string& name, const std::string& sql) {
  const Result result{
      {PQprepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr), PQclear}};
  if (PQresultStatus(result.rows.get()) == PGRES_COMMAND_OK) return absl::OkStatus();
  return ErrorOf(result.rows.get());
}

namespace {

struct Parameters {
  explicit Parameters(const std::vector<std::string>& values) : formats(values.size(), 1) {
    for (const std::string& value : values) {
      data.push_back(value.data());
      sizes.push_back(static_cast<int>(value.size()));
    }
  }
  std::vector<const char*> data;
  std::vector<int> sizes;
  std::vector<int> formats;
};

}  // namespace

absl::StatusOr<PostgresConnection::Result> PostgresConnection::Query(const Statement& statement) {
  const Parameters parameters(statement.parameters);
  Result result{{PQexecPrepared(connection_.get(), statement.name.c_str(),
                                static_cast<int>(parameters.data.size()), parameters.data.data(),
                                parameters.sizes.data(), parameters.formats.data(), 1),
                 PQclear}};
  const ExecStatusType status = PQresultStatus(result.rows.get());
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return result;
  return ErrorOf(result.rows.get());
}

absl::Status PostgresConnection::Send(const Statement& statement) {
  const Parameters parameters(statement.parameters);
  const int sent = PQsendQueryPrepared(
      connection_.get(), statement.name.c_str(), static_cast<int>(parameters.data.size()),
      parameters.data.data(), parameters.sizes.data(), parameters.formats.data(), 1);
  return sent == 1 ? absl::OkStatus() : ErrorOf(nullptr);
}

absl::Status PostgresConnection::Transaction(absl::Span<const Statement> statements) {
  PGconn* connection = connection_.get();
  if (PQenterPipelineMode(connection) != 1) return ErrorOf(nullptr);
  DTRPO_RETURN_IF_ERROR(Send({.name = "begin", .parameters = {}}));
  for (const Statement& statement : statements) DTRPO_RETURN_IF_ERROR(Send(statement));
  DTRPO_RETURN_IF_ERROR(Send({.name = "commit", .parameters = {}}));
  if (PQpipelineSync(connection) != 1) return ErrorOf(nullptr);
  absl::Status first_error;
  for (bool synced = false; !synced;) {
    const Result result{{PQgetResult(connection), PQclear}};
    if (result.rows == nullptr) {
      // The end of one statement's results, or the connection's.
      if (PQstatus(connection) != CONNECTION_OK) return ErrorOf(nullptr);
      continue;
    }
    switch (PQresultStatus(result.rows.get())) {
      case PGRES_COMMAND_OK:
      case PGRES_TUPLES_OK:
      case PGRES_PIPELINE_ABORTED:
        break;
      case PGRES_PIPELINE_SYNC:
        synced = true;
        break;
      default:
        if (first_error.ok()) first_error = ErrorOf(result.rows.get());
    }
  }
  DTRPO_RETURN_IF_ERROR(first_error);
  if (PQexitPipelineMode(connection) != 1) return ErrorOf(nullptr);
  return absl::OkStatus();
}

}  // namespace dtrpo::storage
