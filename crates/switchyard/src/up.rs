//! `switchyard up`: the whole stack until ctrl-c.

use std::time::{Duration, Instant};

use local::stack::{MODEL, Options, Ready, Stack};

use crate::Failure;
use crate::cli::Up;
use crate::place::Place;
use crate::print::Printer;

/// Starts the stack, says where it is, and ends it when asked to.
///
/// # Errors
/// When something cannot be built, fetched or started; nothing is left running.
pub async fn run(flags: Up, place: &Place, printer: &Printer) -> Result<(), Failure> {
    // What is wrong with the flags is told before minutes of building and fetching.
    Stack::check(flags.storage.as_deref(), flags.catalogue.as_deref(), place.clock()).map_err(Failure::of)?;
    let (programs, model) =
        tokio::try_join!(place.programs(flags.no_build, printer), place.model(flags.model, printer))?;
    let began = Instant::now();
    let starting = Stack::start(Options {
        programs,
        source: place.root(),
        model,
        state: flags.state.unwrap_or_else(|| place.state()),
        port: flags.port,
        replicas: flags.replicas,
        cold_start: Duration::from_secs_f64(flags.cold_start),
        nodes: flags.nodes,
        autoscale: flags.autoscale,
        boot: Duration::from_secs_f64(flags.boot),
        server_arguments: Vec::new(),
        webhook: flags.webhook,
        catalogue: flags.catalogue,
        settings: place.catalogue_secrets(),
        storage: flags.storage,
        clock: place.clock(),
        ready_file: flags.ready_file,
    });
    let stack = tokio::select! {
        started = starting => started.map_err(Failure::of)?,
        () = crate::asked_to_stop() => return Ok(()),
    };
    for line in welcome(&stack.ready(), began.elapsed()) {
        printer.say(&line);
    }
    crate::asked_to_stop().await;
    printer.say("stopping");
    stack.stop().await;
    Ok(())
}

fn welcome(ready: &Ready, took: Duration) -> Vec<String> {
    let Ready { base_url, api_key, admin_key, host_url, .. } = ready;
    let rows = [
        ("OpenAI API", base_url.as_str()),
        ("API key", api_key),
        ("admin key", admin_key),
        ("status", &format!("{host_url}/api/status")),
        ("realtime front", &ready.realtime_url),
        ("queues", &ready.queue_url),
        ("telemetry", &ready.telemetry_url),
        ("blobs", &ready.blob_url),
    ];
    let secret = ready.webhook_secret.as_ref().map(|secret| ("webhook secret", secret.as_str()));
    let rows = rows.into_iter().chain(secret).map(|(what, value)| format!("  {what:<15} {value}"));
    let authorization = format!("-H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json'");
    let head = format!("Switchyard is up after {:.1} s; ctrl-c ends it.", took.as_secs_f64());
    let mut lines = vec![head, String::new()];
    lines.extend(rows);
    lines.extend([
        String::new(),
        "An embedding; the answer's headers say what was decided (the first one waits for a replica):".to_owned(),
        format!("  curl -i {base_url}/embeddings {authorization} -d '{{\"model\":\"{MODEL}\",\"input\":\"hello\"}}'"),
        "The same decision, dry and with all its numbers:".to_owned(),
        format!("  curl {host_url}/api/explain {authorization} -d '{{\"operation\":\"embeddings\",\"body\":{{\"model\":\"{MODEL}\",\"input\":\"hello\"}}}}'"),
        "The OpenAI SDK for Python:".to_owned(),
        format!("  OpenAI(base_url=\"{base_url}\", api_key=\"{api_key}\").embeddings.create(model=\"{MODEL}\", input=\"hello\")"),
        "Deferred work, from another terminal:".to_owned(),
        format!("  switchyard submit FILE --model {MODEL} --deadline 20m     (a text a line; switchyard jobs, why JOB)"),
        String::new(),
    ]);
    lines
}
