//! `/api/operate/dead`: dead letters listed, inspected, replayed and deleted.

use std::borrow::Cow;
use std::collections::HashSet;

use audit::action::Did;
use facts::JobId;
use facts::dead::{Letter, Reason};
use facts::key;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use wire::dead::{
    DeadLetter, DeadLetterDetail, DeadLetterList, LETTERS_MAX, LastReplay, LetterReport, LetterState,
    Outcome, ReplayReport, ReplayWish,
};
use wire::whole::Whole;

use crate::act::dead::list::{Filter, Known, Place};
use crate::act::dead::replay::Run;
use crate::act::progress;
use crate::app::App;
use crate::auth::Actor;
use crate::catalogue::Catalogue;
use crate::failure::{Failure, Kind};
use crate::http::{self, Method, Request, Response};
use crate::triggers::acted;
use crate::triggers::jobs::{trouble, view};

/// Letters of a page where the request does not say.
const PAGE: usize = 20;
/// Letters of a page or a replay at most.
const PAGE_MAX: usize = LETTERS_MAX as usize;
/// A hundred ids and a filter.
const WISH_BYTES_MAX: usize = 64 * 1024;
/// Letters that are replayed beside each other: each is a few calls to the store.
const AT_ONCE: usize = 8;
/// Names of models and tenants in a filter.
const NAME_CHARS_MAX: usize = 256;
/// Times above it are none: 10^13 ms is the year 2286.
const TIME_MAX: u64 = 9_999_999_999_999;

/// Answers `/api/operate/dead{/what}`.
///
/// # Errors
/// What the caller is told instead.
pub async fn answer(
    app: &App,
    catalogue: &Catalogue,
    request: &mut Request,
    actor: &Actor,
    what: &[&str],
) -> Result<Response, Failure> {
    let desk = Desk { app, catalogue, actor };
    match (what, &request.method) {
        ([], _) => desk.list(request.query.as_deref().unwrap_or_default()).await,
        (["replay"], _) => desk.replay(request).await,
        ([id], &Method::DELETE) => desk.delete(request, id).await,
        ([id], _) => desk.show(id).await,
        _ => Err(Failure::not_found("nothing is here; see /api/openapi.json")),
    }
}

/// One operator's letters.
struct Desk<'a> {
    app: &'a App,
    catalogue: &'a Catalogue,
    actor: &'a Actor,
}

