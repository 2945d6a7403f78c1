"""What the dashboards show: an overview, and one for each role."""

from alerts import ALERTS
from panels import dashboard, mean, of_run, panel, quantiles, rate, select, stat

ACTIVE = 'state=~"RUNNING|RESTARTING"'
WAITING = 'phase="batch_wait"'
TRAIN = 'purpose="train"'
CORRECT = 'outcome="correct"'
FAILED = 'outcome="failed"'
RUN = 'run=~"$run"'


def called(targets: list) -> list:
    """Without the methods that nobody calls now: all have their series from the start."""
    return [(f"{expr} > 0", legend) for expr, legend in targets]


def calls(role: str) -> dict:
    """Rows that every role has: the calls it serves and makes, and its process."""
    of = f'role="{role}"'
    bad = 'grpc_code=~"INTERNAL|UNKNOWN|DATA_LOSS"'
    served = "dtrpo_rpc_server_handled_total"
    answered = [
        panel("Calls served", "Calls that got their status, by method.", "reqps",
              called([(rate(served, of, by="grpc_method"), "{{grpc_method}}")])),
        panel("Calls served by status", "Statuses other than OK are also back-pressure and polls that ended.", "reqps",
              called([(rate(served, of, by="grpc_code"), "{{grpc_code}}")])),
        panel("Share of own errors", "Calls that ended as INTERNAL, UNKNOWN or DATA_LOSS.", "percentunit",
              [(f"{rate(served, of, bad, by='role')} / {rate(served, of, by='role')}", "{{role}}")], alert=ALERTS["DtrpoRpcErrors"]),
        panel("Time of calls served, p99", "From the start of a call to its status.", "s",
              called(quantiles("dtrpo_rpc_server_handling_seconds", of, by="grpc_method", at=(0.99,)))),
        panel("Calls that are worked on", "And how many may be at once: a call beyond is refused as server_busy.", "short",
              [(f"sum by (instance) ({select('dtrpo_rpc_server_running_count', of)})", "{{instance}}"),
               (f"max({select('dtrpo_rpc_server_running_limit', of)})", "limit")]),
    ]
    made = [
        panel("Calls made by status", "What this role asks of others.", "reqps",
              called([(rate("dtrpo_rpc_client_handled_total", of, by="grpc_method, grpc_code"),
                       "{{grpc_method}} {{grpc_code}}")])),
        panel("Time of calls made, p99", "As this role sees it, network included.", "s",
              called(quantiles("dtrpo_rpc_client_handling_seconds", of, by="grpc_method", at=(0.99,)))),
    ]
    return {
        # The learner is called by nobody, the replay store calls nobody.
        "Calls": (answered if role != "learner" else []) + (made if role != "replay" else []),
        "Process": [
            panel("CPU", "Cores in use.", "short",
                  [(f"rate({select('process_cpu_seconds_total', of)}[$__rate_interval])", "{{instance}}")], width=6),
            panel("Memory", "Resident memory.", "bytes",
                  [(select("process_resident_memory_bytes", of), "{{instance}}")], width=6),
            panel("Open files", "As a share of the limit.", "percentunit",
                  [(f"{select('process_open_fds', of)} / {select('process_max_fds', of)}", "{{instance}}")],
                  alert=ALERTS["DtrpoFilesNearLimit"], width=6),
            panel("Waits under way", "By the role that is waited for.", "short",
                  [(f"sum by (on) ({select('dtrpo_waiting_count', of)})", "{{on}}")], width=6),
        ],
    }


