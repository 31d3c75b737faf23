//! The one integration binary: house rules, the handler over real HTTP, and the whole stack.

mod azure_batch_client;
mod azure_batch_shapes;
mod deferred;
mod doctor;
mod doorbell;
mod handler_batches;
mod handler_deferred;
mod handler_envelopes;
mod handler_files;
mod handler_input;
mod handler_life;
mod handler_realtime;
mod handler_stage;
mod handler_uploads;
mod identity;
mod ledger;
mod readme;
mod rebalance;
mod tenants;
mod tidy;
mod under_host;
mod vault;
mod webhooks;