impl Desk<'_> {
    async fn list(&self, query: &str) -> Result<Response, Failure> {
        let Asked { filter, limit, after } = Asked::of_query(query)?;
        let letters = &self.app.dead_letters;
        let page =
            letters.list(&filter, limit, after.as_ref()).await.map_err(|error| trouble(error.into()))?;
        let each: Vec<_> = page.letters.iter().map(|known| self.shown(known)).collect();
        let list = DeadLetterList {
            object: "list".to_owned(),
            data: stream::iter(each).buffered(AT_ONCE).collect().await,
            has_more: page.next.is_some(),
            next: page.next.map(|place| place.to_string()),
            not_kept_today: letters.not_kept_today().await,
        };
        Ok(http::json(200, &list))
    }

    async fn show(&self, id: &str) -> Result<Response, Failure> {
        let known = self.find(id).await?.ok_or_else(unknown)?;
        let replay = self.app.dead_letters.replay(self.catalogue, &known, Run::Dry).await;
        let detail = DeadLetterDetail {
            job_status: self.job_status(&known).await?,
            letter: self.shown(&known).await,
            replay,
            advice: advice(replay).to_owned(),
        };
        Ok(http::json(200, &detail))
    }

    async fn replay(&self, request: &mut Request) -> Result<Response, Failure> {
        let body = request.body(WISH_BYTES_MAX).await?;
        // A map first: serde takes a list for a struct, too.
        let wish = serde_json::from_slice::<Map<_, _>>(&body);
        let wish = wish.and_then(|members| ReplayWish::deserialize(Value::Object(members)));
        let wish = wish.map_err(|error| {
            let message = format!("the body does not say which letters: {error}");
            Failure::invalid("body", "invalid_replay", message)
        })?;
        let dry_run = wish.dry_run.unwrap_or(false);
        let run = if dry_run { Run::Dry } else { Run::By(&self.actor.key) };
        let report = match &wish.ids {
            Some(ids) => self.replay_ids(&wish, ids, run).await?,
            None => self.replay_found(&wish, run).await?,
        };
        if !dry_run {
            self.record_replays(request, &wish, &report).await;
        }
        Ok(http::json(200, &report))
    }

    async fn replay_ids(
        &self,
        wish: &ReplayWish,
        ids: &[String],
        run: Run<'_>,
    ) -> Result<ReplayReport, Failure> {
        let by_ids_alone = ReplayWish { ids: wish.ids.clone(), dry_run: wish.dry_run, ..Default::default() };
        if *wish != by_ids_alone {
            let message = "give `ids`, or what the letters have in common; not both";
            return Err(Failure::invalid("ids", "contradictory_selection", message));
        }
        let distinct: HashSet<&String> = ids.iter().collect();
        let are_ids = ids.iter().all(|id| key::is_dead_letter_id(id));
        if !(1..=PAGE_MAX).contains(&ids.len()) || distinct.len() < ids.len() || !are_ids {
            let message =
                format!("`ids` must name from 1 to {PAGE_MAX} letters, each once, by 64 hex digits");
            return Err(Failure::invalid("ids", "invalid_value", message));
        }
        let each: Vec<_> = ids.iter().map(|id| self.replay_id(id, run)).collect();
        let letters = stream::iter(each).buffered(AT_ONCE).collect().await;
        Ok(ReplayReport { dry_run: run == Run::Dry, letters, has_more: false, next: None })
    }

    async fn replay_found(&self, wish: &ReplayWish, run: Run<'_>) -> Result<ReplayReport, Failure> {
        let Asked { filter, limit, after } = Asked::of_wish(wish)?;
        let letters = &self.app.dead_letters;
        let page =
            letters.list(&filter, limit, after.as_ref()).await.map_err(|error| trouble(error.into()))?;
        let each: Vec<_> = page.letters.iter().map(|known| self.replay_one(known, run)).collect();
        let letters = stream::iter(each).buffered(AT_ONCE).collect().await;
        let next = page.next.map(|place| place.to_string());
        Ok(ReplayReport { dry_run: run == Run::Dry, letters, has_more: next.is_some(), next })
    }

    async fn replay_id(&self, id: &str, run: Run<'_>) -> LetterReport {
        match self.find(id).await {
            Ok(Some(known)) => self.replay_one(&known, run).await,
            Ok(None) => report(id, None, Outcome::NoSuchLetter),
            Err(_) => report(id, None, Outcome::Failed),
        }
    }

    async fn replay_one(&self, known: &Known, run: Run<'_>) -> LetterReport {
        let outcome = self.app.dead_letters.replay(self.catalogue, known, run).await;
        report(&known.id, Some(known), outcome)
    }

    async fn record_replays(&self, request: &Request, wish: &ReplayWish, report: &ReplayReport) {
        let letters: Map<_, _> =
            report.letters.iter().map(|letter| (letter.id.clone(), json!(letter.outcome))).collect();
        let changed = (json!({ "asked": wish }), json!({ "letters": letters }));
        acted(self.app, (request, self.actor), Did::LettersReplayed, "", changed).await;
    }

    async fn delete(&self, request: &Request, id: &str) -> Result<Response, Failure> {
        if !key::is_dead_letter_id(id) {
            return Err(unknown());
        }
        let known = self.find(id).await?;
        let deleted = self.app.dead_letters.delete(id).await;
        deleted.map_err(|error| trouble(error.into()))?;
        if let Some(known) = known {
            let Letter { reason, tenant, job, .. } = known.letter;
            let before = json!({ "reason": reason, "tenant": tenant, "job": job });
            acted(self.app, (request, self.actor), Did::LetterDeleted, id, (before, Value::Null)).await;
        }
        Ok(http::json(200, &json!({ "id": id, "object": "dead_letter", "deleted": true })))
    }

    /// The letter of this id; none also where it is no id at all.
    async fn find(&self, id: &str) -> Result<Option<Known>, Failure> {
        if !key::is_dead_letter_id(id) {
            return Ok(None);
        }
        self.app.dead_letters.find(id).await.map_err(|error| trouble(error.into()))
    }

    async fn job_status(&self, known: &Known) -> Result<Option<String>, Failure> {
        let of_catalogue = known.letter.tenant.as_deref().and_then(|tenant| self.catalogue.tenant(tenant));
        let id = known.letter.job.as_deref().and_then(JobId::parse);
        let (Some(tenant), Some(id)) = (of_catalogue, id) else { return Ok(None) };
        let (store, clock) = (&self.app.store, &self.app.clock);
        let seen = async {
            let Some(job) = progress::job(store, &tenant.id, &id).await? else { return Ok(None) };
            progress::of(store, clock, job).await.map(Some)
        };
        let seen = seen.await.map_err(|error| trouble(crate::act::jobs::Trouble::from(error)))?;
        Ok(seen.map(|seen| view::status(seen.state.phase(), seen.end.as_ref()).to_owned()))
    }

    async fn shown(&self, known: &Known) -> DeadLetter {
        let Known { id, letter, marks } = known;
        let last_replay = match &marks.last {
            Some((at, _)) => {
                Some(LastReplay { at_unix_ms: *at, by: self.app.dead_letters.last_by(marks).await })
            }
            None => None,
        };
        DeadLetter {
            id: id.clone(),
            object: "dead_letter".to_owned(),
            at_unix_ms: letter.at_unix_ms,
            reason: letter.reason.clone(),
            tenant: letter.tenant.clone(),
            job: letter.job.clone(),
            model: letter.model.clone(),
            body: letter.body.clone(),
            body_bytes: letter.body_bytes,
            body_is_cut: letter.is_cut(),
            dequeue_count: letter.dequeue_count,
            inserted: letter.inserted.clone(),
            state: if marks.is_waiting() { LetterState::Waiting } else { LetterState::Replayed },
            replays: u32::try_from(marks.replays).unwrap_or(u32::MAX),
            last_replay,
        }
    }
}

