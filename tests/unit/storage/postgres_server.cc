#include "tests/unit/storage/postgres_server.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/storage/postgres_connection.h"

namespace dtrpo::storage {
namespace {

constexpr char kUser[] = "postgres";

// Debian keeps the server's programs by version, outside of PATH.
std::string FindPrograms() {
  std::string newest;
  for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql")) {
    const std::string bin = version.path() / "bin";
    if (std::filesystem::exists(bin + "/initdb") && bin > newest) newest = bin;
  }
  DTRPO_CHECK(!newest.empty());
  return newest;
}

std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

}  // namespace

PostgresServer::PostgresServer() : programs_(FindPrograms()) {
  if (::geteuid() == 0) {
    const passwd* user = ::getpwnam(kUser);
    DTRPO_CHECK(user != nullptr);
    DTRPO_CHECK_EQ(::chown(folder_.path().c_str(), user->pw_uid, user->pw_gid), 0);
  }
  const pid_t initdb = Spawn({"initdb", "--pgdata", folder_ / "data", "--username", "dtrpo",
                              "--auth", "trust", "--encoding", "UTF8", "--no-sync"});
  int status = 0;
  DTRPO_CHECK_EQ(::waitpid(initdb, &status, 0), initdb);
  DTRPO_CHECK_EQ(status, 0);
  Start();
}

PostgresServer::~PostgresServer() { Kill(); }

std::string PostgresServer::connection() const {
  return "host=" + folder_.path() + " dbname=postgres user=dtrpo";
}

pid_t PostgresServer::Spawn(const std::vector<std::string>& arguments) const {
  std::vector<std::string> words = arguments;
  const std::string program = programs_ + "/" + words[0];
  std::vector<char*> raw;
  for (std::string& word : words) raw.push_back(word.data());
  raw.push_back(nullptr);
  const passwd* user = ::geteuid() == 0 ? ::getpwnam(kUser) : nullptr;
  const std::string log = folder_ / "server.log";
  const pid_t pid = ::fork();
  DTRPO_CHECK(pid >= 0);
  if (pid > 0) return pid;

  const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  if (user != nullptr && (::setgroups(0, nullptr) != 0 || ::setgid(user->pw_gid) != 0 ||
                          ::setuid(user->pw_uid) != 0)) {
    ::_exit(126);
  }
  ::prctl(PR_SET_PDEATHSIG, SIGQUIT);  // not left behind by a test that dies
  if (::chdir(folder_.path().c_str()) != 0) ::_exit(126);
  ::execv(program.c_str(), raw.data());
  ::_exit(127);
}

void PostgresServer::Start() {
  const absl::Time give_up = absl::Now() + absl::Seconds(60);
  while (absl::Now() < give_up) {
    // SIGKILL is survived without fsync; power loss isn't what these tests are about.
    pid_ = Spawn({"postgres", "-D", folder_ / "data", "-c", "listen_addresses=", "-c",
                  "unix_socket_directories=" + folder_.path(), "-c", "fsync=off", "-c",
                  "shared_buffers=16MB", "-c", "max_connections=30"});
    while (absl::Now() < give_up) {
      if (PostgresConnection::Connect(connection()).ok()) return;
      // It ends at once while processes of the killed one are still there.
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) break;
      absl::SleepFor(absl::Milliseconds(20));
    }
    pid_ = -1;
    absl::SleepFor(absl::Milliseconds(50));
  }
  DTRPO_CHECK(pid_ > 0);
}

void PostgresServer::Kill() {
  if (pid_ <= 0) return;
  const std::vector<pid_t> children = ChildrenOf(pid_);
  ::kill(pid_, SIGKILL);
  for (pid_t child : children) ::kill(child, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace dtrpo::storage