def overview() -> str:
    job = "dtrpo_coordinator_job_"
    phase = "dtrpo_learner_step_phase_seconds_sum"
    return dashboard("overview", "Overview", "Is it healthy, how fast is it, how stale are its pairs, and who waits "
                     "for whom.", {
        "Health": [
            stat("Services down", "Processes that Prometheus can't scrape.", "short",
                 'count(up{job=~".*dtrpo.*"} == 0) or vector(0)'),
            stat("Jobs running", "Running now.", "short",
                 f"sum({select('dtrpo_coordinator_jobs_count', ACTIVE)})"),
            stat("Workers", "Registered with the coordinator.", "short",
                 [(f"sum by (worker_role) ({select('dtrpo_coordinator_workers_count')})", "{{worker_role}}")], width=8),
            stat("Replay shards silent", "Shards that don't answer the coordinator.", "short",
                 f"sum({select('dtrpo_coordinator_replay_shards_count')}) - "
                 f"sum({select('dtrpo_coordinator_replay_answering_count')})",
                 alert=ALERTS["DtrpoReplayUnreachable"]),
            stat("Versions of the binaries", "More than one during an upgrade.", "short",
                 f"count(count by (version, git) ({select('dtrpo_build_info')}))"),
            panel("Starts of processes", "How often each started within half an hour.", "short",
                  [(f"changes({select('process_start_time_seconds')}[30m])", "{{role}} {{instance}}")],
                  alert=ALERTS["DtrpoServiceRestarts"]),
            panel("Scrapes that work", "1: the service answered Prometheus.", "short",
                  [('up{job=~".*dtrpo.*"}', "{{instance}}")], alert=ALERTS["DtrpoServiceDown"]),
            panel("Certificates", "Time until the first in the file ends; nothing in plain text.", "s",
                  [(f"min by (role, instance, certificate) ({select('dtrpo_tls_certificate_expiry_timestamp_seconds')})"
                    " - time()", "{{role}} {{instance}} {{certificate}}")],
                  alert=ALERTS["DtrpoCertificateExpires"]),
            panel("Workers lost", "Within ten minutes, by role.", "short",
                  [(f"sum by (worker_role) (increase({select('dtrpo_coordinator_workers_lost_total')}[10m]))",
                    "{{worker_role}}")], alert=ALERTS["DtrpoWorkerLost"]),
        ],
        "Job": [
            panel("Step", "Learner step and the steps asked for.", "short",
                  [(of_run(job + "step_number"), "{{run}}"), (of_run(job + "steps_wanted"), "{{run}} wanted")]),
            panel("Held-out accuracy", "Of the newest complete evaluation.", "percentunit",
                  [(of_run(job + "heldout_accuracy_ratio"), "{{run}}")]),
            panel("Reward", "Mean of the last 100 prompts.", "short", [(of_run(job + "reward_mean"), "{{run}}")]),
        ],
        "Throughput": [
            panel("Tokens sampled", "For training, as the rollouts report them.", "short",
                  [(of_run(job + "rollout_tokens_per_second"), "{{run}} tokens/s")]),
            panel("Pairs a second", "Stored by rollouts, taken into batches, trained on.", "short",
                  [(rate("dtrpo_replay_inserted_pairs_total", RUN), "stored"),
                   (rate("dtrpo_replay_sampled_pairs_total", RUN), "into batches"),
                   (rate("dtrpo_learner_pairs_total"), "trained on")]),
            panel("Tokens per forward", "Tokens that a forward of a sequence unmasks, over all rollouts.", "short",
                  [(f"{rate('dtrpo_rollout_generated_tokens_total', RUN)} / {rate('dtrpo_rollout_sequence_forwards_total', RUN)}",
                    "tokens per forward")]),
        ],
        "Staleness": [
            panel("Staleness of trained pairs", "Versions between a pair's weights and the policy's.", "short",
                  quantiles("dtrpo_learner_pair_staleness_versions")),
            panel("Weights lag", "Versions that each rollout serves behind the newest.", "short",
                  [(select("dtrpo_rollout_weights_lag_versions"), "{{instance}}")], alert=ALERTS["DtrpoWeightsLag"]),
            panel("Pairs that grew stale", "Evicted before their first use, as a share of those stored.", "percentunit",
                  [(f"{rate('dtrpo_replay_evicted_pairs_total', RUN)} / {rate('dtrpo_replay_inserted_pairs_total', RUN)}",
                    "evicted")], alert=ALERTS["DtrpoReplayEvicts"]),
        ],
        "Who waits for whom": [
            panel("Time in waits", "Seconds of waiting per second, of waits that ended: who on whom. Several threads of "
                  "a process may wait at once.", "short",
                  [(rate("dtrpo_wait_seconds_total", by="role, on"), "{{role}} on {{on}}")], width=12),
            panel("Learner's time by phase", "batch_wait is the learner standing still.", "short",
                  [(rate(phase, by="phase"), "{{phase}}")], width=6, stacked=True),
            panel("Learner waits for batches", "Share of its time.", "percentunit",
                  [(f"sum(rate({select(phase, WAITING)}[$__rate_interval])) / {rate(phase)}",
                    "waiting")], alert=ALERTS["DtrpoLearnerWaits"], width=6),
        ],
    })