fn report(id: &str, known: Option<&Known>, outcome: Outcome) -> LetterReport {
    let letter = known.map(|known| &known.letter);
    LetterReport {
        id: id.to_owned(),
        tenant: letter.and_then(|letter| letter.tenant.clone()),
        job: letter.and_then(|letter| letter.job.clone()),
        outcome,
        advice: advice(outcome).to_owned(),
    }
}

/// What an outcome says, and what one can do.
fn advice(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::WouldRing => "a replay has the job looked at again",
        Outcome::Rung => "the job is looked at now; `switchyard why` follows it",
        Outcome::Marked => "the queue did not take the ring; sweep looks at the job, usually within 30 s",
        Outcome::JobEnded => "the job has ended, so there is nothing to look at; delete the letter",
        Outcome::NoSuchJob => {
            "there is no such job, or none any more: its tenant must send the work again; delete the letter"
        }
        Outcome::UnknownTenant => {
            "the catalogue has no such tenant: put it back there and replay, or delete the letter"
        }
        Outcome::NotATicket => {
            "the text is no ticket, so there is no job to look at: find out who writes it into the queue, \
             send the work over HTTP, and delete the letter"
        }
        Outcome::TooOften => "it was replayed 100 times; look at the job and at the handler's log instead",
        Outcome::NoSuchLetter => "there is no such letter, or none any more; list them",
        Outcome::Failed => "the store did not answer; ask again, which doubles nothing",
    }
}

