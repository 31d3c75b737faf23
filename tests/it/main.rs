//! The one integration binary: house rules, the handler over real HTTP, and the whole stack.

mod azure_batch_client;
mod azure_batch_shapes;
mod deferred;
mod doorbell;
mod handler_batches;
mod handler_dead;
mod handler_deferred;
mod handler_envelopes;
mod handler_files;
mod handler_forms;
mod handler_input;
mod handler_life;
mod handler_realtime;
mod handler_stage;
mod handler_uploads;
mod identity;
mod readme;
mod rebalance;
mod tenants;
mod tenants_beside;
mod tidy;
mod under_host;
mod vault;
mod webhooks;
