"""What the sandbox and a run must stand, with tests; `python -m tests.support.promised` writes it to docs/trust.md.

Outcomes are those of the `EXPECT` in the attacks' headers, which their tests hold (`tests/sandbox/test_attacks.py`,
`tests/execution/test_attacks.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.paths import ATTACKS, ROOT

PAGE = ROOT / "docs" / "trust.md"
START = "<!-- made by `python -m tests.support.promised` -->\n"
TIERS = ("T0", "T1", "T3")
NEXT_FIT = "tests/execution/test_attacks.py::test_the_next_training_finds_nothing_of_a_prediction"
LEFT = "tests/execution/test_nothing_left.py::test_a_prediction_leaves_nothing_to_the_next_one_and_to_later_trainings"

# Each attack of the design: its files, or its test.
DESIGNED = {
    "prints a metric": ["prints_a_metric"],
    "patches numpy, torchmetrics, builtins": ["patches_metrics"],
    "overrides validation_step": ["overrides_validation"],
    "writes result files": ["writes_results"],
    "lying __eq__": ["lying_equality"],
    "looks for labels on disk": ["find_labels", "finds_labels"],
    "scans /proc": ["read_key", "finds_labels"],
    "lists the user's dataset folder": ["list_dataset", "watch_dataset"],
    "reads the key": ["read_key", "ptrace_parent", "inherited_files"],
    "guesses from order": ["guess_from_order"],
    "guesses from names, mtimes, inodes": ["undo_the_shuffle"],
    "short predictions": ["short_predictions"],
    "extra predictions": ["extra_predictions"],
    "predictions out of range": ["out_of_range_predictions"],
    "NaN predictions": ["nan_predictions"],
    "os._exit in fit": ["exit_in_fit"],
    "os._exit in predict": ["exit_in_predict"],
    "pickle on the pipe": ["pickle_on_pipe"],
    "floods the pipe": ["floods_data", "floods_status"],
    "hangs and ignores signals": ["ignore_signals", "hangs_in_fit", "hangs_in_predict"],
    "setsid daemon holding the pipe": ["daemon", "leaves_daemon"],
    "fork bomb": ["fork_bomb", "threads"],
    "200 MB of stdout": ["flood"],
    "memory bomb, one process": ["memory_one"],
    "memory bomb, forked": ["memory_forked"],
    "memory bomb, /dev/shm": ["memory_shm", "memory_memfd"],
    "disk bomb, one file": ["disk_one", "disk_reserved", "disk_unnamed"],
    "disk bomb, many files": ["disk_many", "disk_burst"],
    "stashes selection inputs for the next fit": ["stashes_inputs", NEXT_FIT, LEFT],
    "looks for them during fit": ["stashes_inputs", NEXT_FIT],
    "refits on them while predicting": ["adapts_to_inputs"],
    "edits the template": ["edit_template"],
    "edits site-packages": ["edit_site_packages"],
    "leaves symlinks, FIFOs, sparse files as artifacts": [
        "leave_symlink", "weights_link", "weights_fifo", "weights_sparse",
    ],
    "poisoned checkpoint": ["weights_poisoned"],
    "DNS, UDP": ["udp"],
    "TCP": ["tcp"],
    "unix": ["unix_socket", "unix_race"],
    "vsock": ["vsock", "socket_families"],
    "io_uring": ["io_uring"],
    "prompt injection in its own stdout": [
        "injects_prompts",
        "tests/execution/test_attacks.py"
        "::test_orders_in_the_output_reach_the_roles_as_plain_text_and_decide_nothing",
    ],
}  # fmt: skip

WIRE = "tests/llm/test_faults.py"
TEAM = "tests/agents/test_team.py"
WHOLE = "tests/test_run.py"
SMOKE = "tests/pipeline/template/test_template.py::test_the_smoke_run_finds_and_classifies"
PIPELINES = "tests/execution/test_attacks.py::test_attack"
LIMITED = "tests/sandbox/test_attacks.py::test_attack"
JOURNAL = "tests/record/test_journal.py"
IMAGES = "tests/datasets/test_images.py"
FOLDERS = "tests/datasets/test_folder.py::test_refused_with_a_sentence_and_a_fix"
BUDGET = "tests/spending/test_budget.py"
UPLOAD = "tests/tracking/test_tracking.py"

# Each fault: what is expected, and its test.
FAULTS = {
    "HTTP 429": ("Retry-After honoured", f"{WIRE}::test_retry_after_is_honoured"),
    "HTTP 5xx": ("asked again, with a growing wait", f"{WIRE}::test_what_passes_is_tried_again"),
    "a server that stalls": (
        "asked again after the time-out",
        f"{WIRE}::test_a_body_that_stalls_is_given_up_after_the_timeout",
    ),
    "a connection that is reset": ("asked again", f"{WIRE}::test_what_passes_is_tried_again"),
    "faults without end": ("given up at a cap for all tries", f"{WIRE}::test_the_cap_holds_for_all_tries_together"),
    "HTTP 401": ("stops at once, can be resumed", f"{WIRE}::test_what_does_not_pass_stops_at_once"),
    "quota used up": ("stops at once, can be resumed", f"{WIRE}::test_what_does_not_pass_stops_at_once"),
    "no key": ("stops before anything is imported", "tests/llm/test_client.py::test_a_missing_key_costs_no_import"),
    "a key that a server echoes": ("in no file and no output", f"{WIRE}::test_a_key_that_the_server_echoes_is_hidden"),
    "a malformed reply": (
        "two re-asks that quote the error, then a failed iteration",
        f"{TEAM}::test_after_so_many_calls_an_iteration_fails",
    ),
    "an empty reply": (
        "asked again, quoting the error",
        f"{TEAM}::test_a_re_ask_quotes_the_problem_and_says_what_is_expected",
    ),
    "the wrong component": (
        "asked again, quoting the error",
        f"{TEAM}::test_a_re_ask_quotes_the_problem_and_says_what_is_expected",
    ),
    "a reply that is cut off": ("never executed; one re-ask", f"{TEAM}::test_after_so_many_calls_an_iteration_fails"),
    "a refusal": ("a failed iteration", f"{WIRE}::test_a_declined_prompt_is_a_reply_that_says_so"),
    "three refusals in a row": (
        "end the run, exit code 7",
        "tests/llm/test_run.py::test_three_refusals_in_a_row_end_the_run",
    ),
    "a reply of 10 MB, or without end": (
        "cut at a limit of bytes",
        f"{WIRE}::test_a_body_without_end_is_not_read_to_its_end",
    ),
    "NULs and halves of surrogates": ("kept as they can be", f"{WIRE}::test_half_a_surrogate_pair_and_nul_can_be_kept"),
    "bad UTF-8": ("replaced", f"{WIRE}::test_bad_utf8_is_replaced"),
    "a loss that is not finite": (
        "classified, told to the analyst",
        f"{WHOLE}::test_a_nan_loss_is_classified_and_told_to_the_analyst",
    ),
    "a training without end": ("stopped at its limit, no score", f"{PIPELINES}[T3-hangs_in_fit]"),
    "out of memory": ("classified, no score", f"{LIMITED}[memory_one-T3]"),
    "out of memory on the GPU": ("classified, no score", SMOKE),
    "a worker of the data loader dies": (
        "classified, no score",
        "tests/pipeline/template/test_template.py::test_a_worker_of_the_data_loader_that_dies_ends_the_training_with_its_reason",
    ),
    "the sandbox's disk is full": ("a failed candidate", f"{PIPELINES}[T3-weights_sparse]"),
    "the disk of the outputs is full": (
        "one sentence, nothing half-written, goes on once there is room",
        "tests/test_full_disk.py::test_outputs_on_a_full_disk",
    ),
    "the disk of the cache is full": (
        "one sentence, goes on once there is room",
        "tests/test_full_disk.py::test_the_cache_on_a_full_disk",
    ),
    "the disk is full within a record": ("no half line", f"{JOURNAL}::test_a_full_disk_leaves_no_half_line"),
    "SIGINT, SIGTERM": (
        "sandboxes end, the command that resumes is printed, 130 or 143",
        "tests/test_resume.py::test_an_interrupted_run_says_how_to_resume",
    ),
    "SIGINT, SIGTERM while it still imports": (
        "one sentence, 130 or 143",
        "tests/test_early_signals.py::test_it_ends_with_a_sentence",
    ),
    "kill -9 after any record": (
        "the same command ends with the same records and weights; nobody is asked twice",
        "tests/test_crash_points.py::test_a_run_that_is_killed_at_every_record_ends_as_a_whole_one",
    ),
    "kill -9 within any record": (
        "the same",
        "tests/test_ordinary_crash_points.py::test_an_ordinary_users_run_that_is_torn_within_every_record_ends_as_a_whole_one",
    ),
    "a torn last line": ("cut, and noted", f"{JOURNAL}::test_a_torn_last_line_is_cut"),
    "a damaged line in the middle": (
        "refused with its number",
        f"{JOURNAL}::test_a_damaged_middle_line_is_refused_with_its_number",
    ),
    "a line changed, its checksum made anew": (
        "refused",
        f"{JOURNAL}::test_a_middle_line_with_its_checksum_made_anew_is_refused",
    ),
    "two runs in one folder": (
        "the second ends, naming the first",
        f"{JOURNAL}::test_a_second_process_is_refused_and_told_who_holds_the_folder",
    ),
    "a resume with other settings, data or code": (
        "refused, listing the differences",
        f"{WHOLE}::test_a_resume_with_other_settings_lists_the_differences",
    ),
    "corrupt images, text files": ("refused before anything is spent, or skipped with counts", FOLDERS),
    "one class, an empty class": ("refused before anything is spent", FOLDERS),
    "P, LA, CMYK, RGBA, 16-bit": ("one rule for all", f"{IMAGES}::test_every_mode_becomes_grey_or_rgb"),
    "turned by EXIF": ("turned upright", f"{IMAGES}::test_exif_orientation_is_applied"),
    "animated": ("the first frame", f"{IMAGES}::test_first_frame_of_an_animation"),
    "decompression bombs": ("refused quickly", f"{IMAGES}::test_unreadable_files_are_refused_quickly"),
    "odd names": ("read", "tests/datasets/test_folder.py::test_odd_names_nested_folders_and_other_files"),
    "the budget in USD is used up": (
        "never exceeded: checked against the worst case",
        f"{BUDGET}::test_a_budget_in_usd_is_never_exceeded_whatever_the_server_reports",
    ),
    "the budget in tokens is used up": (
        "the same",
        f"{BUDGET}::test_a_budget_in_tokens_holds_for_a_model_without_a_price",
    ),
    "the budget in GPU minutes is used up": ("the same", f"{BUDGET}::test_gpu_minutes_count_what_ran_on_the_gpu"),
    "the budget in minutes is used up": (
        "the best pipeline still gets its test score",
        f"{BUDGET}::test_minutes_leave_room_for_the_training_and_the_test_score",
    ),
    "a model without a known price": (
        "said, never 0 USD",
        "tests/spending/test_costs.py::test_a_price_that_is_not_known_is_said_on_the_card_and_the_page",
    ),
    "W&B down or slow": (
        "costs the run a few seconds",
        f"{UPLOAD}::test_a_server_that_hangs_costs_a_run_a_few_seconds",
    ),
    "W&B's process dies": (
        "hurts no run",
        f"{UPLOAD}::test_a_killed_process_hurts_no_run_and_a_resumed_run_has_each_iteration_once",
    ),
    "every iteration fails": ("said, exit code 7", "tests/llm/test_run.py::test_three_refusals_in_a_row_end_the_run"),
}


def facts(path: Path) -> dict[str, Any]:
    """The first sentence and the constants of an attack."""
    tree = ast.parse(path.read_text())
    said = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
    found: dict[str, Any] = {"says": said}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            found[node.targets[0].id] = node.value
    kept = ("EXPECT", "AS_ROOT", "NEEDS")
    return {key: ast.literal_eval(value) if key in kept else value for key, value in found.items()}


def programs() -> dict[str, dict[str, Any]]:
    return {path.stem: facts(path) for path in sorted(ATTACKS.glob("[a-z]*.py"))}


def pipelines() -> dict[str, dict[str, Any]]:
    return {path.stem: facts(path) for path in sorted((ATTACKS / "pipelines").glob("[a-z]*.py"))}


def table() -> Iterator[str]:
    """The lines of the page."""
    yield "### Programs, as an ordinary user and as root"
    yield ""
    yield from ("| attack | file | T0 | T1 | T3 |", "|---|---|---|---|---|")
    for name, found in programs().items():
        outcomes = [_outcome(found["EXPECT"][tier], found.get("AS_ROOT", {}).get(tier)) for tier in TIERS]
        yield f"| {_cell(found['says'])} | `{name}` | {' | '.join(outcomes)} |"
    yield from ("", "### Pipelines, as an ordinary user and as root", "")
    yield from ("| attack | file | T1 | T3 |", "|---|---|---|---|")
    for name, found in pipelines().items():
        expect = found["EXPECT"]
        weaker, strongest = (_became(expect.get(tier, expect["improve"])) for tier in ("T1", "T3"))
        yield f"| {_cell(found['says'])} | `pipelines/{name}` | {weaker} | {strongest} |"
    yield from ("", "### Faults", "", "| fault | what happens | test |", "|---|---|---|")
    for fault, (expected, test) in FAULTS.items():
        yield f"| {fault} | {expected} | `{test.partition('::')[0]}` |"


def _outcome(outcome: str, as_root: str | None) -> str:
    words = {"through": "**through**", "denied": "denied"}
    said, root = (words.get(each or "", f"stopped ({each})") for each in (outcome, as_root))
    return f"{said}; as root {root}" if as_root else said


def _became(outcome: str) -> str:
    words = {"honest": "the honest pipeline's score", "chance": "a score at chance"}
    return words.get(outcome, f"no score ({outcome})")


def _cell(text: str) -> str:
    return text.rstrip(".").replace("|", r"\|").replace("__", r"\_\_")


def page() -> str:
    """What docs/trust.md is to hold."""
    head, mark, _ = PAGE.read_text(encoding="utf-8").partition(START)
    return head + mark + "\n" + "\n".join(table()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
