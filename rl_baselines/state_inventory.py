"""Every attribute of the objects that a training run is made of: where it is saved, or why it need not be.

The tables go by class, and what they say of a class holds for its subclasses. An attribute that stands in none of them
must be an argument of the constructor. Of these and of all in `SETTLED`, a test compares what training leaves with a
freshly built object, and it names every attribute of which nothing is known.

The environments themselves have no table: the journal of `episode_seeds` brings back whatever is in them.
"""

from rl_baselines import replay_chunks
from rl_baselines.cma_es import SEARCH_STATE
from rl_baselines.snapshot import COUNTERS, TENSORS

_SNAPSHOT, _MODEL_ZIP, _JOURNAL, _STATISTICS = "snapshot", "model zip", "journal of each environment", "statistics"
_DECIDER = "state of the callback"
_OTHER_NAME = "another name of a part of the policy"
_EMPTIED = "emptied at the start of every rollout"
_OVERWRITTEN = "written anew by every step before it is read"
_OF_NOISE = "drawn anew at the start of every rollout and of every update"
_SEEDED = "seeded anew at the start of every rollout, from the seed and the counters"
_OF_COVARIANCE = "computed from the covariance when it is first needed, and dropped by every update"
_FOR_READERS = "a record for whoever reads it; no training does"
_PLACE = "where the run lies"