def coordinator() -> str:
    job = "dtrpo_coordinator_job_"
    return dashboard("coordinator", "Coordinator", "Jobs, workers, leases, evaluations, and the coordinator's log.", {
        "Jobs": [
            panel("Jobs by state", "All that this coordinator knows.", "short",
                  [(f"sum by (state) ({select('dtrpo_coordinator_jobs_count')})", "{{state}}")]),
            panel("Jobs submitted", "Accepted since the process started.", "short",
                  [(f"sum({select('dtrpo_coordinator_jobs_submitted_total')})", "submitted")]),
            panel("Steps in 15 minutes", "Of each job.", "short",
                  [(f"sum by (run) (increase({of_run(job + 'step_number')}[15m]))", "{{run}}")],
                  alert=ALERTS["DtrpoJobStalled"]),
            panel("Learner attempts begun in half an hour", "More than the first means that a learner was lost.",
                  "short", [(f"max by (run) (changes({of_run(job + 'learner_attempt_number')}[30m]))", "{{run}}")],
                  alert=ALERTS["DtrpoJobRestarts"]),
            panel("Weights version", "Newest published.", "short",
                  [(of_run(job + "weights_version_number"), "{{run}}")]),
            panel("Prompts by state", "Training prompts of the job.", "short",
                  [(f"sum by (state) ({of_run(job + 'prompts_count')})", "{{state}}")], stacked=True),
        ],
        "Workers and leases": [
            panel("Workers", "Registered, by role.", "short",
                  [(f"sum by (worker_role) ({select('dtrpo_coordinator_workers_count')})", "{{worker_role}}")]),
            panel("Leases granted", "Prompts a second, by kind.", "short",
                  [(rate("dtrpo_coordinator_leases_total", by="kind"), "{{kind}}")]),
            panel("Leases ended", "Prompts a second, by what was reported.", "short",
                  [(rate("dtrpo_coordinator_leases_ended_total", by="outcome"), "{{outcome}}")]),
        ],
        "Evaluations": [
            panel("Held-out accuracy", "Of the newest complete evaluation.", "percentunit",
                  [(of_run(job + "heldout_accuracy_ratio"), "{{run}}")], width=12),
            panel("Complete evaluations", "So far.", "short", [(of_run(job + "evaluations_count"), "{{run}}")],
                  width=12),
        ],
        "Rewards": [
            panel("Reward", "Mean of the job's last 100 prompts.", "short", [(of_run(job + "reward_mean"), "{{run}}")]),
            panel("Prompts by their answers", "Share of the job's last 100 prompts: without a pair, all right, all "
                  "wrong.", "percentunit",
                  [(of_run(job + "prompts_no_pair_ratio"), "no pair"),
                   (of_run(job + "prompts_all_right_ratio"), "all right"),
                   (of_run(job + "prompts_all_wrong_ratio"), "all wrong")]),
            panel("Answers put aside", "Their reward failed, timed out or was no number.", "short",
                  [(of_run(job + "failed_answers_count"), "{{run}}")]),
        ],
        "Log and replay store": [
            panel("Time until an answer is logged", "fsync included; every answer that changed something waits for it.",
                  "s", quantiles("dtrpo_coordinator_log_confirm_seconds"), alert=ALERTS["DtrpoCoordinatorLogSlow"]),
            panel("Recovery", "Time the log took when the process started.", "s",
                  [(select("dtrpo_coordinator_recovery_seconds"), "{{instance}}")]),
            panel("Failed calls of the replay store", "They are made again.", "reqps",
                  [(rate("dtrpo_coordinator_replay_failures_total"), "failures")]),
        ],
        **calls("coordinator"),
    }, role="coordinator")


