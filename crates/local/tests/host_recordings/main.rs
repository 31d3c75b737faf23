//! The Functions host stand-in against recordings of the real one (`tests/fixtures/wire`): what the
//! handler receives, what the client gets, how the invocation ends. Ids, ports, times, `Date`,
//! `Server`, the wording of errors, header order and framing are not compared.
//!
//! `cases` says of every case which test replays it, or why none does. `requests` (proxying,
//! forwarding, envelopes) and `whole` send a client's bytes; `streams` tells when bytes flow and
//! who hears of whose end; `answers` and `outputs` read a handler's answer; `queue`, `timers` and
//! `admin` fire functions; `process` has real handler processes, on the `rig`.

mod admin;
mod answers;
mod cases;
mod outputs;
mod process;
mod queue;
mod raw;
mod requests;
mod rig;
mod streams;
mod timers;
mod whole;

/// Runs a check over cases and tells all that failed at once.
fn assert_all(cases: Vec<(String, Result<(), String>)>) {
    let all = cases.len();
    let failed: Vec<String> =
        cases.into_iter().filter_map(|(id, result)| Some(format!("{id}\n    {}", result.err()?))).collect();
    assert!(failed.is_empty(), "{} of {all} cases differ:\n{}", failed.len(), failed.join("\n"));
}
