"""The alert rules: one table for deploy/prometheus/rules.yaml and for the lines in the dashboards."""

import dataclasses
import json

RUNBOOKS = "docs/runbooks"  # of the repository; a page each


@dataclasses.dataclass(frozen=True)
class Alert:
    name: str
    value: str  # expression of what is compared
    operator: str
    threshold: float
    wait: str
    severity: str
    summary: str
    when: str = ""  # further condition on the same labels

    @property
    def expr(self) -> str:
        compared = f"{self.value} {self.operator} {self.threshold:.15g}"
        return f"({compared}) {self.when}" if self.when else compared


_ALERTS = [
    Alert("DtrpoServiceDown", 'up{job=~".*dtrpo.*"}', "<", 1, "2m", "critical",
          "{{ $labels.instance }} has not answered Prometheus for 2 minutes"),
    Alert("DtrpoServiceRestarts", "changes(process_start_time_seconds{role!=\"\"}[30m])", ">", 3, "1m", "warning",
          "{{ $labels.role }} {{ $labels.instance }} started {{ $value }} times in half an hour"),
    Alert("DtrpoFilesNearLimit", 'process_open_fds{role!=""} / process_max_fds{role!=""}', ">", 0.8, "10m", "warning",
          "{{ $labels.role }} {{ $labels.instance }} has {{ $value | humanizePercentage }} of its files open"),
    Alert("DtrpoCertificateExpires",
          "min by (role, instance, certificate) (dtrpo_tls_certificate_expiry_timestamp_seconds) - time()", "<",
          14 * 86400, "10m", "warning",
          "{{ $labels.role }} {{ $labels.instance }}: certificate {{ $labels.certificate }} ends in "
          "{{ $value | humanizeDuration }}"),
    Alert("DtrpoRpcErrors",
          'sum by (role) (rate(dtrpo_rpc_server_handled_total{grpc_code=~"INTERNAL|UNKNOWN|DATA_LOSS"}[5m])) '
          "/ sum by (role) (rate(dtrpo_rpc_server_handled_total[5m]))", ">", 0.05, "5m", "critical",
          "{{ $value | humanizePercentage }} of the calls of {{ $labels.role }} end with an error of its own"),
    Alert("DtrpoWorkerLost", "sum by (worker_role) (increase(dtrpo_coordinator_workers_lost_total[10m]))", ">", 0,
          "1m", "warning", "A {{ $labels.worker_role }} fell silent in the last ten minutes"),
    Alert("DtrpoReplayUnreachable",
          "dtrpo_coordinator_replay_shards_count - dtrpo_coordinator_replay_answering_count", ">=", 1, "1m",
          "critical", "{{ $value }} replay shards don't answer the coordinator"),
    Alert("DtrpoJobStalled", "sum by (run) (increase(dtrpo_coordinator_job_step_number[15m]))", "<", 1, "5m",
          "critical", "Job {{ $labels.run }} has made no step for 15 minutes",
          'and on() sum(dtrpo_coordinator_jobs_count{state=~"RUNNING|RESTARTING"}) > 0 and on(run) '
          "(sum by (run) (dtrpo_coordinator_job_step_number) < sum by (run) (dtrpo_coordinator_job_steps_wanted))"),
    Alert("DtrpoJobRestarts", "max by (run) (changes(dtrpo_coordinator_job_learner_attempt_number[30m]))", ">", 2,
          "1m", "warning", "Job {{ $labels.run }} began {{ $value }} learner attempts in half an hour"),
    Alert("DtrpoCoordinatorLogSlow",
          "histogram_quantile(0.99, sum by (le) (rate(dtrpo_coordinator_log_confirm_seconds_bucket[5m])))", ">", 1,
          "10m", "warning", "Answers of the coordinator wait {{ $value | humanizeDuration }} for its log"),
    Alert("DtrpoWeightsLag", "max by (instance, pod) (dtrpo_rollout_weights_lag_versions)", ">", 4, "5m", "warning",
          "Rollout {{ $labels.instance }} is {{ $value }} weights versions behind"),
    Alert("DtrpoPushFailures", "sum(rate(dtrpo_learner_push_failures_total[5m]))", ">", 0.1, "10m", "warning",
          "Pushes of weights fail {{ $value }} times a second"),
    Alert("DtrpoPromptsFail",
          'sum(rate(dtrpo_rollout_prompts_total{outcome="failed"}[10m])) / sum(rate(dtrpo_rollout_prompts_total[10m]))',
          ">", 0.05, "10m", "warning", "{{ $value | humanizePercentage }} of the prompts fail"),
    Alert("DtrpoLearnerWaits",
          'sum(rate(dtrpo_learner_step_phase_seconds_sum{phase="batch_wait"}[15m])) '
          "/ sum(rate(dtrpo_learner_step_phase_seconds_sum[15m]))", ">", 0.8, "15m", "warning",
          "The learner spends {{ $value | humanizePercentage }} of its time waiting for batches"),
    Alert("DtrpoStepsSkipped", "sum(increase(dtrpo_learner_skipped_steps_total[15m]))", ">", 0, "1m", "warning",
          "The learner skipped {{ $value }} steps for numbers that aren't finite"),
    Alert("DtrpoLogprobMismatch", "max by (run) (dtrpo_learner_logprob_mismatch_nats)", ">", 0.1, "5m", "warning",
          "Rollout and learner disagree by {{ $value }} nats a token at equal weights"),
    Alert("DtrpoCheckpointOld", "time() - max(dtrpo_learner_checkpoint_timestamp_seconds > 0)", ">", 7200, "5m",
          "warning", "The newest checkpoint is {{ $value | humanizeDuration }} old",
          "and on() sum(rate(dtrpo_learner_steps_total[15m])) > 0"),
    Alert("DtrpoReplayDiskLow", "min by (instance, pod) (dtrpo_replay_free_disk_bytes >= 0)", "<", 5e9, "5m",
          "critical", "The disk of replay store {{ $labels.instance }} has {{ $value | humanize1024 }}B left"),
    Alert("DtrpoReplayLogSlow",
          "histogram_quantile(0.99, sum by (le) (rate(dtrpo_replay_log_confirm_seconds_bucket[5m])))", ">", 1, "10m",
          "warning", "Inserts wait {{ $value | humanizeDuration }} for the replay store's log"),
    Alert("DtrpoReplayEvicts",
          "sum(rate(dtrpo_replay_evicted_pairs_total[15m])) / sum(rate(dtrpo_replay_inserted_pairs_total[15m]))", ">",
          0.2, "15m", "warning", "{{ $value | humanizePercentage }} of the pairs grow stale before their first use"),
    Alert("DtrpoReferenceQueue", "sum by (instance, pod) (dtrpo_reference_waiting_trajectories)", ">", 256, "10m",
          "warning", "{{ $value }} trajectories wait for reference {{ $labels.instance }}"),
]
ALERTS = {alert.name: alert for alert in _ALERTS}


def rules_yaml() -> str:
    """Every value in JSON's quotes, which are YAML's, too."""
    lines = ["# Made by deploy/grafana/generate.py from deploy/grafana/alerts.py.", "groups:", "  - name: dtrpo",
             "    rules:"]
    for alert in _ALERTS:
        lines += [f"      - alert: {alert.name}",
                  f"        expr: {json.dumps(alert.expr)}",
                  f"        for: {alert.wait}",
                  "        labels:",
                  f"          severity: {alert.severity}",
                  "        annotations:",
                  f"          summary: {json.dumps(alert.summary)}",
                  f"          runbook_url: {RUNBOOKS}/{alert.name}.md"]
    return "\n".join(lines) + "\n"