def rollout() -> str:
    push = "dtrpo_rollout_weights_push_seconds"
    return dashboard("rollout", "Rollout", "Sampling, judging, pairs, and weights that arrive.", {
        "Sampling": [
            panel("Tokens", "Target tokens of finished samples.", "short",
                  [(rate("dtrpo_rollout_generated_tokens_total", RUN, by="instance"), "{{instance}} tokens/s")]),
            panel("Samples", "Finished samples.", "short",
                  [(rate("dtrpo_rollout_samples_total", RUN, by="instance"), "{{instance}} samples/s")]),
            panel("Forwards", "Of the policy, and summed over the sequences in them (NFE).", "short",
                  [(rate("dtrpo_rollout_forwards_total", RUN), "forwards/s"),
                   (rate("dtrpo_rollout_sequence_forwards_total", RUN), "sequence forwards/s")]),
            panel("Tokens per forward of a sample", "What the unmask policy makes of a forward.", "short",
                  quantiles("dtrpo_rollout_sample_tokens_per_forward", RUN, at=(0.05, 0.5, 0.95))),
            panel("Denoising steps of a sample", "With the clean passes that end blocks.", "short",
                  quantiles("dtrpo_rollout_sample_forwards", RUN, at=(0.05, 0.5, 0.95))),
            panel("Length of a sample", "Target tokens.", "short",
                  quantiles("dtrpo_rollout_sample_tokens", RUN, at=(0.05, 0.5, 0.95))),
            panel("Fill of forwards", "Sequences of a forward as a share of batch_sequences.", "percentunit",
                  [(mean("dtrpo_rollout_batch_fill_ratio", RUN, by="instance"), "{{instance}}")]),
            panel("Time of a round", "Sampling of one round of leased prompts.", "s",
                  quantiles("dtrpo_rollout_sample_seconds", RUN)),
            panel("Prompts in hand", "Leased and not reported.", "short",
                  [(select("dtrpo_rollout_leased_prompts"), "{{instance}}")]),
            panel("Keys and values", "Bytes that the sequences of a forward hold, and may; 0 between rounds, and for models "
                  "without a cache.", "bytes",
                  [(f"max by (instance) ({of_run('dtrpo_rollout_kv_cache_bytes')})", "{{instance}}"),
                   (f"max({select('dtrpo_rollout_kv_cache_limit_bytes')})", "limit")], width=24),
        ],
        "Judging and pairs": [
            panel("Verifier's outcomes", "Samples a second, by purpose.", "short",
                  [(rate("dtrpo_rollout_judged_samples_total", RUN, by="purpose, outcome"), "{{purpose}} {{outcome}}")]),
            panel("Correct samples", "Share of training samples that the verifier calls correct.", "percentunit",
                  [(f"{rate('dtrpo_rollout_judged_samples_total', RUN, TRAIN, CORRECT)} / "
                    f"{rate('dtrpo_rollout_judged_samples_total', RUN, TRAIN)}", "correct")]),
            panel("Reward", "Mean of training samples.", "short",
                  [(mean("dtrpo_rollout_sample_reward", RUN, by="instance"), "{{instance}}")]),
            panel("Prompts by outcome", "Leased prompts a second, by how they ended.", "short",
                  [(rate("dtrpo_rollout_prompts_total", RUN, by="outcome"), "{{outcome}}")]),
            panel("Prompts that fail", "Share of all.", "percentunit",
                  [(f"{rate('dtrpo_rollout_prompts_total', RUN, FAILED)} / "
                    f"{rate('dtrpo_rollout_prompts_total', RUN)}", "failed")], alert=ALERTS["DtrpoPromptsFail"]),
            panel("Training prompts by their answers", "All right, all wrong or mixed; only mixed ones make pairs.",
                  "short", [(rate("dtrpo_rollout_judged_prompts_total", RUN, by="answers"), "{{answers}}")]),
            panel("Pairs", "Preference pairs stored in replay.", "short",
                  [(rate("dtrpo_rollout_pairs_total", RUN), "pairs/s")]),
            panel("What couldn't be judged", "A second: prompts, samples put aside, failed calls of reward services.",
                  "short", [(rate("dtrpo_rollout_judge_failures_total", RUN), "prompts"),
                            (rate("dtrpo_rollout_failed_samples_total", RUN), "samples"),
                            (rate("dtrpo_rollout_reward_failed_calls_total", RUN), "reward calls")]),
            panel("Wait for replay's confirmation", "Of one prompt, back-pressure included.", "s",
                  quantiles("dtrpo_rollout_insert_wait_seconds", RUN)),
        ],
        "Weights": [
            panel("Version", "That serves.", "short", [(select("dtrpo_rollout_weights_version"), "{{instance}}")]),
            panel("Lag", "Versions behind the newest published one.", "short",
                  [(select("dtrpo_rollout_weights_lag_versions"), "{{instance}}")], alert=ALERTS["DtrpoWeightsLag"]),
            panel("Versions held", "The newest, and those that evaluations are pinned to.", "short",
                  [(select("dtrpo_rollout_weights_held_count"), "{{instance}}")]),
            panel("A push by phase", "Mean seconds: chunks received, the whole checked, the version installed.", "s",
                  [(mean(push, by="phase"), "{{phase}}")]),
            panel("Bytes received", "Of weights.", "Bps",
                  [(rate("dtrpo_rollout_weights_received_bytes_total", by="instance"), "{{instance}}")]),
            panel("Pushes refused", "Or broken off.", "short",
                  [(rate("dtrpo_rollout_weights_refused_total", by="instance"), "{{instance}}")]),
        ],
        "Generate": [
            panel("Calls by outcome", "Of the public Generate call.", "reqps",
                  [(rate("dtrpo_rollout_generate_calls_total", by="outcome"), "{{outcome}}")], width=6),
            panel("Calls that run", "And how many may.", "short",
                  [(f"sum({select('dtrpo_rollout_generate_running')})", "running"),
                   (f"sum({select('dtrpo_rollout_generate_limit')})", "limit")], width=6),
            panel("Tokens sent", "To callers.", "short", [(rate("dtrpo_rollout_generate_tokens_total"), "tokens/s")],
                  width=6),
            panel("Time of an answer", "Of calls that weren't refused.", "s",
                  quantiles("dtrpo_rollout_generate_seconds"), width=6),
        ],
        **calls("rollout"),
    }, role="rollout")