SAVED: dict[str, dict[str, str]] = {
    "BaseAlgorithm": {
        **dict.fromkeys((*COUNTERS, *TENSORS), _SNAPSHOT),
        **dict.fromkeys(("_last_lstm_states", "ep_info_buffer", "ep_success_buffer"), _SNAPSHOT),
        **dict.fromkeys(("_logger", "start_time", "action_noise", "action_space"), _SNAPSHOT),
        **dict.fromkeys(("policy", "ent_coef_optimizer", "log_ent_coef"), _MODEL_ZIP),
        "replay_buffer": "chunks",
        "env": "journal of each environment, stacks and returns",
        "search": _SNAPSHOT,
    },
    **dict.fromkeys(("CMA", "SepCMA"), dict.fromkeys((f"_{name}" for name in SEARCH_STATE), _SNAPSHOT)),
    "Module": dict.fromkeys(("_parameters", "_buffers"), _MODEL_ZIP),
    "BaseModel": {"optimizer": _MODEL_ZIP},
    "Optimizer": dict.fromkeys(("state", "param_groups"), _MODEL_ZIP),
    "ReplayBuffer": {
        **dict.fromkeys(replay_chunks.CHUNKED, "chunks"),
        **dict.fromkeys(replay_chunks.DESCRIBED, "description of the chunks"),
    },
    "VectorizedActionNoise": {"_noises": _SNAPSHOT},
    "OrnsteinUhlenbeckActionNoise": {"noise_prev": _SNAPSHOT},
    "Logger": dict.fromkeys(("name_to_value", "name_to_count", "name_to_excluded"), _SNAPSHOT),
    "DummyVecEnv": {"envs": _JOURNAL},
    "StackedObservations": {"stacked_obs": _SNAPSHOT},
    "VecNormalize": {
        **dict.fromkeys(("obs_rms", "ret_rms"), _STATISTICS),
        **dict.fromkeys(("returns", "old_obs", "old_reward"), _SNAPSHOT),
    },
    "EpisodeSeeds": dict.fromkeys(
        (
            *("sequence_seed", "next_episode", "_chosen_seeds", "_start_seed", "_options", "_actions"),
            *("_observation", "_lasting_state"),
        ),
        _JOURNAL,
    ),
    "Wrapper": {"env": _JOURNAL},
    "Monitor": dict.fromkeys(("rewards", "needs_reset", "current_reset_info"), _JOURNAL),
    "TimeLimit": {"_elapsed_steps": _JOURNAL},
    "OrderEnforcing": {"_has_reset": _JOURNAL},
    "BestModel": dict.fromkeys(("score", "timesteps", "is_new"), _DECIDER),  # when one is saved, it is new no more
    "BestByTraining": {"_seen": _DECIDER},
    "PeriodicEvaluation": dict.fromkeys(("last_result", "_last_timesteps", "_memories"), _DECIDER),
    "TaskEvaluation": dict.fromkeys(("_last_episodes", "_last_timesteps"), _DECIDER),
    "Checkpointing": dict.fromkeys(("_last_timesteps", "_saved_milestones"), _DECIDER),
    "Freezing": dict.fromkeys(("is_warming_up", "warm_up"), _DECIDER),
    "Retention": {"_penalty": _DECIDER},
    "MemoryDistance": dict.fromkeys(("_observations", "_targets", "_values", "_generator"), _DECIDER),
    "TeacherDistance": {"_teacher": _DECIDER},
    "StartDistance": dict.fromkeys(("_start", "_weights"), _DECIDER),
}
REBUILT: dict[str, dict[str, str]] = {
    "BaseAlgorithm": {
        "at_boundary": "set before learning starts",
        "material": "read again from the datasets, which have not changed",
        "teachers": "loaded again from their runs, which have not changed",
        "validation_loss": "offered at the boundary that follows",
        "exploration_schedule": "a pure function, from the configuration and the fraction among the counters",
        **dict.fromkeys(
            ("actor", "actor_target", "critic", "critic_target", "q_net", "q_net_target", "quantile_net"), _OTHER_NAME
        ),
        "quantile_net_target": _OTHER_NAME,
        **dict.fromkeys(
            (
                *("batch_norm_stats", "batch_norm_stats_target", "actor_batch_norm_stats"),
                *("actor_batch_norm_stats_target", "critic_batch_norm_stats", "critic_batch_norm_stats_target"),
            ),
            "lists of the policy's own tensors",
        ),
    },
    "Module": {"training": "set by every rollout and every update"},
    "RNNBase": dict.fromkeys(("_flat_weights", "_flat_weight_refs"), "other names of its parameters"),
    "CrossQPolicy": {"batch_norm_params": "names of its own parameters"},
    "Distribution": dict.fromkeys(("distribution", "gaussian_actions"), "of the latest batch"),
    "StateDependentNoiseDistribution": {
        **dict.fromkeys(("exploration_mat", "exploration_matrices", "weights_dist"), _OF_NOISE),
        "_latent_sde": "of the latest batch",
    },
    "Optimizer": {"_warned_capturable_if_run_uncaptured": "whether a warning was given"},
    "RolloutBuffer": {
        **dict.fromkeys(("observations", "actions", "rewards", "advantages", "returns", "episode_starts"), _EMPTIED),
        **dict.fromkeys(("log_probs", "values", "pos", "full", "generator_ready", "action_masks"), _EMPTIED),
        "mask_dims": "from the action space, whenever it is emptied",
        **dict.fromkeys(("hidden_states_pi", "cell_states_pi", "hidden_states_vf", "cell_states_vf"), _EMPTIED),
        **dict.fromkeys(
            ("seq_start_indices", "seq_end_indices", "pad", "pad_and_flatten"), "set when minibatches are drawn"
        ),
    },
    "CMA": {"_rng": _SEEDED, **dict.fromkeys(("_B", "_D"), _OF_COVARIANCE)},
    "SepCMA": {"_rng": _SEEDED, "_D": _OF_COVARIANCE},
    "VecEnv": {"reset_infos": _FOR_READERS},
    "VecEnvWrapper": {"class_attributes": "the members of its class"},
    "DummyVecEnv": dict.fromkeys(("actions", "buf_obs", "buf_dones", "buf_rews", "buf_infos"), _OVERWRITTEN),
    "ProcessVecEnv": dict.fromkeys(("_workers", "_end"), "processes of its own"),
    "Wrapper": {"_cached_spec": "computed when it is first asked for"},
    "Monitor": {
        **dict.fromkeys(("episode_returns", "episode_lengths", "episode_times", "total_steps"), _FOR_READERS),
        "t_start": "read from the file that it goes on with",
        "results_writer": "goes on with the file",
    },
    "Logger": {"dir": _PLACE},
    "ProgressFile": {"path": _PLACE, "_columns": "read from the file that it goes on with"},
    "TensorBoardOutputFormat": {"writer": "begins another file", "_is_closed": "whether the run is over"},
    "PeriodicEvaluation": {
        "_env": "every evaluation starts from the same seeds; what it remembers is in the state of the callback",
        "_make_env": "from the configuration",
        "on_result": "set before learning starts, where the run is watched",
        "file": _PLACE,
    },
    "TaskEvaluation": {
        "_make_envs": "from the configuration; the environments are made for every evaluation",
        "on_results": "set before learning starts, where the run is watched",
        "file": _PLACE,
    },
    "Checkpointing": {"folder": _PLACE, "_last_time": "a clock, started anew"},
    "CheckpointWriter": {
        "seconds": "a clock, goes on from the time in the state of the run",
        "origin": "from the configuration and the run's name",
        "_replay_timesteps": "set when the replay buffer is loaded",
    },
    "ReplayChunks": {"_saved": "set when the replay buffer is loaded"},
    "Freezing": {"_idle": "from what is frozen"},
    "ExtraLoss": {"_observations": "of the latest minibatch"},
    "StartDistance": {"_parameters": _OTHER_NAME},
}
_OF_SEARCH = (
    *("_n_dim", "_popsize", "_mu", "_mu_eff", "_cc", "_c1", "_cmu", "_c_sigma", "_d_sigma", "_cm", "_chi_n"),
    *("_weights", "_bounds", "_n_max_resampling"),
    *("_tolx", "_tolxup", "_tolfun", "_tolconditioncov", "_funhist_term"),
)
SETTLED: dict[str, tuple[str, ...]] = {
    "BaseAlgorithm": (
        *("lr_schedule", "delta_std_schedule", "policy_class", "rollout_buffer", "ent_coef_tensor"),
        *("_vec_normalize_env", "observation_space", "n_envs", "n_params", "pop_size", "processes"),
        *("_stats_window_size", "_custom_logger", "train_freq", "n_quantiles"),
        *("_total_timesteps", "_num_timesteps_at_start"),
    ),
    "Module": (
        *("_modules", "_non_persistent_buffers_set", "_is_full_backward_hook"),
        *("_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_hooks_with_kwargs"),
        *("_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
        *("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
    ),
    "BaseModel": (
        *("_squash_output", "action_dist", "dist_kwargs", "features_dim", "net_args", "actor_kwargs"),
        *("critic_kwargs", "sde_features_extractor", "q_networks", "quantiles_total", "critic"),
        *("lstm_hidden_state_shape", "lstm_output_dim"),
    ),
    "BaseFeaturesExtractor": ("_features_dim", "_observation_space"),
    "MlpExtractor": ("latent_dim_pi", "latent_dim_vf"),
    "BatchRenorm": ("rmax", "dmax"),
    "RNNBase": ("_all_weights", "_flat_weights_names"),
    "_ConvNd": ("_reversed_padding_repeated_twice",),
    "StateDependentNoiseDistribution": ("bijector", "latent_sde_dim"),
    "Optimizer": (
        *("_zero_grad_profile_name", "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"),
        *("_optimizer_state_dict_pre_hooks", "_optimizer_state_dict_post_hooks"),
        *("_optimizer_load_state_dict_pre_hooks", "_optimizer_load_state_dict_post_hooks"),
    ),
    "BaseBuffer": ("obs_shape", "action_dim"),
    "ReplayBuffer": replay_chunks.REBUILT,
    "VectorizedActionNoise": ("_base_noise",),
    "NormalActionNoise": ("_mu",),
    "OrnsteinUhlenbeckActionNoise": ("_mu",),
    "CMA": (
        *(*_OF_SEARCH, "_lr_adapt", "_alpha", "_beta_mean", "_beta_Sigma", "_gamma"),
        *("_Emean", "_ESigma", "_Vmean", "_VSigma", "_eta_mean", "_eta_Sigma"),
    ),
    "SepCMA": _OF_SEARCH,
    "VecEnv": ("render_mode", "metadata", "_seeds", "_options"),  # those two are for the next reset, and used up
    "DummyVecEnv": ("keys",),
    "ProcessVecEnv": ("_waiting",),
    "VecFrameStack": ("stacked_obs",),
    "StackedObservations": (
        *("stacked_observation_space", "sub_stacked_observations", "channels_first", "stack_dimension"),
        *("stacked_shape", "repeat_axis"),
    ),
    "VecTransposeImage": ("image_space_keys",),
    "VecNormalize": ("obs_spaces",),
    "Wrapper": ("_action_space", "_observation_space", "_metadata", "_saved_kwargs"),
    "EpisodeSeeds": ("_has_lasting_state",),
    "Logger": ("level",),
    "PeriodicEvaluation": ("seeds", "best", "stop_value"),
    "TaskEvaluation": ("seeds",),
    "BestByTraining": ("model",),
    "Freezing": ("names",),
    "Retention": ("initial_coefficient", "_loss"),
    "ExtraLoss": ("_module", "_method", "_optimizer"),
    "MemoryDistance": ("_policy", "_kind"),
    "TeacherDistance": ("_policy", "_kind"),
    "MixedBatches": ("own", "_sample_own"),
    "Checkpointing": ("max_seconds", "_milestones"),
    "CheckpointWriter": ("replay", "second", "_with_replay"),
    "ReplayChunks": ("_rows",),
}
