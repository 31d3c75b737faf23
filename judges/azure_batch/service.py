"""The vendor's own Azure Batch client against the stand-in: public calls only, real processes. Time runs
so fast that intervals of minutes pass in seconds.

Usage: service.py, with AZURE_BATCH_ENDPOINT, AZURE_BATCH_ACCOUNT and AZURE_BATCH_ACCESS_KEY in the
environment, named as the vendor's command line names them.
"""

import datetime
import json
import os
import time
import urllib.request

from azure.batch import BatchClient, models

# 15.1.0 needs it for every terminate and forgets to export it.
from azure.batch.models._models import BatchJobTerminateOptions
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)

ENDPOINT = os.environ["AZURE_BATCH_ENDPOINT"]
ACCOUNT = os.environ["AZURE_BATCH_ACCOUNT"]
KEY = os.environ["AZURE_BATCH_ACCESS_KEY"]
CLIENT = BatchClient(ENDPOINT, AzureNamedKeyCredential(ACCOUNT, KEY))
# A machine may be slow; nothing here needs a minute.
LIMIT_S = 60


def stand_in(path, body):
    request = urllib.request.Request(f"{ENDPOINT}/standin/{path}", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def until(what, condition):
    limit = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < limit, f"never: {what}"
        time.sleep(0.05)
    return found


def refused(kind, call, code):
    try:
        call()
    except kind as error:
        assert error.model.code == code, (error.model.code, code)
        assert error.model.message.value, error
        return error
    raise AssertionError(f"expected {code}")


def pool(name, spot=0, dedicated=0, **options):
    CLIENT.create_pool(
        models.BatchPoolCreateOptions(
            id=name,
            vm_size="Standard_NC4as_T4_v3",
            virtual_machine_configuration=models.VirtualMachineConfiguration(
                image_reference=models.BatchVmImageReference(
                    publisher="microsoft-dsvm", offer="ubuntu-hpc", sku="2404", version="latest"
                ),
                node_agent_sku_id="batch.node.ubuntu 24.04",
            ),
            target_dedicated_nodes=dedicated,
            target_low_priority_nodes=spot,
            **options,
        )
    )


def job(name, in_pool, **options):
    info = models.BatchPoolInfo(pool_id=in_pool)
    CLIENT.create_job(models.BatchJobCreateOptions(id=name, pool_info=info, **options))


def task(name, command_line, **options):
    return models.BatchTaskCreateOptions(id=name, command_line=command_line, **options)


def completed(job_id, task_id):
    def found():
        got = CLIENT.get_task(job_id, task_id)
        return got if got.state == models.BatchTaskState.COMPLETED else None

    return until(f"{task_id} completes", found)


def text(job_id, task_id, path):
    return b"".join(CLIENT.download_task_file(job_id, task_id, path)).decode()


def pools_grow_shrink_and_go():
    pool("grow", dedicated=1, spot=1, metadata=[models.BatchMetadataItem(name="k", value="v")])
    refused(ResourceExistsError, lambda: pool("grow"), "PoolExists")
    assert CLIENT.pool_exists("grow")
    until("both nodes are idle", lambda: [n.state for n in CLIENT.list_nodes("grow")] == ["idle", "idle"])
    found = CLIENT.get_pool("grow")
    assert (found.state, found.allocation_state) == ("active", "steady"), found
    assert (found.current_dedicated_nodes, found.current_low_priority_nodes) == (1, 1), found
    assert found.metadata[0].value == "v" and found.resize_errors is None
    nodes = {node.is_dedicated: node for node in CLIENT.list_nodes("grow")}
    assert CLIENT.get_node("grow", nodes[False].id).affinity_id == nodes[False].affinity_id
    [counts] = CLIENT.list_pool_node_counts(filter="poolId eq 'grow'")
    assert (counts.dedicated.idle, counts.low_priority.idle, counts.low_priority.total) == (1, 1, 1), counts
    CLIENT.begin_resize_pool(
        "grow",
        models.BatchPoolResizeOptions(
            target_dedicated_nodes=0,
            target_low_priority_nodes=3,
            resize_timeout=datetime.timedelta(minutes=10),
            node_deallocation_option=models.BatchNodeDeallocationOption.TASK_COMPLETION,
        ),
        polling_interval=0,
    ).result()
    assert CLIENT.get_pool("grow").current_low_priority_nodes == 3
    CLIENT.update_pool(
        "grow", models.BatchPoolUpdateOptions(metadata=[models.BatchMetadataItem(name="k", value="v2")])
    )
    [selected] = CLIENT.list_pools(select=["id", "metadata"], filter="id eq 'grow'")
    assert selected.metadata[0].value == "v2" and selected.vm_size is None
    CLIENT.begin_delete_pool("grow", polling_interval=0).result()
    refused(ResourceNotFoundError, lambda: CLIENT.get_pool("grow"), "PoolNotFound")


def enabled(name, formula=None, interval=None):
    minutes = interval and datetime.timedelta(minutes=interval)
    options = models.BatchPoolEnableAutoScaleOptions(
        auto_scale_formula=formula, auto_scale_evaluation_interval=minutes
    )
    CLIENT.enable_pool_auto_scale(name, options)


def evaluated(name, formula):
    return CLIENT.evaluate_pool_auto_scale(name, models.BatchPoolEvaluateAutoScaleOptions(auto_scale_formula=formula))


def after_half_a_minute(call):
    """Calls until the service's thirty seconds, which are half a second here, are over."""

    def called():
        try:
            call()
        except HttpResponseError as error:
            assert error.model.code == "TooManyEnableAutoScaleRequests", error
            return False
        return True

    until("half a minute is over", called)


# The documentation's "Pending tasks" with spot nodes: guarded by a percentage, draining.
PENDING = """
most = 2;
percent = $PendingTasks.GetSamplePercent(180 * TimeInterval_Second);
pending = percent < 50 ? 1 : max(0, $PendingTasks.GetSample(180 * TimeInterval_Second));
$TargetLowPriorityNodes = min(most, pending);  // $PendingTasks includes running ones
$NodeDeallocationOption = taskcompletion;
"""


def autoscale_is_evaluated_enabled_and_disabled():
    pool(
        "scale",
        spot=None,
        dedicated=None,
        enable_auto_scale=True,
        auto_scale_formula="$TargetLowPriorityNodes=1;$TargetDedicatedNodes=1;",
        auto_scale_evaluation_interval=datetime.timedelta(minutes=5),
    )
    until("both nodes are idle", lambda: [n.state for n in CLIENT.list_nodes("scale")] == ["idle", "idle"])
    found = CLIENT.get_pool("scale")
    assert found.enable_auto_scale and found.auto_scale_evaluation_interval == datetime.timedelta(minutes=5), found
    assert (found.target_dedicated_nodes, found.target_low_priority_nodes) == (1, 1), found
    results = "$TargetDedicatedNodes=1;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue"
    assert found.auto_scale_run.results == results, found.auto_scale_run
    assert found.auto_scale_run.timestamp and found.auto_scale_run.error is None, found.auto_scale_run

    run = evaluated("scale", "$TargetDedicatedNodes = time().year > 2000 ? 7 : 1; x = 2;")
    assert run.results == "$TargetDedicatedNodes=7;$NodeDeallocationOption=requeue;x=2", run.results
    run = evaluated("scale", "$TargetDedicatedNodes = avg($CPUPercent.GetSample(TimeInterval_Week, 99));")
    assert run.error.code == "InsufficientSampleData", run.error
    assert "$CPUPercent wanted 99%" in run.error.error_values[0].value, run.error.error_values
    wrong = refused(HttpResponseError, lambda: evaluated("scale", "$TargetDedicatedNodes = (1;"), "AutoScalingFormulaSyntaxError")
    assert wrong.status_code == 400 and wrong.model.error_values[0].value.startswith("Line 1, Col "), wrong.model
    assert CLIENT.get_pool("scale").target_dedicated_nodes == 1, "an evaluation applies nothing"

    patient = BatchClient(ENDPOINT, AzureNamedKeyCredential(ACCOUNT, KEY), retry_total=0)
    resize = models.BatchPoolResizeOptions(target_low_priority_nodes=5)
    refused(
        ResourceExistsError,
        lambda: CLIENT.begin_resize_pool("scale", resize, polling_interval=0),
        "OperationNotValidOnPool",
    )
    enabled("scale", PENDING)
    too_soon = models.BatchPoolEnableAutoScaleOptions(auto_scale_formula=PENDING)
    refused(
        HttpResponseError,
        lambda: patient.enable_pool_auto_scale("scale", too_soon),
        "TooManyEnableAutoScaleRequests",
    )
    found = CLIENT.get_pool("scale")
    assert found.auto_scale_formula == PENDING, found.auto_scale_formula
    assert found.auto_scale_evaluation_interval == datetime.timedelta(minutes=5), "an omitted member stays"
    after_half_a_minute(lambda: enabled("scale", interval=10))
    assert CLIENT.get_pool("scale").auto_scale_evaluation_interval == datetime.timedelta(minutes=10)
    assert CLIENT.get_pool("scale").auto_scale_formula == PENDING
    CLIENT.disable_pool_auto_scale("scale")
    found = CLIENT.get_pool("scale")
    assert not found.enable_auto_scale and found.auto_scale_formula is None, found
    refused(ResourceExistsError, lambda: evaluated("scale", "$x=1"), "OperationNotValidOnPool")
    CLIENT.begin_delete_pool("scale", polling_interval=0).result()


def an_autoscaled_pool_follows_its_work():
    pool(
        "follow",
        spot=None,
        dedicated=None,
        enable_auto_scale=True,
        auto_scale_formula=PENDING,
        auto_scale_evaluation_interval=datetime.timedelta(minutes=5),
    )
    job("follow", "follow")
    names = [f"t{number:03}" for number in range(250)]
    CLIENT.create_tasks("follow", [task(name, "/bin/sleep 0.01") for name in names])
    assert CLIENT.get_job_task_counts("follow").task_counts.completed < 250
    until("the pool has grown", lambda: CLIENT.get_pool("follow").current_low_priority_nodes == 2)
    until("all succeed", lambda: CLIENT.get_job_task_counts("follow").task_counts.succeeded == 250)
    assert list(CLIENT.list_tasks("follow", filter="executionInfo/requeueCount gt 0")) == [], "no shrink kills"
    until("the pool has gone", lambda: CLIENT.get_pool("follow").current_low_priority_nodes == 0)
    [counts] = CLIENT.list_pool_node_counts(filter="poolId eq 'follow'")
    assert (counts.low_priority.total, counts.dedicated.total) == (0, 0), counts
    CLIENT.begin_delete_job("follow", polling_interval=0).result()
    CLIENT.begin_delete_pool("follow", polling_interval=0).result()


def nodes_are_removed_by_name():
    pool("remove", dedicated=2)
    until("both nodes are idle", lambda: [n.state for n in CLIENT.list_nodes("remove")] == ["idle", "idle"])
    first = next(iter(CLIENT.list_nodes("remove"))).id
    CLIENT.begin_remove_nodes("remove", models.BatchNodeRemoveOptions(node_ids=[first]), polling_interval=0).result()
    assert CLIENT.get_pool("remove").target_dedicated_nodes == 1
    assert first not in [node.id for node in CLIENT.list_nodes("remove")]


def what_never_gets_better_is_told():
    stand_in("quota", {"lowPriorityCores": 4, "dedicatedCores": 0})
    stand_in("boots", {"pool": "bad", "end": "starttaskfailed", "times": 1})
    pool("bad", spot=2, dedicated=1)
    until("the pool is steady", lambda: CLIENT.get_pool("bad").allocation_state == "steady")
    codes = [error.code for error in CLIENT.get_pool("bad").resize_errors]
    assert codes == ["AccountCoreQuotaReached", "AccountLowPriorityCoreQuotaReached"], codes
    until("its start task has failed", lambda: [n.state for n in CLIENT.list_nodes("bad")] == ["starttaskfailed"])
    [counts] = CLIENT.list_pool_node_counts(filter="poolId eq 'bad'")
    assert counts.low_priority.start_task_failed == 1, counts
    stand_in("quota", {})
    CLIENT.begin_delete_pool("bad", polling_interval=0).result()


def a_multi_instance_task_has_all_its_nodes():
    pool("wide", dedicated=2)
    job("wide", "wide")
    settings = models.MultiInstanceSettings(coordination_command_line="", number_of_instances=2)
    CLIENT.create_task("wide", task("wide", "/bin/sh -c 'echo $AZ_BATCH_NODE_LIST'", multi_instance_settings=settings))
    assert completed("wide", "wide").execution_info.exit_code == 0
    assert text("wide", "wide", "stdout.txt").strip() == ";".join(node.id for node in CLIENT.list_nodes("wide"))


def tasks_run_and_are_read():
    pool("run", spot=2, task_slots_per_node=2)
    job("run", "run", common_environment_settings=[models.EnvironmentSetting(name="SHARED", value="from the job")])
    CLIENT.create_task(
        "run",
        task(
            "hello",
            "/bin/sh -c 'echo $SHARED, $OWN; echo $AZ_BATCH_JOB_ID $AZ_BATCH_TASK_ID $AZ_BATCH_NODE_IS_DEDICATED;"
            " echo oh >&2; echo written > out.json; mkdir deep; echo x > deep/x'",
            environment_settings=[models.EnvironmentSetting(name="OWN", value="from the task")],
        ),
    )
    done = completed("run", "hello")
    assert (done.execution_info.exit_code, done.execution_info.result) == (0, "success"), done
    assert done.execution_info.end_time >= done.execution_info.start_time >= done.creation_time
    assert done.node_info.pool_id == "run" and done.previous_state == "running"
    assert text("run", "hello", "stdout.txt") == "from the job, from the task\nrun hello false\n"
    assert text("run", "hello", "stderr.txt") == "oh\n"
    assert text("run", "hello", "wd/out.json") == "written\n"
    properties = CLIENT.get_task_file_properties("run", "hello", "wd/out.json")
    assert properties.content_length == 8 and not properties.is_directory, properties
    top = {file.name: file.is_directory for file in CLIENT.list_task_files("run", "hello")}
    assert top == {"stderr.txt": False, "stdout.txt": False, "wd": True}, top
    deep = [file.name for file in CLIENT.list_task_files("run", "hello", recursive=True)]
    assert "wd/deep/x" in deep, deep
    refused(ResourceExistsError, lambda: CLIENT.create_task("run", task("hello", "/bin/true")), "TaskExists")
    CLIENT.delete_task("run", "hello")
    refused(ResourceNotFoundError, lambda: CLIENT.get_task("run", "hello"), "TaskNotFound")
    refused(ResourceNotFoundError, lambda: CLIENT.get_task("none", "hello"), "JobNotFound")


def failures_are_told_and_retried():
    count = "/bin/sh -c 'echo . >> ../../count; exit 3'"
    CLIENT.create_task("run", task("thrice", count, constraints=models.BatchTaskConstraints(max_task_retry_count=2)))
    info = completed("run", "thrice").execution_info
    assert (info.exit_code, info.retry_count, info.result) == (3, 2, "failure"), info
    assert (info.failure_info.category, info.failure_info.code) == ("usererror", "FailureExitCode"), info
    limit = models.BatchTaskConstraints(max_wall_clock_time=datetime.timedelta(minutes=1), max_task_retry_count=5)
    CLIENT.create_task("run", task("long", "/bin/sleep 600", constraints=limit))
    info = completed("run", "long").execution_info
    assert (info.failure_info.code, info.retry_count) == ("TaskEnded", 0), info
    CLIENT.create_task("run", task("nothing", "/no/such/program"))
    assert completed("run", "nothing").execution_info.failure_info.code == "CommandProgramNotFound"
    CLIENT.create_task("run", task("stopped", "/bin/sleep 600"))
    until("it runs", lambda: CLIENT.get_task("run", "stopped").state == "running")
    CLIENT.terminate_task("run", "stopped")
    assert completed("run", "stopped").execution_info.failure_info.code == "TaskEnded"
    refused(ResourceExistsError, lambda: CLIENT.terminate_task("run", "stopped"), "TaskCompleted")
    CLIENT.reactivate_task("run", "thrice")
    assert completed("run", "thrice").execution_info.retry_count == 2


def many_tasks_in_collections_and_pages():
    job("many", "run")
    names = [f"t{number:03}" for number in range(250)]
    CLIENT.create_tasks("many", [task(name, "/bin/true") for name in names])
    again = CLIENT.create_task_collection("many", models.BatchTaskGroup(task_values=[task("t000", "/bin/true"), task("new", "/bin/true")]))
    statuses = {result.task_id: (result.status, result.error and result.error.code) for result in again.result_values}
    assert statuses == {"t000": ("clienterror", "TaskExists"), "new": ("success", None)}, statuses
    until("all succeed", lambda: CLIENT.get_job_task_counts("many").task_counts.succeeded == 251)
    pages = list(CLIENT.list_tasks("many", max_results=100, select=["id", "state"]).by_page())
    pages = [[found.id for found in page] for page in pages]
    assert [len(page) for page in pages] == [100, 100, 51] and sum(pages, []) == sorted(["new", *names])
    assert list(CLIENT.list_tasks("many", filter="state eq 'active'")) == []
    # terminatejob set now ends a job whose tasks are all completed.
    CLIENT.update_job("many", models.BatchJobUpdateOptions(all_tasks_complete_mode="terminatejob"))
    ended = CLIENT.get_job("many")
    assert ended.state == "completed" and ended.execution_info.end_time, ended
    refused(ResourceExistsError, lambda: CLIENT.create_task("many", task("late", "/bin/true")), "JobCompleted")
    CLIENT.begin_delete_job("many", polling_interval=0).result()
    refused(ResourceNotFoundError, lambda: CLIENT.get_job("many"), "JobNotFound")


def jobs_are_disabled_enabled_and_terminated():
    job("life", "run", priority=100)
    CLIENT.create_task("life", task("long", "/bin/sleep 600"))
    until("it runs", lambda: CLIENT.get_task("life", "long").state == "running")
    CLIENT.begin_disable_job("life", models.BatchJobDisableOptions(disable_tasks="requeue"), polling_interval=0).result()
    assert CLIENT.get_job("life").state == "disabled"
    assert CLIENT.get_task("life", "long").state == "active"
    CLIENT.begin_enable_job("life", polling_interval=0).result()
    until("it runs again", lambda: CLIENT.get_task("life", "long").state == "running")
    assert CLIENT.get_task("life", "long").execution_info.requeue_count == 1
    reason = BatchJobTerminateOptions(termination_reason="done")
    CLIENT.begin_terminate_job("life", reason, polling_interval=0).result()
    found = CLIENT.get_job("life")
    assert (found.state, found.execution_info.termination_reason) == ("completed", "done"), found
    assert completed("life", "long").execution_info.failure_info.code == "TaskEnded"
    refused(ResourceExistsError, lambda: CLIENT.begin_terminate_job("life", reason, polling_interval=0), "JobCompleted")


def versions_are_compared():
    job("versions", "run")
    before = CLIENT.get_job("versions").etag
    options = {"etag": before, "match_condition": MatchConditions.IfNotModified}
    CLIENT.update_job("versions", models.BatchJobUpdateOptions(priority=5), **options)
    change = models.BatchJobUpdateOptions(priority=6)
    refused(ResourceModifiedError, lambda: CLIENT.update_job("versions", change, **options), "ConditionNotMet")
    found = CLIENT.get_job("versions")
    assert found.priority == 5 and found.etag != before
    found.priority = 7
    CLIENT.replace_job("versions", found)
    assert CLIENT.get_job("versions").priority == 7


def evicted_tasks_run_again():
    pool("spot", spot=1)
    job("spot", "spot")
    CLIENT.create_task("spot", task("long", "/bin/sleep 600"))
    until("it runs", lambda: CLIENT.get_task("spot", "long").state == "running")
    stand_in("capacity", {"lowPriority": 0})
    node = stand_in("evict", {"pool": "spot"})["node"]
    assert CLIENT.get_node("spot", node).state == "preempted"
    found = CLIENT.get_task("spot", "long")
    assert (found.state, found.execution_info.retry_count) == ("active", 0), found
    refused(ResourceExistsError, lambda: list(CLIENT.list_task_files("spot", "long")), "TaskFilesUnavailable")
    resize = models.BatchPoolResizeOptions(target_low_priority_nodes=2)
    CLIENT.begin_resize_pool("spot", resize, polling_interval=0).result()
    [error] = CLIENT.get_pool("spot").resize_errors
    assert error.code == "AllocationFailed", error
    stand_in("capacity", {})
    until("it runs again", lambda: CLIENT.get_task("spot", "long").state == "running")
    assert CLIENT.get_task("spot", "long").execution_info.requeue_count == 1
    assert CLIENT.get_task("spot", "long").node_info.node_id == node


def trouble_is_met_as_in_the_cloud():
    stand_in("faults", {"throttle": {"status": 429, "retryAfter": 0, "times": 2}})
    assert CLIENT.get_job("run").id == "run"
    # Applied, its answer lost, retried by the client: the task is there and the retry says so.
    stand_in("faults", {"lost": {"times": 1}})
    refused(ResourceExistsError, lambda: CLIENT.create_task("run", task("lost", "/bin/true")), "TaskExists")
    assert completed("run", "lost").execution_info.exit_code == 0
    patient = BatchClient(ENDPOINT, AzureNamedKeyCredential(ACCOUNT, KEY), retry_total=0)
    stand_in("faults", {"down": True})
    refused(HttpResponseError, lambda: patient.get_job("run"), "ServerBusy")
    stand_in("faults", {"down": False})
    assert CLIENT.get_job("run").id == "run"


def what_is_wrong_is_refused():
    forged = BatchClient(ENDPOINT, AzureNamedKeyCredential(ACCOUNT, "aGk="))
    assert refused(HttpResponseError, lambda: forged.get_job("run"), "AuthenticationFailed").status_code == 403
    other = BatchClient(ENDPOINT, AzureNamedKeyCredential(ACCOUNT, KEY), api_version="2019-01-01.8.0")
    refused(HttpResponseError, lambda: other.get_job("run"), "UnsupportedRequestVersion")
    newest = BatchClient(ENDPOINT, AzureNamedKeyCredential(ACCOUNT, KEY), api_version="2026-10-01")
    assert newest.get_job("run").id == "run"
    refused(HttpResponseError, lambda: job("bad id", "run"), "InvalidPropertyValue")
    refused(HttpResponseError, lambda: job("loud", "run", priority=2000), "OutOfRangeInput")
    refused(HttpResponseError, lambda: list(CLIENT.list_tasks("run", filter="state is nice")), "InvalidQueryParameterValue")
    refused(
        HttpResponseError,
        lambda: CLIENT.create_task("run", task("wide", "/bin/true", required_slots=200)),
        "InvalidPropertyValue",
    )
    images = list(CLIENT.list_supported_images())
    assert any("NvidiaTeslaDriverInstalled" in image.capabilities for image in images)


for judge in (
    pools_grow_shrink_and_go,
    autoscale_is_evaluated_enabled_and_disabled,
    an_autoscaled_pool_follows_its_work,
    nodes_are_removed_by_name,
    what_never_gets_better_is_told,
    a_multi_instance_task_has_all_its_nodes,
    tasks_run_and_are_read,
    failures_are_told_and_retried,
    many_tasks_in_collections_and_pages,
    jobs_are_disabled_enabled_and_terminated,
    versions_are_compared,
    evicted_tasks_run_again,
    trouble_is_met_as_in_the_cloud,
    what_is_wrong_is_refused,
):
    judge()
    print(f"ok  {judge.__name__}")
