// A StorageEngine in a shared PostgreSQL server (13 or later), for those who outgrow one machine.
// Thread-safe.
//
// A shard is a name with one owner at a time. Opening takes it over: its epoch rises, and since
// every transaction first updates the shard's row under its own epoch, whatever the owner before
// still tries fails ("fenced"), also what is under way. Replication and backups are the server's
// business.
//
//   Write --> queue --> one transaction of everything queued (pipelined, prepared) --> COMMIT
//   Confirm    waits for that COMMIT: the server's synchronous_commit decides; `log` is `sync` here
//
// A connection that breaks is made again: the shard's row tells whether the transaction in doubt
// was committed, and if not it is sent again. So a restarted server costs time, and Confirm() says
// DEADLINE_EXCEEDED meanwhile.
//
// Fault points: storage.before_sync, storage.after_sync, storage.before_snapshot, storage.takeover.
#pragma once

#include <memory>
#include <string>

#include "common/storage/storage_engine.h"

namespace dtrpo::storage {

struct PostgresOptions {
  std::string connection;  // libpq's: "host=.. dbname=.. user=.." or a postgresql:// address
  std::string shard = "shard-0";
  std::string schema = "dtrpo";  // made when it isn't there; letters, digits and underscores
  absl::Duration open_timeout = absl::Seconds(30);
  SyncObserver on_sync = {};
};

// FAILED_PRECONDITION for a schema of another format, UNAVAILABLE when no server answers in time.
absl::StatusOr<std::unique_ptr<StorageEngine>> OpenPostgres(const PostgresOptions& options);

}  // namespace dtrpo::storage
