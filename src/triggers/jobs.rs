//! Function `Jobs`. The deferred lane is not in this version: there are no jobs, and none is made up.

use wire::catalogue::Permission;

use crate::app::App;
use crate::auth;
use crate::failure::{Failure, Kind};
use crate::http::{Request, Response};

/// Says so to those who may ask.
///
/// # Errors
/// Always.
pub async fn answer(app: &App, request: &Request) -> Result<Response, Failure> {
    let catalogue = app.catalogue().await?;
    auth::tenant(&catalogue, &request.headers, Permission::Read)?;
    let message = "jobs are not in this version; every request is answered at once";
    Err(Failure::new(Kind::NotFound, "deferred_lane_not_in_this_build", message))
}
