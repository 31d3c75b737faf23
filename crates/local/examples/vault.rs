//! The Key Vault stand-in by itself: prints its URL, its authority's certificate as one line of JSON, and
//! serves whoever brings the token `faketoken` until stdin ends.
//!
//! `cargo run --package local --example vault`

#![allow(clippy::print_stdout, reason = "the address is what a caller reads")]

use clock::Clock;
use local::vault::Vault;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let vault = Vault::start(std::net::TcpListener::bind("127.0.0.1:0")?, Clock::REAL, "faketoken")?;
    println!("{}", serde_json::json!({ "url": vault.url(), "authority": vault.authority() }));
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    vault.stop().await;
    Ok(())
}
