//! demo
use crate::{Failure, cli::Demo, place::Place, print::Printer};
/// x
pub async fn run(_: Demo, _: &Place, _: &Printer) -> Result<(), Failure> {
    Err(Failure(String::new()))
}
