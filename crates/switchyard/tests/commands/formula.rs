//! `switchyard formula`: the real program over formulas and samples in files.

use std::io::Write as _;

use super::*;

/// The official formulas, and the recipe's.
fn fixture(name: &str) -> String {
    format!("{}/../autoscale/tests/fixtures/{name}.txt", env!("CARGO_MANIFEST_DIR"))
}

fn formula(arguments: &[&str]) -> Done {
    Done::of(command(&[&["formula"], arguments].concat()).output().unwrap())
}

fn formula_with_input(arguments: &[&str], input: &str) -> Done {
    let mut command = command(&[&["formula"], arguments].concat());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Done::of(child.wait_with_output().unwrap())
}

/// Lines of samples, the newest at now.
fn samples(metric: &str, values: &[u32]) -> String {
    let ages = (0..values.len()).rev().map(|age| age * 30);
    values
        .iter()
        .zip(ages)
        .map(|(value, age)| format!("{{\"at\": -{age}, \"{metric}\": {value}}}\n"))
        .collect()
}

#[test]
fn every_fixture_is_accepted() {
    let folder = format!("{}/../autoscale/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let formulas: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|found| found == "txt")).collect();
    assert!(formulas.len() > 10, "{formulas:?}");
    for path in formulas {
        let done = formula(&["check", path.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{}: {}{}", path.display(), done.out, done.err);
    }
}

#[test]
fn check_tells_what_is_not_documented() {
    let done = formula(&["check", &fixture("recipe")]);
    assert_eq!(done.code, 0);
    assert!(done.out.starts_with(
        "accepted: 110 of 8192 characters, 1 of 100 statements; sets $TargetDedicatedNodes\n\nLine 1, Col 29: what an empty window"
    ), "{}", done.out);
    let record = &formula(&["check", "--json", &fixture("recipe")]).records()[0];
    assert_eq!(record["undocumented"][0]["what"], "EmptyWindow");
    assert_eq!(record["sets"], json!(["$TargetDedicatedNodes"]));
}

#[test]
fn a_mistake_is_shown_in_its_line() {
    let folder = Folder::new("formula-mistake");
    let file = folder.write("formula.txt", "x = 1;\n$TargetDedicatedNodes = x % 2;\n");
    let done = formula(&["check", &file]);
    assert_eq!(done.code, 1);
    assert_eq!(
        done.out,
        "refused (AutoScalingFormulaSyntaxError)\n\
         Line 2, Col 27: Unexpected character '%'\n\
         \x20 $TargetDedicatedNodes = x % 2;\n\
         \x20                           ^\n"
    );
    let record = &formula(&["eval", "--json", &file]).records()[0];
    assert_eq!((&record["ok"], &record["error"]["line"]), (&json!(false), &json!(2)));
}

#[test]
fn an_evaluation_prints_what_the_service_would() {
    let done = formula(&["eval", &fixture("work-hours"), "--now", "2016-10-13T19:18:47.805Z"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(
        done.out,
        "at 2016-10-13T19:18:47.805Z\n\
         $TargetDedicatedNodes=10;$NodeDeallocationOption=requeue;$curTime=2016-10-13T19:18:47.805Z;\
         $isWeekday=1;$isWorkingWeekdayHour=0;$workHours=0\n\
         dedicated nodes: 10; low-priority nodes: as it is; a node that leaves: requeue\n"
    );
}

#[test]
fn samples_come_from_a_file_or_standard_input() {
    let folder = Folder::new("formula-samples");
    let lines = samples("PendingTasks", &[4, 8, 8, 8, 8, 12]);
    let file = folder.write("samples.jsonl", &lines);
    let from_file = formula(&["eval", "--json", &fixture("pending-tasks"), "--samples", &file]);
    let from_input =
        formula_with_input(&["eval", "--json", &fixture("pending-tasks"), "--samples", "-"], &lines);
    for done in [from_file, from_input] {
        let record = &done.records()[0];
        assert_eq!((done.code, &record["dedicated"]), (0, &json!(8)), "{record}");
        assert_eq!((&record["deallocation"], &record["error"]), (&json!("taskcompletion"), &Value::Null));
    }
    let done = formula_with_input(&["eval", "-"], "$TargetLowPriorityNodes = 3");
    assert!(done.out.contains("low-priority nodes: 3;"), "{}", done.out);
    assert_eq!(formula(&["eval", "-", "--samples", "-"]).code, 1);

    let wrong = folder.write("wrong.jsonl", "{\"at\": 0}\n{\"at\": 0, \"Tasks\": 1}\n");
    let done = formula(&["eval", &fixture("zero"), "--samples", &wrong]);
    assert_eq!(done.code, 1);
    assert!(
        done.err.ends_with("wrong.jsonl: line 2: Tasks is no variable that a pool samples\n"),
        "{}",
        done.err
    );
}

#[test]
fn a_failed_evaluation_says_so() {
    let arguments = ["eval", &fixture("sample-guard"), "--dedicated", "2"];
    let done = formula(&arguments);
    assert_eq!(done.code, 1);
    let shown = "\nLine 1, Col 23: Insufficient data from data set: $RunningTasks wanted 75%, received 0%\n";
    assert!(done.out.contains(shown), "{}", done.out);
    assert!(done.out.contains("$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;"), "{}", done.out);
    let record = &formula(&[&arguments[..], &["--json"]].concat()).records()[0];
    assert_eq!(record["error"]["code"], "InsufficientSampleData");

    let done = formula_with_input(&["eval", "-"], "$TargetDedicatedNodes = $Pending");
    assert!(
        done.out.contains("(AutoScalingFormulaEvaluationError)\nLine 1, Col 25: Undefined name"),
        "{}",
        done.out
    );
}

#[test]
fn an_explanation_goes_statement_by_statement() {
    let lines = samples("PendingTasks", &[4, 8, 8, 8, 8, 12]);
    let arguments = ["explain", &fixture("pending-tasks"), "--samples", "-", "--now", "2026-11-21"];
    let done = formula_with_input(&arguments, &lines);
    assert_eq!(done.code, 0, "{}", done.err);
    for part in [
        "Line 3: pendingTaskSamplePercent = $PendingTasks.GetSamplePercent(180 * TimeInterval_Second)\n",
        "    $PendingTasks.GetSample(180 * TimeInterval_Second)       [4,8,8,8,8,12]\n",
        "    avg($PendingTasks.GetSample(180 * TimeInterval_Second))  8\n",
        "    maxNumberofVMs      25\n    pendingTaskSamples  8\n",
        "  = taskcompletion\n\nat 2026-11-21T00:00:00.000Z\n$TargetDedicatedNodes=8;",
    ] {
        assert!(done.out.contains(part), "{part}\nis missing in\n{}", done.out);
    }
    let records = formula_with_input(&[&arguments[..], &["--json"]].concat(), &lines).records();
    assert_eq!(records.len(), 7, "six statements and the outcome");
    assert_eq!(records[4]["value"], "8");
    assert_eq!(records[4]["seen"][1], json!({ "expression": "pendingTaskSamples", "value": "8" }));
}

#[test]
fn lint_names_each_fault_of_the_recipe() {
    let done = formula(&["lint", &fixture("recipe")]);
    assert_eq!(done.code, 1, "{}", done.err);
    let shown = "Line 1, Col 29: error percentage_as_time\n\
        \x20 $TargetDedicatedNodes = min($PendingTasks.GetSample(180 * TimeInterval_Second, 70 * TimeInterval_Sec\n\
        \x20                             ^\n\
        \x20 70 s is the end of the window, not a percentage: it takes the 3 or 4 samples from 180 s to 70 s ago, \
        and requires none of them\n\
        \x20 remedy: pass the percentage as a plain number: GetSample(start, 70)\n\n";
    assert!(done.out.contains(shown), "{}", done.out);
    assert!(done.out.ends_with("\n3 errors, 2 warnings, 2 notes\n"), "{}", done.out);

    let records = formula(&["lint", "--json", "--slots", "4", &fixture("recipe")]).records();
    let mut rules: Vec<&str> = records.iter().map(|record| record["rule"].as_str().unwrap()).collect();
    rules.sort_unstable();
    assert_eq!(
        rules,
        [
            "buys_when_blind",
            "counts_tasks_not_slots",
            "kills_running_tasks",
            "minimum_over_samples",
            "never_buys_spot",
            "no_percentage_guard",
            "percentage_as_time"
        ]
    );
    let slots = records.iter().find(|record| record["rule"] == "counts_tasks_not_slots").unwrap();
    assert_eq!(
        (&slots["severity"], &slots["line"], &slots["column"]),
        (&json!("warning"), &json!(1), &json!(1))
    );
    assert!(slots["remedy"].as_str().unwrap().contains("taskSlotsPerNode"), "{slots}");
}

#[test]
fn lint_reads_a_pools_json_and_heeds_its_slots() {
    let text = std::fs::read_to_string(fixture("task-based")).unwrap();
    let pool =
        |slots: u32| json!({ "id": "p", "taskSlotsPerNode": slots, "autoScaleFormula": text }).to_string();
    let severity = |slots: u32| {
        let records = formula_with_input(&["lint", "--json", "-"], &pool(slots)).records();
        let found = records.iter().find(|record| record["rule"] == "counts_tasks_not_slots");
        found.map(|found| found["severity"].as_str().unwrap().to_owned())
    };
    assert_eq!((severity(1), severity(4)), (None, Some("warning".to_owned())));
    let lines: Vec<&str> = text.lines().collect();
    let done = formula_with_input(&["check", "-"], &json!(lines).to_string());
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let done = formula_with_input(&["lint", "-"], "{\"id\": \"p\"}");
    assert_eq!(
        (done.code, done.err.as_str()),
        (1, "switchyard: -: the JSON has no member autoScaleFormula\n")
    );
}

#[test]
fn lint_is_content_with_notes() {
    let sound = "$TargetDedicatedNodes = min(4, max(0, $PendingTasks.GetSample(TimeInterval_Hour, 50)));\n\
        $NodeDeallocationOption = taskcompletion;";
    let done = formula_with_input(&["lint", "--slots", "1", "-"], sound);
    assert_eq!(done.code, 0, "{}", done.out);
    assert!(done.out.starts_with("Line 1, Col 1: note never_buys_spot\n"), "{}", done.out);
    assert!(done.out.ends_with("\n1 note\n"), "{}", done.out);
    let nothing = sound.replace("Dedicated", "LowPriority");
    assert_eq!(formula_with_input(&["lint", "--slots", "1", "-"], &nothing).out, "nothing was found\n");
    assert_eq!(formula_with_input(&["lint", "-"], "x = %").code, 1);
}