def replay() -> str:
    free = select("dtrpo_replay_free_disk_bytes")
    return dashboard("replay", "Replay", "What is stored, what comes and goes, and the log.", {
        "Contents": [
            panel("Pairs", "Stored; those that fit the next batch; those in batches not acknowledged.", "short",
                  [(f"sum({select('dtrpo_replay_stored_pairs', RUN)})", "stored"),
                   (f"sum({select('dtrpo_replay_available_pairs', RUN)})", "for the next batch"),
                   (f"sum({select('dtrpo_replay_assigned_pairs', RUN)})", "in batches")]),
            panel("Bytes", "Of stored pairs.", "bytes",
                  [(f"sum by (instance) ({select('dtrpo_replay_stored_bytes', RUN)})", "{{instance}}")]),
            panel("Disk", "What the store's files take, and what is left; -1: the engine can't tell.", "bytes",
                  [(select("dtrpo_replay_disk_bytes"), "{{instance}} taken"), (free, "{{instance}} left")],
                  alert=ALERTS["DtrpoReplayDiskLow"]),
        ],
        "In and out": [
            panel("Pairs a second", "Inserted, sampled into batches, consumed, evicted as stale.", "short",
                  [(rate("dtrpo_replay_inserted_pairs_total", RUN), "inserted"),
                   (rate("dtrpo_replay_sampled_pairs_total", RUN), "sampled"),
                   (rate("dtrpo_replay_consumed_pairs_total", RUN), "consumed"),
                   (rate("dtrpo_replay_evicted_pairs_total", RUN), "evicted")]),
            panel("Uses per inserted pair", "Samples by inserts.", "short",
                  [(f"{rate('dtrpo_replay_sampled_pairs_total', RUN)} / {rate('dtrpo_replay_inserted_pairs_total', RUN)}",
                    "samples per insert")]),
            panel("Evicted", "Share of inserted pairs that grew stale unused.", "percentunit",
                  [(f"{rate('dtrpo_replay_evicted_pairs_total', RUN)} / {rate('dtrpo_replay_inserted_pairs_total', RUN)}",
                    "evicted")], alert=ALERTS["DtrpoReplayEvicts"]),
            panel("Prompts a second", "Stored, without a pair, repeated inserts, inserts put off.", "short",
                  [(rate("dtrpo_replay_inserted_prompts_total", RUN), "stored"),
                   (rate("dtrpo_replay_no_pair_prompts_total", RUN), "no pair"),
                   (rate("dtrpo_replay_duplicate_inserts_total", RUN), "repeated"),
                   (rate("dtrpo_replay_refused_inserts_total", RUN), "put off: full")]),
            panel("Batches", "Formed a minute.", "short",
                  [(f"60 * {rate('dtrpo_replay_formed_batches_total', RUN)}", "batches/min")]),
            panel("Lag of batches", "Versions between a pair and the batch it is put into.", "short",
                  quantiles("dtrpo_replay_pair_lag_versions", RUN)),
        ],
        "Waits and log": [
            panel("Wait of batch requests", "For pairs that the limits let into the batch.", "s",
                  quantiles("dtrpo_replay_batch_wait_seconds", RUN)),
            panel("Wait for the log", "Until a step is as durable as its job asks; callers share the fsync.", "s",
                  quantiles("dtrpo_replay_log_confirm_seconds"), alert=ALERTS["DtrpoReplayLogSlow"]),
            panel("Time of an fsync", "Or commit, of the disk (server) alone.", "s",
                  quantiles("dtrpo_replay_log_sync_seconds")),
            panel("fsyncs", "Or commits, that confirmed something.", "short",
                  [(rate("dtrpo_replay_log_sync_seconds_count", by="instance"), "{{instance}}")]),
            panel("Steps of an fsync", "Inserts and batches that one made durable: callers share it.", "short",
                  quantiles("dtrpo_replay_log_sync_steps", at=(0.5, 0.95))),
            panel("Recovery", "Time the log took when the process started.", "s",
                  [(select("dtrpo_replay_recovery_seconds"), "{{instance}}")]),
        ],
        **calls("replay"),
    }, role="replay")


