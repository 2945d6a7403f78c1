// `dtrpoctl replay ...` against a store over a real connection.
#include <sstream>

#include "nlohmann/json.hpp"
#include "tests/unit/replay/replay_service_fixture.h"
#include "tools/dtrpoctl/exit_codes.h"
#include "tools/dtrpoctl/replay_commands.h"

namespace dtrpo::replay {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class DtrpoctlReplayTest : public ReplayServiceTest {
 protected:
  DtrpoctlReplayTest() {
    EXPECT_TRUE(client_->OpenJob(kJob, Options(), Soon()).ok());
    options_.address = server_->address().ToString();
    options_.job_id = kJob;
    dial_ = [this](const std::vector<std::string>& addresses) {
      return wire::ConnectReplayView(*factory_, addresses, {.target = "replay", .retry = {}});
    };
  }

  using Command = int (*)(const ctl::Session&, const ctl::ReplayOptions&, const ctl::DialReplay&);
  // What it printed; `errors_` has the rest.
  std::string Run(Command command, int expected = ctl::kOk, bool json = false) {
    std::ostringstream out, err;
    const ctl::Session session = {
        .client = nullptr, .address = "", .out = &out, .err = &err, .json = json};
    EXPECT_EQ(command(session, options_, dial_), expected) << err.str();
    errors_ = err.str();
    return out.str();
  }

  ctl::ReplayOptions options_;
  ctl::DialReplay dial_;
  std::string errors_;
};

TEST_F(DtrpoctlReplayTest, StatsOfAllJobsAndOfOne) {
  ASSERT_TRUE(Insert(0, 2).ok());
  EXPECT_THAT(Run(ctl::ReplayStats), HasSubstr("items:         2 of"));
  EXPECT_EQ(nlohmann::json::parse(Run(ctl::ReplayStats, ctl::kOk, true))["items"], "2");
  options_.job_id.clear();
  EXPECT_THAT(Run(ctl::ReplayStats), HasSubstr("add-1"));
  options_.job_id = "nobody";
  Run(ctl::ReplayStats, ctl::kFailed);
  EXPECT_THAT(errors_, HasSubstr("nobody"));
}

TEST_F(DtrpoctlReplayTest, ListsALineAnItem) {
  ASSERT_TRUE(Insert(7, 2).ok());
  const std::string table = Run(ctl::ReplayList);
  EXPECT_THAT(table, HasSubstr("ITEM"));
  EXPECT_THAT(table, HasSubstr("0/7/0"));
  options_.limit = 1;
  const std::string lines = Run(ctl::ReplayList, ctl::kOk, true);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 1);
  options_.filters.set_min_version(3);
  EXPECT_EQ(Run(ctl::ReplayList, ctl::kOk, true), "");
}

// TestTrajectory: tokens 5 6 7 8 in steps 1 2 2 3.
TEST_F(DtrpoctlReplayTest, ShowsTheAnswerAtEachStep) {
  ASSERT_TRUE(Insert(0, 1).ok());
  options_.item = 1;
  const std::string view = Run(ctl::ReplayShow);
  EXPECT_THAT(view, HasSubstr("prompt  1 2 3 4\n"));
  EXPECT_THAT(view, HasSubstr("     0  · · · ·\n"
                              "     1  5 · · ·\n"
                              "     2  5 6 7 ·\n"
                              "     3  5 6 7 8\n"));
  EXPECT_THAT(view, HasSubstr("     3  9 6 7 8\n"));
  options_.steps = false;
  EXPECT_THAT(Run(ctl::ReplayShow), Not(HasSubstr("·")));
  options_.item = 9;
  Run(ctl::ReplayShow, ctl::kFailed);
  EXPECT_THAT(errors_, HasSubstr("no item 9"));
}

TEST_F(DtrpoctlReplayTest, WhatIsExportedCanBeImported) {
  ASSERT_TRUE(Insert(0, 2).ok());
  ASSERT_TRUE(Insert(1, 1).ok());
  options_.file = "-";
  const std::string exported = Run(ctl::ReplayExport);
  EXPECT_THAT(errors_, HasSubstr("3 items exported"));

  ASSERT_TRUE(client_->OpenJob("other", Options(), Soon()).ok());
  options_.job_id = "other";
  std::istringstream lines(exported);
  options_.in = &lines;
  Run(ctl::ReplayImport);
  EXPECT_THAT(errors_, HasSubstr("3 items imported, 0 were there"));
  std::istringstream again(exported);
  options_.in = &again;
  Run(ctl::ReplayImport);
  EXPECT_THAT(errors_, HasSubstr("0 items imported, 3 were there"));
  EXPECT_EQ(Run(ctl::ReplayExport), exported);

  // The prompt of lines 1 and 2 is refused, that of line 3 is stored.
  ASSERT_TRUE(client_->OpenJob("third", Options(), Soon()).ok());
  options_.job_id = "third";
  const size_t end = exported.find('\n');
  auto item = nlohmann::json::parse(exported.substr(0, end));
  item["pair"]["chosen"]["responseTokens"][0] = -1;
  std::istringstream refused(item.dump() + exported.substr(end));
  options_.in = &refused;
  Run(ctl::ReplayImport, ctl::kFailed);
  EXPECT_THAT(errors_, HasSubstr("1 items imported, 0 were there, 2 failed"));
  EXPECT_THAT(errors_, HasSubstr("standard input:1: inserting prompt 0 of epoch 0"));

  std::istringstream bad(exported + "{\"pair\": 3}\n");
  options_.in = &bad;
  Run(ctl::ReplayImport, ctl::kFailed);
  EXPECT_THAT(errors_, HasSubstr("standard input:4"));
}

}  // namespace
}  // namespace dtrpo::replay
