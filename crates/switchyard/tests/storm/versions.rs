//! Two versions over one job, as during a deployment or after taking one back: what one version's handler
//! and worker have begun, the other's finish. Facts are the only thing that passes between them.
//!
//! SWITCHYARD_OTHER names the `switchyard` of another version; its handler, worker and server lie beside it,
//! and the sources that it was built from still lie where they were (its functions are staged from there).

use std::path::{Path, PathBuf};

use crate::client::Client;
use crate::stack::Stack;
use crate::strike::count_of;
use crate::{check, input, processes, submit, until};

/// Enough that each version has a few chunks to write before the other takes over.
const LINES: usize = 600;
/// Chunks that a version writes before it is killed.
const CHUNKS_A_TURN: u64 = 4;

#[tokio::test]
#[ignore = "needs SWITCHYARD_OTHER: the switchyard of another version, built with its programs"]
async fn a_job_begun_by_one_version_is_finished_by_another() {
    let other = PathBuf::from(std::env::var_os("SWITCHYARD_OTHER").expect("SWITCHYARD_OTHER is set"));
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_switchyard"));
    processes::adopt_orphans();
    let (other, ours) = (other.as_path(), ours.as_path());
    for turns in [[other, ours, ours], [ours, other, other], [ours, other, ours]] {
        passed_on(turns).await;
    }
}

/// Each kills what the one before left, with a pack half done, and goes on.
async fn passed_on(turns: [&Path; 3]) {
    let lines = input(LINES);
    let mut stack = Stack::start_version(turns[0]).await;
    let undisturbed = stack.compute_by_hand(&lines);
    let client = Client::new(stack.ready_file());
    let job = submit(&client, &stack, &lines).await;
    let chunks = stack.chunks_of(&job);
    for next in &turns[1..] {
        let enough = count_of(&chunks) + CHUNKS_A_TURN;
        until("a version to write chunks", async || (count_of(&chunks) >= enough).then_some(())).await;
        stack.kill_all_for(next).await;
    }
    let ended = check::until_ended(&client, &job).await;
    check::results(&client, &ended, &undisturbed.results()).await;
    check::no_markers(&stack).await;
    stack.stop().await;
    println!("{} lines: {}", lines.len(), turns.map(|program| program.display().to_string()).join(", then "));
}
