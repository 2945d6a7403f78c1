// PostgreSQL for the common tests: one server for the program, one schema for each store.
#include "common/storage/postgres_engine.h"
#include "tests/unit/storage/engine_under_test.h"
#include "tests/unit/storage/postgres_server.h"

namespace dtrpo::storage {
namespace {

class PostgresStore : public StoreUnderTest {
 public:
  PostgresStore() {
    static int stores = 0;
    schema_ = "store_" + std::to_string(++stores);
  }
  absl::StatusOr<std::unique_ptr<StorageEngine>> Open() override {
    static PostgresServer server;
    return OpenPostgres({.connection = server.connection(), .schema = schema_});
  }
  bool durable() const override { return true; }

 private:
  std::string schema_;
};

}  // namespace

std::vector<std::string> StoreKinds() { return {"postgres"}; }

std::unique_ptr<StoreUnderTest> MakeStore(const std::string&) {
  return std::make_unique<PostgresStore>();
}

}  // namespace dtrpo::storage
