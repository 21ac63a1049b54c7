"""Files whose tests take longest, the longest first: they begin a run, so that it ends with short ones."""

LONG = (
    "test_console_walk.py",
    "test_notebook.py",
    "test_scale_ray.py",
    "test_service_faults.py",
    "test_deploy_local.py",
    "test_service_processes.py",
    "test_compress_chain.py",
    "test_adapt_classify.py",
    "test_compress_device.py",
    "test_frontier.py",
    "test_adapting.py",
    "test_quick_starts.py",
    "test_bench_serve.py",
    "test_loops.py",
    "test_service_fuzz.py",
    "test_rerank.py",
    "test_encoders.py",
    "test_service_tenants.py",
    "test_service_hostile.py",
    "test_tuning.py",
    "test_install.py",
    "test_cli_verbs.py",
    "test_retrain.py",
)

# What `make fast` leaves out as a whole, beside single tests that are marked: rooms whose tests start servers or train
# models, and files that take seconds together.
SLOW_ROOMS = ("benches", "deploy", "lm/adapt", "lm/compress", "lm/robust", "retraining", "scale", "service")
SLOW_FILES = (
    "test_bundle.py",
    "test_cli_verbs.py",
    "test_following.py",
    "test_index_contract.py",
    "test_indexes.py",
    "test_large_training.py",
    "test_second_look.py",
    "test_strict.py",
    "test_training.py",
    "test_tuning.py",
)