/// Which letters are asked for.
struct Asked {
    filter: Filter,
    limit: usize,
    after: Option<Place>,
}

impl Asked {
    /// Of a list. Names that we do not know are ignored, as everywhere.
    fn of_query(query: &str) -> Result<Asked, Failure> {
        let mut asked = Asked { filter: Filter::default(), limit: PAGE, after: None };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let text = || value.clone().into_owned();
            let filter = &mut asked.filter;
            match name.as_ref() {
                "reason" => filter.reason = Some(text()),
                "model" => filter.model = Some(text()),
                "tenant" => filter.tenant = Some(text()),
                "since_unix_ms" => filter.since_ms = Some(number(&value, "since_unix_ms")?),
                "until_unix_ms" => filter.until_ms = Some(number(&value, "until_unix_ms")?),
                "state" => {
                    filter.waiting_only = match value.as_ref() {
                        "waiting" => true,
                        "all" => false,
                        _ => return Err(wrong("state", "`state` must be waiting or all")),
                    }
                }
                "limit" => asked.limit = size(number(&value, "limit")?),
                "after" => asked.after = Some(place(&value)?),
                _ => {}
            }
        }
        asked.judged()
    }

    /// Of a replay: only letters that wait, so that a second one goes on where the first ended.
    fn of_wish(wish: &ReplayWish) -> Result<Asked, Failure> {
        let filter = Filter {
            reason: wish.reason.clone(),
            model: wish.model.clone(),
            tenant: wish.tenant.clone(),
            since_ms: wish.since_unix_ms,
            until_ms: wish.until_unix_ms,
            waiting_only: false,
        };
        if filter == Filter::default() {
            let message = "say which letters: `ids`, or any of `reason`, `model`, `tenant`, `since_unix_ms`, \
                           `until_unix_ms`";
            return Err(Failure::invalid("body", "nothing_selected", message));
        }
        let limit = wish.limit.map_or(PAGE_MAX, size);
        let after = wish.after.as_deref().map(place).transpose()?;
        Asked { filter: Filter { waiting_only: true, ..filter }, limit, after }.judged()
    }

    fn judged(self) -> Result<Asked, Failure> {
        let filter = &self.filter;
        if filter.reason.as_deref().is_some_and(|reason| Reason::parse(reason).is_none()) {
            let known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
            return Err(wrong("reason", format!("`reason` must be one of {}", known.join(", "))));
        }
        for (name, value) in [("model", &filter.model), ("tenant", &filter.tenant)] {
            if value.as_ref().is_some_and(|value| !(1..=NAME_CHARS_MAX).contains(&value.chars().count())) {
                return Err(wrong(name, format!("`{name}` must have from 1 to {NAME_CHARS_MAX} characters")));
            }
        }
        for (name, at) in [("since_unix_ms", filter.since_ms), ("until_unix_ms", filter.until_ms)] {
            if at.is_some_and(|at| at > TIME_MAX) {
                return Err(wrong(name, format!("`{name}` must be Unix milliseconds, at most {TIME_MAX}")));
            }
        }
        if !(1..=PAGE_MAX).contains(&self.limit) {
            return Err(wrong("limit", format!("`limit` must be from 1 to {PAGE_MAX}")));
        }
        Ok(self)
    }
}

fn number(value: &str, name: &'static str) -> Result<u64, Failure> {
    let number = value.parse().map(|Whole(number)| number);
    number.map_err(|_| wrong(name, format!("`{name}` must be a whole number")))
}

/// What is no size of a page is refused with it.
fn size(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn place(text: &str) -> Result<Place, Failure> {
    let message = "`after` must be `next` of the answer before";
    text.parse().map_err(|()| Failure::invalid("after", "invalid_cursor", message))
}

fn wrong(name: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
    Failure::invalid(name, "invalid_value", message.into())
}

fn unknown() -> Failure {
    let message = "there is no such letter; `GET /api/operate/dead` lists them";
    Failure::new(Kind::NotFound, "letter_not_found", message)
}
