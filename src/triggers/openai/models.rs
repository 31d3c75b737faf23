//! `GET /v1/models` and `/v1/models/{id}`. Ids may hold a `/`, which clients write as `%2F`.

use std::borrow::Cow;

use policy::request::{Answer, Lane, LaneWish, Operation, Tier};
use policy::units::{Tokens, UnixMs};
use policy::{Knobs, Snapshot, estimate};
use wire::catalogue::Permission;
use wire::openai::{LaneEstimate, Model, ModelLanes, ModelList};

use super::defer::WINDOW;
use crate::app::App;
use crate::auth;
use crate::catalogue::{self, Catalogue};
use crate::failure::{Failure, Kind};
use crate::http::{self, Request, Response};
use crate::observe;

/// Items that the deferred lane's estimate is for: it is no place for single ones.
const ITEMS_LATER: u64 = 1_000;
/// Tokens of a usual item: half a page of text in, as many out as a completion brings where no limit is set.
const TOKENS_IN: u64 = 256;
const TOKENS_OUT: u64 = 256;

/// Lists models, or shows the one of this id or alias.
///
/// # Errors
/// Without a key that may read; 404 for a model that is not in the catalogue.
pub async fn answer(app: &App, request: &Request, id: Option<&str>) -> Result<Response, Failure> {
    let catalogue = app.catalogue().await?;
    auth::tenant(&catalogue, &request.headers, Permission::Read)?;
    match id {
        None => {
            let shown =
                |model: &catalogue::Model| shown(model, &model.spec.id, lanes(app, &catalogue, model));
            let data = catalogue.models.iter().map(shown).collect();
            Ok(http::json(200, &ModelList { object: Cow::Borrowed("list"), data }))
        }
        Some(id) => {
            let model = catalogue.asked(id, &app.knobs.knobs().model_version).ok_or_else(|| unknown(id))?;
            Ok(http::json(200, &shown(model, id, lanes(app, &catalogue, model))))
        }
    }
}

/// 404 for a model that nobody here knows.
pub fn unknown(name: &str) -> Failure {
    let message = format!("the model `{name}` does not exist here; `GET /v1/models` lists those that do");
    Failure::new(Kind::NotFound, "model_not_found", message).of("model")
}

fn shown(model: &catalogue::Model, id: &str, lanes: ModelLanes) -> Model {
    Model {
        id: id.to_owned(),
        object: Cow::Borrowed("model"),
        created: model.spec.created,
        owned_by: model.spec.owned_by.clone(),
        switchyard: Some(lanes),
    }
}

/// What the model takes in each lane, from what is seen anyway: nothing is asked for this.
fn lanes(app: &App, catalogue: &Catalogue, model: &catalogue::Model) -> ModelLanes {
    let now = app.now();
    let snapshot = observe::snapshot(catalogue, Some(model), &app.metrics, &app.views, now);
    let knobs = app.knobs.knobs();
    let best = |lane, items| {
        let wanted = usual(model, items, now);
        let choices = estimate::choices(&knobs, &wanted, &snapshot);
        let open = choices.into_iter().filter(|choice| choice.lane == lane && choice.barred.is_none());
        let best = open.min_by_key(|choice| match lane {
            Lane::Realtime => (choice.eta.p50.0, choice.cost.0),
            Lane::Deferred => (choice.cost.0, choice.eta.p50.0),
        });
        best.map(|choice| LaneEstimate {
            items,
            tokens_per_item: (wanted.tokens_in.0 + wanted.tokens_out.0) / items,
            eta_p50_ms: choice.eta.p50.0,
            eta_p95_ms: choice.eta.p95.0,
            cost_usd: choice.cost.usd(),
            queue_fraction: queue_fraction(&knobs, &snapshot, &choice.place),
            place: choice.place,
        })
    };
    ModelLanes {
        digest: model.spec.digest.clone(),
        realtime: best(Lane::Realtime, 1),
        deferred: best(Lane::Deferred, ITEMS_LATER),
    }
}

/// So many items of a usual length, by a client that takes any answer.
fn usual(model: &catalogue::Model, items: u64, now: UnixMs) -> policy::Request {
    let is_encoder = model.spec.operations.contains(&catalogue::operation(Operation::Embeddings));
    let (operation, out) =
        if is_encoder { (Operation::Embeddings, 0) } else { (Operation::ChatCompletions, TOKENS_OUT) };
    policy::Request {
        model: model.spec.id.clone(),
        operation,
        items,
        tokens_in: Tokens(items * TOKENS_IN),
        tokens_out: Tokens(items * out),
        arrived: now,
        deadline: None,
        lane: LaneWish::Auto,
        answer: Answer::LaterWelcome,
        tier: Tier::Default,
        max_cost: None,
        residency: None,
    }
}

fn queue_fraction(knobs: &Knobs, snapshot: &Snapshot, place: &str) -> f64 {
    let of_backend = snapshot.backends.iter().find(|backend| backend.name == place).map(|backend| {
        let slots = backend.slots_per_replica * backend.max_replicas.min(knobs.max_replicas);
        f64::from(backend.in_flight) / f64::from(slots.max(1))
    });
    let of_pool = snapshot.pools.iter().find(|pool| pool.name == place).map(|pool| {
        let slots = u64::from(pool.max_nodes.min(knobs.max_nodes)) * u64::from(pool.slots_per_node);
        pool.backlog.0 as f64 / (slots.max(1) * WINDOW.0) as f64
    });
    of_backend.or(of_pool).unwrap_or(0.0).min(1.0)
}
