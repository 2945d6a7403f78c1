#include "common/wire/assigned_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/wire/job_codec.h"

namespace dtrpo::wire {
namespace {

using testing::HasSubstr;

v1::Assignment Inside() {
  v1::Assignment assignment;
  v1::JobSpec* spec = assignment.mutable_spec();
  spec->set_name("add");
  spec->mutable_model()->set_path("/data/model");
  spec->mutable_data()->set_prompts("/data/p.jsonl");
  spec->mutable_training()->set_steps(3);
  spec->set_output("/data/out");
  assignment.set_resume_checkpoint("/data/out/step-1");
  return assignment;
}

TEST(AssignedJobTest, AWorkerChecksThePathsAgain) {
  EXPECT_TRUE(AssignedJob(Inside(), {}).ok());
  EXPECT_TRUE(AssignedJob(Inside(), {"/data"}).ok()) << AssignedJob(Inside(), {"/data"}).status();
  const absl::Status elsewhere = AssignedJob(Inside(), {"/models"}).status();
  EXPECT_TRUE(absl::IsPermissionDenied(elsewhere)) << elsewhere;
  EXPECT_THAT(std::string(elsewhere.message()), HasSubstr("model.path: /data/model"));
}

TEST(AssignedJobTest, TheCheckpointToGoOnFromIsOneOfThem) {
  v1::Assignment assignment = Inside();
  assignment.set_resume_checkpoint("/data/../etc");
  const absl::Status outside = AssignedJob(assignment, {"/data"}).status();
  EXPECT_TRUE(absl::IsPermissionDenied(outside)) << outside;
  EXPECT_THAT(std::string(outside.message()), HasSubstr("checkpoint to go on from: /data/../etc"));
}

}  // namespace
}  // namespace dtrpo::wire