def learner() -> str:
    def value(title: str, description: str, *metrics: str, unit: str = "short", alert=None) -> dict:
        return panel(title, description, unit,
                     [(of_run("dtrpo_learner_" + metric), f"{{{{run}}}} {metric}") for metric in metrics], alert=alert)

    return dashboard("learner", "Learner", "Steps and where their time goes, what they learn, and what they publish.", {
        "Steps": [
            value("Step", "Made last.", "step_number"),
            panel("Steps and pairs", "A minute.", "short",
                  [(f"60 * {rate('dtrpo_learner_steps_total')}", "steps"),
                   (f"60 * {rate('dtrpo_learner_pairs_total')}", "pairs")]),
            panel("Target tokens", "Scored tokens of the pairs trained on.", "short",
                  [(rate("dtrpo_learner_target_tokens_total"), "tokens/s")]),
            panel("Time of a step by phase", "Mean; batch_wait is the learner standing still.", "s",
                  [(mean("dtrpo_learner_step_phase_seconds", by="phase"), "{{phase}}")], stacked=True),
            panel("Time of a step", "Forward, backward and update.", "s", quantiles("dtrpo_learner_step_seconds")),
            panel("Skipped steps", "In 15 minutes, for numbers that aren't finite.", "short",
                  [(f"sum(increase({select('dtrpo_learner_skipped_steps_total')}[15m]))", "skipped")],
                  alert=ALERTS["DtrpoStepsSkipped"]),
            panel("Batches ahead", "Fetched and scored, waiting for their step.", "short",
                  [(select("dtrpo_learner_batches_ahead_count"), "{{instance}}")]),
            panel("Reference scoring", "Of one batch, overlapped with the step before.", "s",
                  quantiles("dtrpo_learner_reference_seconds")),
            panel("Staleness of pairs", "Versions between a pair's weights and the policy's.", "short",
                  quantiles("dtrpo_learner_pair_staleness_versions")),
        ],
        "What is learnt": [
            value("Loss", "Of the last step, and its parts.", "loss", "preference_loss", "sft_loss"),
            value("Margin", "Mean beta * (R(chosen) - R(rejected)).", "margin"),
            value("Reward accuracy", "Share of pairs with a positive margin.", "pair_accuracy_ratio",
                  unit="percentunit"),
            value("Log-ratios", "Mean R of chosen and rejected answers.", "log_ratio_chosen", "log_ratio_rejected"),
            value("Rewards", "Mean of chosen and rejected answers.", "reward_chosen", "reward_rejected"),
            value("Gradient norm", "Before clipping.", "gradient_norm"),
            value("Learning rate", "Of the last step.", "learning_rate"),
            value("Estimator variance", "Of the estimate of R.", "estimator_variance"),
            value("Off-policy factor", "Mean rho; 1 when the correction is off.", "off_policy_ratio"),
            value("Rollout's against learner's log-probability", "Mean difference per token at equal weights, in nats.",
                  "logprob_mismatch_nats", alert=ALERTS["DtrpoLogprobMismatch"]),
        ],
        "What is published": [
            value("Weights version", "Newest published.", "weights_version"),
            panel("A version by phase", "Mean seconds: image made, registered, pushed to one rollout.", "s",
                  [(mean("dtrpo_learner_publish_seconds", by="phase"), "{{phase}}")]),
            panel("Bytes pushed", "To rollouts.", "Bps", [(rate("dtrpo_learner_pushed_bytes_total"), "bytes/s")]),
            panel("Pushes that fail", "They are tried again.", "short",
                  [(rate("dtrpo_learner_push_failures_total"), "failures/s")], alert=ALERTS["DtrpoPushFailures"]),
            panel("Checkpoint", "Time that writing one takes.", "s", quantiles("dtrpo_learner_checkpoint_seconds")),
            panel("Age of the checkpoint", "Of the newest one.", "s",
                  [(f"time() - max({select('dtrpo_learner_checkpoint_timestamp_seconds')} > 0)", "age")],
                  alert=ALERTS["DtrpoCheckpointOld"]),
        ],
        **calls("learner"),
    }, role="learner")


