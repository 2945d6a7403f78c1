#include "common/rpc/access_table.h"

#include "absl/strings/str_cat.h"

namespace dtrpo::rpc {
namespace {

constexpr RoleSet kEverybody = kServerRoles | RoleSet{Role::kClient, Role::kAdmin, Role::kMonitor};
constexpr RoleSet kWorkers = {Role::kRollout, Role::kReference, Role::kLearner};
constexpr RoleSet kUsers = {Role::kClient, Role::kAdmin};
constexpr RoleSet kLookers = {Role::kClient, Role::kAdmin, Role::kMonitor};
constexpr RoleSet kCoordinator = {Role::kCoordinator};
constexpr RoleSet kRollout = {Role::kRollout};
constexpr RoleSet kLearner = {Role::kLearner};

constexpr AccessRow kTable[] = {
    // Every process. Who waits for what names jobs and machines: for those who look after them.
    {"/dtrpo.v1.IntrospectionService/Handshake", kEverybody},
    {"/dtrpo.v1.IntrospectionService/GetWaitStates", kLookers | kCoordinator},
    // Probes and load balancers ask with whatever certificate they have.
    {"/grpc.health.v1.Health/Check", kEverybody},
    {"/grpc.health.v1.Health/Watch", kEverybody},
    // The protos are public; the switch is here all the same, since workers have no use for it.
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kLookers},

    // Coordinator, for people.
    {"/dtrpo.v1.JobService/SubmitJob", kUsers},
    {"/dtrpo.v1.JobService/GetJob", kLookers},
    {"/dtrpo.v1.JobService/ListJobs", kLookers},
    {"/dtrpo.v1.JobService/WatchJob", kLookers},
    {"/dtrpo.v1.JobService/CancelJob", kUsers},
    {"/dtrpo.v1.JobService/PauseJob", kUsers},
    {"/dtrpo.v1.JobService/ResumeJob", kUsers},
    {"/dtrpo.v1.JobService/RollBackJob", kUsers},
    {"/dtrpo.v1.JobService/ListJobEvents", kLookers},
    {"/dtrpo.v1.JobService/ListWorkers", kLookers},

    // Coordinator, for workers.
    {"/dtrpo.v1.WorkerService/RegisterWorker", kWorkers},
    {"/dtrpo.v1.WorkerService/Heartbeat", kWorkers},
    {"/dtrpo.v1.WorkerService/LeasePrompts", kRollout},
    {"/dtrpo.v1.WorkerService/ReportPrompts", kRollout},
    {"/dtrpo.v1.WorkerService/RegisterVersion", kLearner},
    {"/dtrpo.v1.WorkerService/ReportStep", kLearner},
    {"/dtrpo.v1.WorkerService/RegisterCheckpoint", kLearner},
    {"/dtrpo.v1.WorkerService/ReportPairs", kLearner},
    {"/dtrpo.v1.WorkerService/FinishTraining", kLearner},

    // Replay. Learners insert the pairs of data.pairs.
    {"/dtrpo.v1.ReplayService/OpenJob", kCoordinator},
    {"/dtrpo.v1.ReplayService/CloseJob", kCoordinator},
    {"/dtrpo.v1.ReplayService/SetNewestVersion", kCoordinator},
    {"/dtrpo.v1.ReplayService/PollPromptEvents", kCoordinator},
    {"/dtrpo.v1.ReplayService/Insert", kRollout | kLearner},
    {"/dtrpo.v1.ReplayService/InsertMany", kRollout | kLearner},
    {"/dtrpo.v1.ReplayService/Stage", kRollout | kLearner},
    {"/dtrpo.v1.ReplayService/Settle", kCoordinator},
    {"/dtrpo.v1.ReplayService/GetBatch", kLearner},
    {"/dtrpo.v1.ReplayService/Acknowledge", kLearner},
    {"/dtrpo.v1.ReplayService/UpdatePriorities", kLearner},
    {"/dtrpo.v1.ReplayService/GetReplayStats", kLookers | kCoordinator},
    {"/dtrpo.v1.ReplayService/ListReplayJobs", kLookers | kCoordinator},
    // What is in items is the job's data.
    {"/dtrpo.v1.ReplayService/ListItems", kUsers},
    {"/dtrpo.v1.ReplayService/GetItem", kUsers},
    {"/dtrpo.v1.ReplayService/GetItems", kLearner | kUsers},

    // The other workers, and rewards.
    {"/dtrpo.v1.ReferenceService/Score", kLearner},
    {"/dtrpo.v1.WeightsService/PushWeights", kLearner},
    {"/dtrpo.v1.GenerateService/Generate", kUsers},
    {"/dtrpo.v1.RewardService/Judge", kRollout | kUsers},
    {"/dtrpo.v1.RewardService/ListRewards", kRollout | kUsers | kCoordinator},
};

}  // namespace

absl::Span<const AccessRow> AccessTable() { return kTable; }

absl::Status CheckAccess(absl::string_view method, Role caller) {
  for (const AccessRow& row : kTable) {
    if (row.method != method) continue;
    if (row.callers.Has(caller)) return absl::OkStatus();
    return absl::PermissionDeniedError(
        absl::StrCat("role ", RoleName(caller), " may not call ", method));
  }
  return absl::PermissionDeniedError(absl::StrCat("nobody may call ", method));
}

}  // namespace dtrpo::rpc
