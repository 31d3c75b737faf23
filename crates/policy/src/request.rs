//! What a client asks for, as far as a decision looks at it.

use crate::units::{MicroUsd, Millis, Tokens, UnixMs};

/// One inference request, or one job seen as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The catalogue's id of the model.
    pub model: String,
    /// What is asked of the model.
    pub operation: Operation,
    /// Inputs (texts, prompts) in it; at least 1.
    pub items: u64,
    /// Tokens that go in, over all items; an estimate where they were not counted.
    pub tokens_in: Tokens,
    /// Tokens that may come out, over all items; 0 for embeddings.
    pub tokens_out: Tokens,
    /// When it was accepted, by the handler's clock.
    pub arrived: UnixMs,
    /// Hard: set by the client only. Missed means failed.
    pub deadline: Option<UnixMs>,
    /// `Switchyard-Lane`.
    pub lane: LaneWish,
    /// How the client can take its answer.
    pub answer: Answer,
    /// `service_tier` of the body.
    pub tier: Tier,
    /// `Switchyard-Max-Cost`.
    pub max_cost: Option<MicroUsd>,
    /// Region prefix that data must stay in, as `eu`; none means anywhere.
    pub residency: Option<String>,
}

/// An operation of the OpenAI API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/chat/completions`
    ChatCompletions,
    /// `/v1/completions`
    Completions,
}

/// A lane. "Batch" alone is never written: it could mean three things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A serverless GPU replica now.
    Realtime,
    /// The spot pool, before the deadline.
    Deferred,
}

/// What `Switchyard-Lane` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaneWish {
    /// The router decides.
    #[default]
    Auto,
    /// Never deferred.
    Realtime,
    /// Never realtime (a rescue near the deadline excepted).
    Deferred,
}

/// How the client can take its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In this response. SDKs cannot read a 202.
    Now {
        /// At most this long until headers.
        within: Millis,
    },
    /// A 202 with a job to ask for later is welcome: `Prefer: respond-async` or
    /// `Switchyard-Lane: deferred`.
    LaterWelcome,
}

/// What `service_tier` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// `default`, `auto` or absent: the target is knob `realtime-threshold-ms`.
    #[default]
    Default,
    /// `priority`: realtime.
    Priority,
    /// `flex`: the cheapest that answers within the wait.
    Flex,
}
