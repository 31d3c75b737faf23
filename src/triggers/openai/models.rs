//! `GET /v1/models` and `/v1/models/{id}`. Ids may hold a `/`, which clients write as `%2F`.

use std::borrow::Cow;

use wire::catalogue::Permission;
use wire::openai::{Model, ModelList};

use crate::app::App;
use crate::auth;
use crate::catalogue;
use crate::failure::{Failure, Kind};
use crate::http::{self, Request, Response};

/// Lists models, or shows the one of this id or alias.
///
/// # Errors
/// Without a key that may read; 404 for a model that is not in the catalogue.
pub async fn answer(app: &App, request: &Request, id: Option<&str>) -> Result<Response, Failure> {
    let catalogue = app.catalogue().await?;
    auth::tenant(&catalogue, &request.headers, Permission::Read)?;
    match id {
        None => {
            let data = catalogue.models.iter().map(|model| shown(model, &model.spec.id)).collect();
            Ok(http::json(200, &ModelList { object: Cow::Borrowed("list"), data }))
        }
        Some(id) => {
            let model = catalogue.model(id).ok_or_else(|| unknown(id))?;
            Ok(http::json(200, &shown(model, id)))
        }
    }
}

/// 404 for a model that nobody here knows.
pub fn unknown(name: &str) -> Failure {
    let message = format!("the model `{name}` does not exist here; `GET /v1/models` lists those that do");
    Failure::new(Kind::NotFound, "model_not_found", message).of("model")
}

fn shown(model: &catalogue::Model, id: &str) -> Model {
    Model {
        id: id.to_owned(),
        object: Cow::Borrowed("model"),
        created: model.spec.created,
        owned_by: model.spec.owned_by.clone(),
    }
}
