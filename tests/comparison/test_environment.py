"""Where runs were computed, from their records."""

from dataclasses import replace

from sds_core.comparison.environment import differences, environment
from sds_core.runs.events import JobFailed
from tests.by_hand import EPYC, XEON, made
from tests.records import SOFTWARE, block_finished, change_model, model_loaded, run_started, write_log


def test_processor_threads_and_precision_come_from_the_record():
    found = environment(made((3, 3, 3), machine=EPYC, threads=1))
    assert (found.processor, found.threads, found.dtype, found.torch) == ("x86_64, AMD EPYC", "1", "float32", "2.13.0")


def test_differences_are_reported_with_both_values():
    one, other = (environment(made((3, 3, 3), machine=m, threads=t)) for m, t in ((EPYC, 1), (XEON, 2)))
    assert list(differences(one, other)) == [
        "another processor (x86_64, AMD EPYC; x86_64, Intel(R) Xeon(R))",
        "another number of threads (1; 2)",
    ]
    assert list(differences(one, one)) == []


def test_kernel_and_core_count_do_not_change_the_processor():
    one, other = (
        environment(made((3, 3, 3), machine=f"x86_64, AMD EPYC, {rest}"))
        for rest in ("2 cores, Linux 5", "8 cores, Linux 6")
    )
    assert one == other


def test_on_a_gpu_the_gpu_is_the_processor():
    run = made((3, 3, 3), machine="x86_64, AMD EPYC, 2 cores, NVIDIA H200, Linux 6.1")
    assert environment(run).processor == "x86_64, AMD EPYC"
    change_model(run, device="cuda:0")
    assert environment(run).processor == "NVIDIA H200"


def test_of_a_run_that_failed_elsewhere_the_last_start_counts():
    run = made((3, 3, 3), machine="x86_64, AMD EPYC, 2 cores, NVIDIA H200, Linux 6.1", threads=1)
    record = run.log.read()
    failed = [run_started(threads=7), model_loaded(device="cuda:0"), JobFailed(message="memory is full")]
    write_log(run, [*failed, *record])
    found = environment(run)
    assert (found.threads, found.device, found.processor) == ("1", "cpu", "x86_64, AMD EPYC")


def test_of_a_run_that_was_resumed_elsewhere_both_places_count():
    places = [run_started(software=replace(SOFTWARE, machine=machine)) for machine in (EPYC, XEON)]
    run = made((3, 3, 3))
    write_log(run, [places[0], model_loaded(), block_finished(0), places[1], model_loaded(), block_finished(1)])
    assert environment(run).processor == "x86_64, AMD EPYC then x86_64, Intel(R) Xeon(R)"
    inherited = replace(block_finished(0), inherited_from="x")
    write_log(run, [inherited, places[0], model_loaded(), places[1], model_loaded(), block_finished(1)])
    assert environment(run).processor == "x86_64, Intel(R) Xeon(R)"


def test_observation_in_bfloat16_is_another_environment():
    run, other = made((3, 3, 3)), made((3, 3, 3))
    change_model(other, observation="bfloat16")
    assert list(differences(environment(run), environment(other))) == [
        "another precision of the passes over the calibration text (model; bfloat16)"
    ]
