// One connection to PostgreSQL: libpq's handles and errors as this project's. Not thread-safe.
#pragma once

#include <libpq-fe.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace dtrpo::storage {

// Parameters in PostgreSQL's binary format.
std::string BinaryInt(int64_t value);
std::string BinaryInts(absl::Span<const int64_t> values);             // bigint[]
std::string BinaryTexts(absl::Span<const absl::string_view> values);  // text[]
std::string BinaryBlobs(absl::Span<const absl::string_view> values);  // bytea[]

class PostgresConnection {
 public:
  struct Result {
    std::unique_ptr<PGresult, void (*)(PGresult*)> rows{nullptr, PQclear};
    int size() const { return PQntuples(rows.get()); }
    absl::string_view bytes(int row, int column) const;
    int64_t number(int row, int column) const;  // of a bigint
  };
  struct Statement {
    std::string name;  // of a prepared one
    std::vector<std::string> parameters;
  };

  // UNAVAILABLE: no server answers.
  static absl::StatusOr<PostgresConnection> Connect(const std::string& connection);

  // Errors: UNAVAILABLE when it may work later (a connection that broke, a server that starts or
  // stops, has no room, or only reads), FAILED_PRECONDITION for SQLSTATE DT001 (fenced), INTERNAL
  // otherwise.
  absl::Status Run(const std::string& sql);  // one or more statements without parameters
  absl::Status Prepare(const std::string& name, const std::string& sql);
  absl::StatusOr<Result> Query(const Statement& statement);
  // All in one transaction and one round trip. After an error the connection isn't usable.
  absl::Status Transaction(absl::Span<const Statement> statements);

 private:
  explicit PostgresConnection(PGconn* connection) : connection_(connection, PQfinish) {}
  absl::Status ErrorOf(const PGresult* result) const;
  absl::Status Send(const Statement& statement);

  std::unique_ptr<PGconn, void (*)(PGconn*)> connection_;
};

}  // namespace dtrpo::storage
