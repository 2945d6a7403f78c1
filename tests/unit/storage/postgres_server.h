// A PostgreSQL server of the test's own, in a scratch folder, reached over a socket in it. Not
// thread-safe. As root it runs as the user `postgres`, since the server refuses root.
#pragma once

#include <sys/types.h>

#include <string>

#include "tests/unit/storage/scratch_folder.h"

namespace dtrpo::storage {

class PostgresServer {
 public:
  PostgresServer();  // runs when the constructor returns
  ~PostgresServer();

  std::string connection() const;
  // Kill() ends it with all its processes, as SIGKILL does.
  void Kill();
  void Start();

 private:
  pid_t Spawn(const std::vector<std::string>& arguments) const;

  ScratchFolder folder_;
  std::string programs_;  // where initdb and postgres are
  pid_t pid_ = -1;
};

}  // namespace dtrpo::storage
