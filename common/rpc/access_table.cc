#include "common/rpc/access_table.h"

#include "absl/strings/str_cat.h"
#include "common/rpc/metadata.h"

namespace dtrpo::rpc {
namespace {

constexpr RoleSet kServers = kServerRoles;
constexpr RoleSet kEverybody = kServers | RoleSet{Role::kClient, Role::kAdmin, Role::kMonitor};
constexpr RoleSet kWorkers = {Role::kRollout, Role::kReference, Role::kLearner};
constexpr RoleSet kUsers = {Role::kClient, Role::kAdmin};
constexpr RoleSet kLookers = {Role::kClient, Role::kAdmin, Role::kMonitor};
constexpr RoleSet kCoordinator = {Role::kCoordinator};
constexpr RoleSet kRollout = {Role::kRollout};
constexpr RoleSet kLearner = {Role::kLearner};
constexpr RoleSet kReplay = {Role::kReplay};
constexpr RoleSet kReference = {Role::kReference};
constexpr RoleSet kReward = {Role::kReward};

constexpr AccessRow kTable[] = {
    // Method, who may call it, whose it is.
    // Every process. Who waits for what names jobs and machines: for those who look after them.
    {"/dtrpo.v1.IntrospectionService/Handshake", kEverybody, kServers},
    {"/dtrpo.v1.IntrospectionService/GetWaitStates", kLookers | kCoordinator, kServers},
    // Probes and load balancers ask with whatever certificate they have.
    {"/grpc.health.v1.Health/Check", kEverybody, kServers},
    {"/grpc.health.v1.Health/Watch", kEverybody, kServers},
    // The protos are public; the switch is here all the same, since workers have no use for it.
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kLookers, kServers},

    // Coordinator, for people.
    {"/dtrpo.v1.JobService/SubmitJob", kUsers, kCoordinator},
    {"/dtrpo.v1.JobService/GetJob", kLookers, kCoordinator},
    {"/dtrpo.v1.JobService/ListJobs", kLookers, kCoordinator},
    {"/dtrpo.v1.JobService/WatchJob", kLookers, kCoordinator},
    {"/dtrpo.v1.JobService/CancelJob", kUsers, kCoordinator},
    {"/dtrpo.v1.JobService/PauseJob", kUsers, kCoordinator},
    {"/dtrpo.v1.JobService/ResumeJob", kUsers, kCoordinator},
    {"/dtrpo.v1.JobService/RollBackJob", kUsers, kCoordinator},
    {"/dtrpo.v1.JobService/ListJobEvents", kLookers, kCoordinator},
    {"/dtrpo.v1.JobService/ListWorkers", kLookers, kCoordinator},

    // Coordinator, for workers.
    {"/dtrpo.v1.WorkerService/RegisterWorker", kWorkers, kCoordinator},
    {"/dtrpo.v1.WorkerService/Heartbeat", kWorkers, kCoordinator},
    {"/dtrpo.v1.WorkerService/LeasePrompts", kRollout, kCoordinator},
    {"/dtrpo.v1.WorkerService/ReportPrompts", kRollout, kCoordinator},
    {"/dtrpo.v1.WorkerService/RegisterVersion", kLearner, kCoordinator},
    {"/dtrpo.v1.WorkerService/ReportStep", kLearner, kCoordinator},
    {"/dtrpo.v1.WorkerService/RegisterCheckpoint", kLearner, kCoordinator},
    {"/dtrpo.v1.WorkerService/ReportPairs", kLearner, kCoordinator},
    {"/dtrpo.v1.WorkerService/FinishTraining", kLearner, kCoordinator},

    // Replay. Learners insert the pairs of data.pairs.
    {"/dtrpo.v1.ReplayService/OpenJob", kCoordinator, kReplay},
    {"/dtrpo.v1.ReplayService/CloseJob", kCoordinator, kReplay},
    {"/dtrpo.v1.ReplayService/SetNewestVersion", kCoordinator, kReplay},
    {"/dtrpo.v1.ReplayService/PollPromptEvents", kCoordinator, kReplay},
    {"/dtrpo.v1.ReplayService/Insert", kRollout | kLearner, kReplay},
    {"/dtrpo.v1.ReplayService/InsertMany", kRollout | kLearner, kReplay},
    {"/dtrpo.v1.ReplayService/Stage", kRollout | kLearner, kReplay},
    {"/dtrpo.v1.ReplayService/Settle", kCoordinator, kReplay},
    {"/dtrpo.v1.ReplayService/GetBatch", kLearner, kReplay},
    {"/dtrpo.v1.ReplayService/Acknowledge", kLearner, kReplay},
    {"/dtrpo.v1.ReplayService/UpdatePriorities", kLearner, kReplay},
    {"/dtrpo.v1.ReplayService/GetReplayStats", kLookers | kCoordinator, kReplay},
    {"/dtrpo.v1.ReplayService/ListReplayJobs", kLookers | kCoordinator, kReplay},
    // What is in items is the job's data.
    {"/dtrpo.v1.ReplayService/ListItems", kUsers, kReplay},
    {"/dtrpo.v1.ReplayService/GetItem", kUsers, kReplay},
    {"/dtrpo.v1.ReplayService/GetItems", kLearner | kUsers, kReplay},

    // The other workers, and rewards.
    {"/dtrpo.v1.ReferenceService/Score", kLearner, kReference},
    {"/dtrpo.v1.WeightsService/PushWeights", kLearner, kRollout},
    {"/dtrpo.v1.GenerateService/Generate", kUsers, kRollout},
    {"/dtrpo.v1.RewardService/Judge", kRollout | kUsers, kReward},
    {"/dtrpo.v1.RewardService/ListRewards", kRollout | kUsers | kCoordinator, kReward},
};

}  // namespace

absl::Span<const AccessRow> AccessTable() { return kTable; }

std::vector<absl::string_view> MethodsServedBy(Role role) {
  std::vector<absl::string_view> methods;
  for (const AccessRow& row : kTable) {
    if (row.servers.Has(role)) methods.push_back(row.method);
  }
  return methods;
}

std::vector<absl::string_view> MethodsCalledBy(Role role) {
  std::vector<absl::string_view> methods;
  for (const AccessRow& row : kTable) {
    if (row.callers.Has(role) && IsOwnMethod(row.method)) methods.push_back(row.method);
  }
  return methods;
}

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
