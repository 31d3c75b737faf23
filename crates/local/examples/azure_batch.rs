//! The Azure Batch stand-in by itself: prints its address, account and key, and serves until stdin
//! ends. Any program of this machine may be a task; machines arrive and boot at once. Its clock
//! runs as fast as its argument says, so that intervals of minutes can be waited for.
//!
//! `cargo run --package local --example azure_batch [SPEED]`

#![allow(clippy::print_stdout, reason = "the address and the key are what a caller reads")]

use std::time::Duration;

use clock::Clock;
use local::azure_batch::{Options, Programs, Server};

/// Long enough to be seen by a client that polls, short enough to wait for: real time.
const PACE: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let clock = match std::env::args().nth(1) {
        None => Clock::REAL,
        Some(speed) => {
            let speed = speed.parse().map_err(std::io::Error::other)?;
            Clock::scaled(Clock::REAL.now_ms(), speed).map_err(std::io::Error::other)?
        }
    };
    let pace = PACE.mul_f64(clock.speed());
    let folder = std::env::temp_dir().join(format!("azure-batch-{}", std::process::id()));
    let options = Options {
        programs: Programs::Any,
        arrival: pace,
        boot: pace,
        restore: pace,
        ..Options::new(&folder)
    };
    let server = Server::start(std::net::TcpListener::bind("127.0.0.1:0")?, options, clock)?;
    println!("{} {} {}", server.url(), server.account(), server.key());
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    server.stop().await;
    std::fs::remove_dir_all(folder)
}
