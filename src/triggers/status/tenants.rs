//! Tenants on the status page: what counts today for the limit of a day's spend.

use policy::units::UnixMs;
use wire::status;

use crate::app::App;
use crate::catalogue::Catalogue;

/// Every tenant of the catalogue, as this process would decide about it now.
pub fn shown(app: &App, catalogue: &Catalogue, now: UnixMs) -> Vec<status::Tenant> {
    let process = app.process();
    let one = |id: &str, limit: Option<policy::units::MicroUsd>| {
        let view = app.views.tenant(id, &process, now);
        let spent = app.metrics.spent_today(id, view, now);
        status::Tenant {
            name: id.to_owned(),
            usd_per_day: limit.map(|limit| limit.usd()),
            spent_today_usd: spent.total().usd(),
            requests_today_usd: spent.requests.usd(),
            jobs_today_usd: spent.jobs.usd(),
            queued_items: view.map_or(0, |view| view.tenant.queued_items),
        }
    };
    catalogue.tenants.iter().map(|tenant| one(&tenant.id, tenant.limits.usd_per_day)).collect()
}
