//! Clients of Azure's services: one a service, pointed by settings at Azure or at loopback.
//!
//! - [`identity`]: the tokens of this process, where a service is opened without a key
//! - [`batch`]: Azure Batch's data plane
//! - [`queue`]: the doorbell that tells of new work, on the vendor's SDK
//! - [`vault`]: secrets of a Key Vault, on the vendor's SDK
//! - [`storage_key`]: signs that SDK's requests with an account's key
//! - [`blob`]: calls of the blob store as telemetry shows them; the store itself is `facts`'
//! - `sdk`: how that SDK is set up for each of them
//!
//! All of them take the HTTP client that [`http`] builds.

use std::time::Duration;

pub mod batch;
pub mod blob;
pub mod identity;
pub mod queue;
mod sdk;
pub mod storage_key;
pub mod vault;

/// How long a connection may take to open. The services' front doors accept within milliseconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The HTTP client that the services' clients share.
///
/// It follows no redirect, because a signed request must not be carried elsewhere, and takes no
/// proxy from the environment.
///
/// # Errors
/// When TLS cannot be set up.
pub fn http() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}
