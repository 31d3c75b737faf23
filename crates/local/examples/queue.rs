//! The Storage Queue stand-in by itself: prints its connection string and serves until stdin ends.
//!
//! `cargo run --package local --example queue`

#![allow(clippy::print_stdout, reason = "the connection string is what a caller reads")]

use clock::Clock;
use local::queue::Server;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let server = Server::start(std::net::TcpListener::bind("127.0.0.1:0")?, Clock::REAL)?;
    println!("{}", server.connection_string());
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    server.stop().await;
    Ok(())
}