def reference() -> str:
    hits = rate("dtrpo_reference_cache_hits_total")
    return dashboard("reference", "Reference", "Scoring with the frozen base model.", {
        "Scoring": [
            panel("Trajectories scored", "From the cache or by a forward.", "short",
                  [(rate("dtrpo_reference_scored_trajectories_total", by="instance"), "{{instance}}")]),
            panel("Cache hits", "Share of trajectories.", "percentunit",
                  [(f"{hits} / {rate('dtrpo_reference_scored_trajectories_total')}", "hits")]),
            panel("Trajectories that wait", "For the next forward.", "short",
                  [(f"sum by (instance, pod) ({select('dtrpo_reference_waiting_trajectories')})", "{{instance}}")],
                  alert=ALERTS["DtrpoReferenceQueue"]),
            panel("Fill of forwards", "Trajectories of a forward as a share of the limit.", "percentunit",
                  quantiles("dtrpo_reference_batch_fill_ratio", at=(0.05, 0.5, 0.95))),
            panel("Forwards", "And those that answered several calls at once.", "short",
                  [(rate("dtrpo_reference_forwards_total"), "forwards/s"),
                   (rate("dtrpo_reference_shared_forwards_total"), "shared/s")]),
            panel("Time of a forward", "Head included.", "s", quantiles("dtrpo_reference_forward_seconds")),
            panel("Score cache", "Bytes held, and how many it may hold.", "bytes",
                  [(select("dtrpo_reference_cache_bytes"), "{{instance}} held"),
                   (select("dtrpo_reference_cache_limit_bytes"), "{{instance}} limit")], width=24),
        ],
        **calls("reference"),
    }, role="reference")


DASHBOARDS = {"overview": overview, "coordinator": coordinator, "rollout": rollout, "replay": replay,
              "learner": learner, "reference": reference}
