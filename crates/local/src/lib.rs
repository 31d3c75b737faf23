//! Stand-ins for the services Switchyard runs on, so that one machine is enough.
//!
//! - [`host`]: the Azure Functions host, for any custom handler
//! - [`azure_batch`]: the Azure Batch service, which really runs its tasks
//! - [`queue`]: the Storage Queue service, and the small client the host polls it with
//! - [`vault`]: the secrets of a Key Vault, over TLS
//! - [`realtime`]: a front with inference replicas that scale from zero, as Container Apps does
//! - [`telemetry`]: a receiver of Application Insights envelopes
//! - [`stage`], [`model`], [`cargo`], [`children`]: what a stack is started from and with
//! - [`stack`]: all of them together
//!
//! The stand-ins write the services' bodies themselves and import neither `policy` nor the
//! handler, so that the twin does not share our mistakes.

pub mod azure_batch;
pub mod cargo;
pub mod children;
pub mod host;
mod loopback;
pub mod model;
pub mod queue;
pub mod realtime;
pub mod stack;
pub mod stage;
pub mod telemetry;
mod tls;
pub mod vault;
